"""The control videos of the model, made from driving frames and a pose track in one call."""

from __future__ import annotations

from collections.abc import Iterable

from ..face.boxes import face_boxes
from ..face.crop import FaceCropSource
from ..mask.background import BackgroundSource
from ..mask.from_pose import PoseMaskSource
from ..mask.shape import ShapedMaskSource
from ..pose.clean import clean_track
from ..pose.draw import DrawnPoseSource
from ..pose.track import PoseTrack, fit_track
from ..retarget.placement import sized
from ..retarget.retarget import retarget
from ..video.frames import FrameSource
from ..video.resample import fill_size
from .control_sources import Controls

LARGEST = 1280 * 720  # pixels that a track is drawn at where nothing else tells the clip's size


def controls(
    frames: FrameSource,
    track: PoseTrack,
    mode: str = "animate",
    mask: FrameSource | None = None,
    reference: PoseTrack | None = None,
    strength: float = 0.5,
) -> Controls:
    """Pose, face and, in replace mode, background and mask, read lazily from ``frames``.

    Args:
        frames: the driving video at the result's size.
        track: its pose as detected.
        mode: ``"animate"`` or ``"replace"``.
        mask: replace: the character; None takes the skeleton's silhouette.
        reference: animate: pose of the reference picture, to retarget to; the clip gets that picture's shape.
        strength: of :func:`..pose.clean.clean_track`, 0..1.

    Raises:
        InputError: no body to retarget in the clip or in the reference.
    """
    track = fit_track(track, frames).onto(frames)
    boxes, found = face_boxes(track)
    face = FaceCropSource(frames, boxes, found=found)
    track = clean_track(track, strength)
    if mode != "replace":
        if reference is not None:
            track = retarget(track, sized(reference, frames.width * frames.height))
        return Controls(DrawnPoseSource(track), face)
    pose = DrawnPoseSource(track)
    if mask is None:
        mask = PoseMaskSource(track)
    shaped = ShapedMaskSource(mask, cells=True)
    return Controls(pose, face, BackgroundSource(frames, shaped), shaped)


def drawn_pose(track: PoseTrack, mode: str = "animate", frames: Iterable[FrameSource | None] = ()) -> DrawnPoseSource:
    """A track drawn as the pose of a clip.

    It is cut to the first of ``frames`` that has several (or to any, if the track has one). In replace it is drawn at
    their size, where the scene lies. In animate it keeps its own, which is the picture's if it was retargeted; a size
    that is not divisible by 16 was none of a clip, so it is drawn at the frames', or without any at the largest below
    its own and :data:`LARGEST` pixels that crops 2 % at most.

    Raises:
        InputError: the track does not cover the frames.
    """
    found = [source for source in frames if source is not None]
    like = next((source for source in found if len(source) > 1 or len(track) == 1), None)
    if like is not None:
        track = fit_track(track, like)
    drawable = track.width % 16 == track.height % 16 == 0
    like = like or next(iter(found if mode == "replace" else []), None)
    if like is not None and (mode == "replace" or not drawable):
        return DrawnPoseSource(track.onto(like))
    if drawable:
        return DrawnPoseSource(track)
    size = fill_size(track.width, track.height, min(track.width * track.height, LARGEST))
    return DrawnPoseSource.at_size(track, *size)


def drawn_pose_note(track: PoseTrack, drawn: FrameSource, frames: Iterable[FrameSource | None] = ()) -> str:
    """A sentence where :func:`drawn_pose` chose the size itself; else empty."""
    if (track.width, track.height) == (drawn.width, drawn.height) or any(source is not None for source in frames):
        return ""
    return (
        f"The pose track is of a video of {track.width}x{track.height}: it is drawn at {drawn.width}x{drawn.height}, "
        "and so is the clip. Connect driving_video for the size of Load Driving Video, or set one in Draw Pose."
    )
