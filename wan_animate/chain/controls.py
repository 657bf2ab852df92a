"""The control videos of the model, made from driving frames and a pose track in one call."""

from __future__ import annotations

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
from .control_sources import Controls


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
