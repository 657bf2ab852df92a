"""From a clip, its pose and mask to the window and what lies in it, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..mask.from_pose import PoseMaskSource
from ..pose.track import PoseTrack, fit_track
from ..video.derived import lasting
from ..video.frames import FrameSource
from .boxes import character_boxes, mask_picture
from .crop import CroppedMaskSource, CroppedSource, crop_track
from .plan import WindowSize, plan_window
from .window import CropWindow


@dataclass(frozen=True, eq=False)
class CroppedCharacter:
    """The window, and frames, pose and mask in it at its sampled size; ``boxes``: around the character, float64
    ``[T, 4]`` in pixels of the source, NaN where it is not seen."""

    window: CropWindow
    frames: CroppedSource
    pose: PoseTrack
    mask: FrameSource
    boxes: np.ndarray


def crop_character(
    frames: FrameSource,
    pose: PoseTrack,
    mask: FrameSource | None = None,
    size: WindowSize = WindowSize(),  # noqa: B008  frozen
    margin: float = 0.08,
    room: float = 1.25,
    progress: Callable[[int, int], None] | None = None,
) -> CroppedCharacter:
    """Plan the window (:func:`.plan.plan_window`) and cut everything to it.

    Args:
        frames: the clip at its own size.
        pose: of this clip, or of a longer part of it, at any size.
        mask: at any size (:func:`.boxes.mask_picture`), a single one for all frames; None takes the skeleton's
            silhouette.
        progress: called with (frames done, frames) while the mask is read.

    Raises:
        InputError: pose or mask do not cover the clip, or nobody is seen.
    """
    pose = fit_track(pose, frames, "crop, pose")
    mask = None if mask is None else lasting(mask, frames)
    boxes = character_boxes(pose, frames, mask, progress)
    window = plan_window(boxes, (frames.width, frames.height), frames.fps, pose.cuts, size, margin, room)
    cropped = crop_track(pose.onto(frames), window)
    if mask is None:
        inside: FrameSource = PoseMaskSource(cropped)
    else:
        inside = CroppedMaskSource(mask, mask_picture(mask, pose, frames), frames, window)
    return CroppedCharacter(window, CroppedSource(frames, window), cropped, inside, boxes)
