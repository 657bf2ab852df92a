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
    their size, where the scene lies. In animate a retargeted track, which has no boxes, keeps its own, the picture's. A
    detected one, and any of a size that is not divisible by 16, which was none of a clip, is drawn at the frames'.
    Without any, one that is not divisible or larger than :data:`LARGEST` pixels is drawn at the largest size below its
    own and that which crops 2 % at most.

    Raises:
        InputError: the track does not cover the frames.
    """
    found = [source for source in frames if source is not None]
    like = next((source for source in found if len(source) > 1 or len(track) == 1), None)
    if like is not None:
        track = fit_track(track, like)
    drawable = track.width % 16 == track.height % 16 == 0
    if mode == "replace":
        like = like or next(iter(found), None)
    elif drawable and (track.boxes is None or (like is not None and (like.width % 16 or like.height % 16))):
        like = None  # pictures of another size than a clip's tell none
    if like is not None:
        return DrawnPoseSource(track.onto(like))
    area = track.width * track.height
    if drawable and (track.boxes is None or area <= LARGEST):
        return DrawnPoseSource(track)
    return DrawnPoseSource.at_size(track, *fill_size(track.width, track.height, min(area, LARGEST)))


def drawn_pose_note(
    track: PoseTrack, drawn: FrameSource, frames: Iterable[FrameSource | None] = (), mode: str = "animate"
) -> str:
    """A sentence where :func:`drawn_pose` chose the size itself, or left a retargeted track above :data:`LARGEST`; else
    empty."""
    size, sizes = (drawn.width, drawn.height), [(one.width, one.height) for one in frames if one is not None]
    if size == (track.width, track.height):
        if mode == "replace" or track.boxes is not None or size[0] * size[1] <= LARGEST:
            return ""
        return (
            f"The clip is made at the pose track's {size[0]}x{size[1]}, more than 1280x720 pixels, which takes long "
            "and much memory. For a smaller one set a size in Retarget Pose or Draw Pose."
        )
    if size in sizes:
        return ""
    return (
        f"The pose track is of a video of {track.width}x{track.height}: it is drawn at {drawn.width}x{drawn.height}, "
        "and so is the clip. Connect driving_video for the size of Load Driving Video, or set one in Draw Pose."
    )
