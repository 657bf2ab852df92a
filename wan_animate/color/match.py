"""A clip in the colours of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ..errors import InputError
from ..video.derived import DerivedSource, ResizedSource
from ..video.frames import FrameSource
from .statistics import ClipColors, clip_colors
from .transfer import METHODS, transfer_frame

REFERENCE_FRAMES = ("first", "mean", "frame by frame")
_READ_AT_ONCE = 8
_SAME_SHAPE = 0.05  # by how much a mask's aspect ratio may differ from its frames'
_FLAT = 1e-4  # deviation below which a reference has one colour
Progress = Callable[[int, int], None]


def match_color(
    source: FrameSource,
    reference: FrameSource,
    method: str = "mkl",
    strength: float = 1.0,
    *,
    mask: FrameSource | None = None,
    reference_mask: FrameSource | None = None,
    reference_frames: str = "first",
    smooth: int | None = None,
    per_shot: bool = True,
    device: torch.device | str = "cpu",
    progress: Progress = lambda done, total: None,
) -> FrameSource:
    """``source`` in the colours of ``reference``, in its own dtype. Both are read once here, to measure them; strength
    0 gives ``source`` itself.

    Args:
        method: a name in :data:`.transfer.METHODS`.
        strength: 0..1, how far each pixel goes to its matched colour.
        mask: what counts of the source; any size of the same shape, and a mask for every frame or one. The transfer
            is always of the whole frame.
        reference_mask: what counts of the reference.
        reference_frames: one of :data:`REFERENCE_FRAMES`; "frame by frame" goes with the source's frames, averaged as
            they are.
        smooth: None makes one transfer of a shot's mean statistics, which keeps all differences between its frames.
            Else frames before and after over which the statistics of each frame are averaged; 0 takes each on its own.
        per_shot: a cut in the source ends a shot; else the clip is one.
        progress: called with (frames measured, frames to measure); may raise.

    Raises:
        InputError: the inputs do not go together, a frame holds NaN, a mask is empty in every frame, or the reference
            has one colour.
    """
    _check_settings(method, strength, reference_frames, smooth)
    if strength == 0:
        return source
    for one, name in ((source, "frames"), (reference, "reference")):
        if one.kind != "image":
            raise InputError(f"match color: {name} must be pictures, but they are masks: connect FRAMES or an IMAGE.")
    by_frame = reference_frames == "frame by frame" and len(reference) > 1
    if by_frame and len(reference) != len(source):
        raise InputError(
            f"match color: there are {len(source)} frames and {len(reference)} of the reference, so they cannot go "
            "frame by frame: use the first or the mean, or a reference of the same length."
        )
    mask, reference_mask = _fitted(mask, source, "frames"), _fitted(reference_mask, reference, "reference")
    count = 1 if reference_frames == "first" else len(reference)
    total = count + len(source)
    measure = METHODS[method].measure
    wanted = clip_colors(
        reference,
        measure,
        reference_mask,
        count=count,
        device=device,
        progress=lambda done: progress(done, total),
        what="reference",
    )
    if not by_frame:
        wanted = wanted.mean()
        _check_colors(wanted)
    found = clip_colors(
        source,
        measure,
        mask,
        find_shots=per_shot,
        device=device,
        progress=lambda done: progress(count + done, total),
        what="frames",
    )
    if by_frame:
        wanted = replace(wanted, shots=found.shots)
    if smooth is None:
        found, wanted = found.by_shot(), wanted.by_shot()
    origin = "".join(
        f"({one.fingerprint()})" if one is not None else "()" for one in (source, reference, mask, reference_mask)
    )
    settings = f"{method}:{strength}:{reference_frames}:{smooth}:{per_shot}:{torch.device(device).type}"
    return MatchedSource(source, found, wanted, method, strength, smooth or 0, device, f"matched:{settings}:{origin}")


class MatchedSource(DerivedSource):
    """Made by :func:`match_color`. What is read of a frame does not depend on what was read before.

    Args:
        found, wanted: statistics of the source, and of the reference's frames or of one for all.
        smooth: reach of :meth:`.statistics.ClipColors.around`.
        fingerprint: of all that the frames are made of.
    """

    kind = "image"

    def __init__(
        self,
        source: FrameSource,
        found: ClipColors,
        wanted: ClipColors,
        method: str,
        strength: float,
        smooth: int,
        device: torch.device | str,
        fingerprint: str,
    ) -> None:
        super().__init__(source)
        self.picture, self.start_seconds = source.picture, source.start_seconds
        self._found, self._wanted = found, wanted
        self._solve, self._strength, self._smooth = METHODS[method].solve, strength, smooth
        self._device, self._fingerprint = device, fingerprint

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = None
        for first, last, frames in self.source.batches(_READ_AT_ONCE, start, stop):
            if out is None:
                out = np.empty((stop - start, *frames.shape[1:]), frames.dtype)
            for at, frame in zip(range(first, last), frames):
                out[at - start] = self._matched(at, frame)
        assert out is not None  # start < stop
        return out

    def _matched(self, at: int, frame: np.ndarray) -> np.ndarray:
        found = self._found.around(at, self._smooth)
        wanted = self._wanted.around(at if len(self._wanted) > 1 else 0, self._smooth)
        if found is None or wanted is None:  # nothing was masked in the whole shot
            return frame
        return transfer_frame(frame, self._solve(found, wanted), self._strength, self._device)

    def is_finite(self) -> bool:
        return True  # was checked when it was measured

    def fingerprint(self) -> str:
        return self._fingerprint


def _check_settings(method: str, strength: float, reference_frames: str, smooth: int | None) -> None:
    if method not in METHODS:
        raise InputError(f"match color: method is {method!r}, but it must be one of {', '.join(METHODS)}.")
    if reference_frames not in REFERENCE_FRAMES:
        raise InputError(
            f"match color: reference frames are {reference_frames!r}, but must be one of {', '.join(REFERENCE_FRAMES)}."
        )
    if not 0 <= strength <= 1:  # nor does "not a number" lie between them
        raise InputError(f"match color: strength is {strength}, but it must lie between 0 and 1.")
    if smooth is not None and smooth < 0:
        raise InputError(f"match color: smooth is {smooth}, but it must be 0 or more frames.")


def _check_colors(reference: ClipColors) -> None:
    statistics = reference.statistics[0]
    if statistics.shape[0] == 4:  # moments
        flat = np.sqrt(np.maximum(np.diag(statistics[1:]), 0)).max() < _FLAT
    else:
        flat = (statistics.max(axis=1) == 1).all()
    if flat:
        raise InputError(
            "match color: what counts of the reference has one colour, and would give every frame that one: choose a "
            "picture with light and shade, or a larger mask of it."
        )


def _fitted(mask: FrameSource | None, frames: FrameSource, name: str) -> FrameSource | None:
    """The mask at the size of its frames."""
    if mask is None:
        return None
    if mask.kind != "mask":
        raise InputError(f"match color: the mask of the {name} is a clip of pictures: turn it into masks first.")
    if len(mask) not in (1, len(frames)):
        raise InputError(
            f"match color: there are {len(mask)} masks for {len(frames)} pictures of the {name}: give one for each, or "
            "one for all."
        )
    if (mask.width, mask.height) == (frames.width, frames.height):
        return mask
    if abs(mask.width * frames.height / (mask.height * frames.width) - 1) > _SAME_SHAPE:
        raise InputError(
            f"match color: the mask of the {name} is {mask.width}x{mask.height} and the pictures are "
            f"{frames.width}x{frames.height}, another shape: make the mask of the same pictures."
        )
    return ResizedSource(mask, frames.width, frames.height)
