"""From driving frames and a pose track to the videos that the model is told with: what the nodes wire, in one call."""

from __future__ import annotations

from dataclasses import dataclass

from .face import FaceCropSource, face_boxes
from .frames import FrameSource
from .mask.background import BackgroundSource
from .mask.from_pose import PoseMaskSource
from .mask.shape import ShapedMaskSource
from .pose.draw import DrawnPoseSource
from .pose.track import PoseTrack


@dataclass
class Controls:
    """The control videos of one clip; ``background`` and ``character_mask`` are None in animate mode."""

    pose: FrameSource
    face: FrameSource
    background: FrameSource | None = None
    character_mask: FrameSource | None = None


def controls(frames: FrameSource, track: PoseTrack, mode: str = "animate", mask: FrameSource | None = None) -> Controls:
    """The control videos, all read lazily from ``frames``.

    Args:
        frames: the driving video at the result's size.
        track: its pose; of any size, it is fitted to the frames.
        mode: ``"animate"`` or ``"replace"``.
        mask: replace: where the character is; None takes the skeleton's silhouette.
    """
    track = track.letterboxed(frames.width, frames.height)
    boxes, found = face_boxes(track)
    pose, face = DrawnPoseSource(track, frames.width, frames.height), FaceCropSource(frames, boxes, found=found)
    if mode != "replace":
        return Controls(pose, face)
    shaped = ShapedMaskSource(mask if mask is not None else PoseMaskSource(track, frames.width, frames.height))
    return Controls(pose, face, BackgroundSource(frames, shaped), shaped)
