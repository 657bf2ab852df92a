"""The control videos of a replace job that works on a window around the character."""

from __future__ import annotations

from collections.abc import Callable

from ..chain.control_sources import Controls
from ..face.boxes import face_boxes
from ..face.crop import FaceCropSource
from ..mask.background import BackgroundSource
from ..mask.shape import ShapedMaskSource
from ..pose.clean import clean_track
from ..pose.draw import DrawnPoseSource
from ..pose.track import PoseTrack, fit_track
from ..video.frames import FrameSource
from .character import crop_character
from .plan import WindowSize
from .window import CropWindow


def cropped_controls(
    frames: FrameSource,
    track: PoseTrack,
    mask: FrameSource | None = None,
    size: WindowSize = WindowSize(),  # noqa: B008  frozen
    strength: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Controls, CropWindow]:
    """As :func:`..chain.controls.controls` in mode replace, in the window of :func:`.character.crop_character`; the
    face is cut from the frames themselves.

    Args:
        frames: the driving video at its own size.
        track, mask: of this clip, at any size.
        strength: of :func:`..pose.clean.clean_track`, 0..1.

    Raises:
        InputError: pose or mask do not cover the clip, or nobody is seen.
    """
    track = fit_track(track, frames)
    boxes, found = face_boxes(track.onto(frames))
    face = FaceCropSource(frames, boxes, found=found)
    cropped = crop_character(frames, clean_track(track, strength), mask, size, progress=progress)
    shaped = ShapedMaskSource(cropped.mask, cells=True)
    background = BackgroundSource(cropped.frames, shaped)
    return Controls(DrawnPoseSource(cropped.pose), face, background, shaped), cropped.window
