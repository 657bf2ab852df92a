"""The control videos of a replace job that works on a window around the character."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

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
from .crop import CroppedSource
from .plan import WindowSize
from .report import window_report
from .stitch import StitchedSource, write_stitched
from .window import CropWindow


@dataclass(eq=False)
class CroppedControls(Controls):
    """Controls of a window.

    Attributes:
        source: the driving video at its own size.
        frames: what lies in the window.
        window: where it is.
    """

    source: FrameSource | None = None
    frames: CroppedSource | None = None
    window: CropWindow | None = None

    @property
    def report(self) -> str:
        assert self.window is not None
        return window_report(self.window)


def cropped_controls(
    source: FrameSource,
    track: PoseTrack,
    mask: FrameSource | None = None,
    size: WindowSize | int = WindowSize(),  # noqa: B008  frozen
    strength: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> CroppedControls:
    """As :func:`..chain.controls.controls` in mode replace, in the window of :func:`.character.crop_character`; the
    face is cut from the source's own pixels.

    Args:
        source: the driving video at its own size.
        track, mask: of this clip, at any size.
        size: of the window; an int is a budget in pixels.
        strength: of :func:`..pose.clean.clean_track`, 0..1.

    Raises:
        InputError: pose or mask do not cover the clip, or nobody is seen.
    """
    size = WindowSize("budget", size) if isinstance(size, int) else size
    track = fit_track(track, source)
    boxes, found = face_boxes(track.onto(source))
    face = FaceCropSource(source, boxes, found=found)
    cropped = crop_character(source, clean_track(track, strength), mask, size, progress=progress)
    shaped = ShapedMaskSource(cropped.mask, cells=True)
    background = BackgroundSource(cropped.frames, shaped)
    pose = DrawnPoseSource(cropped.pose)
    return CroppedControls(pose, face, background, shaped, source, cropped.frames, cropped.window)


def shown_frames(controls: Controls, frames: FrameSource) -> FrameSource:
    """The driving frames of the controls: those in the window if there is one, else ``frames``."""
    if isinstance(controls, CroppedControls) and controls.frames is not None:
        return controls.frames
    return frames


def stitch_clip(
    controls: Controls,
    clip: FrameSource,
    path: str | os.PathLike,
    audio: dict | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StitchedSource | None:
    """Write a clip that was made in a window, or a part of it that knows its place, back in the video, to an mp4
    (:func:`.stitch.write_stitched`); None if there is no window."""
    if not isinstance(controls, CroppedControls) or controls.source is None or controls.window is None:
        return None
    stitched = StitchedSource(controls.source, clip, controls.window, controls.character_mask)
    write_stitched(path, stitched, audio, progress)
    return stitched
