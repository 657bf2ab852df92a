"""Colour statistics of a picture's pixels, and of every frame of a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from kornia.color import rgb_to_lab

from ..errors import InputError
from ..finite import check_finite
from ..mask.track import binary
from ..people.shots import CutFinder, thumbnail
from ..video.frames import FrameSource, as_uint8, as_unit_float, reading_once
from .stream import own_stream

LEVELS = 256
PIXELS_AT_ONCE = 1 << 17  # bounds memory at any frame size
_READ_AT_ONCE = 8

Measure = Callable[[torch.Tensor], np.ndarray]
"""Pixels ``[N, 3]``, RGB in uint8 or float 0..1, to float64 statistics whose weighted means are statistics again."""


def planar(pixels: torch.Tensor) -> torch.Tensor:
    """``[N, 3]`` uint8 or float to ``[3, N]`` float32 in 0..1, a copy."""
    return as_unit_float(pixels).float().T.clamp(0.0, 1.0).contiguous()


def to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """CIELAB (D65) of sRGB in 0..1, both ``[3, N]``."""
    return rgb_to_lab(rgb[:, None])[:, 0]


def moments(pixels: torch.Tensor, lab: bool = False) -> np.ndarray:
    """``[4, 3]``: the mean, and below it the covariance, in RGB (0..1) or CIELAB; ``N`` must be at least 1."""
    counts, means, scatters = [], [], []
    for part in pixels.split(PIXELS_AT_ONCE):
        values = to_lab(planar(part)) if lab else planar(part)
        mean = values.mean(dim=1)
        values = values - mean[:, None]
        # Not a matrix product, which some hosts let run in TF32.
        scatter = (values[:, None] * values).sum(dim=2)
        counts.append(len(part))
        means.append(mean.cpu().double().numpy())
        scatters.append(scatter.cpu().double().numpy())
    weights = np.array(counts) / len(pixels)
    mean = weights @ np.stack(means)
    apart = np.stack(means) - mean  # Chan, Golub & LeVeque 1979: the parts' spread about the common mean
    covariance = np.sum(scatters, axis=0) / len(pixels) + (weights[:, None] * apart).T @ apart
    return np.concatenate([mean[None], covariance])


def histograms(pixels: torch.Tensor) -> np.ndarray:
    """``[3, 256]``: of every channel, the share of pixels nearest to each 8-bit level."""
    counts = np.zeros(3 * LEVELS, np.int64)
    channel = torch.arange(0, 3 * LEVELS, LEVELS, device=pixels.device)
    for part in pixels.split(PIXELS_AT_ONCE):
        levels = part if part.dtype == torch.uint8 else (part.float().clamp(0.0, 1.0) * 255.0 + 0.5)
        counts += torch.bincount((levels.long() + channel).flatten(), minlength=3 * LEVELS).cpu().numpy()
    return counts.reshape(3, LEVELS) / len(pixels)


@dataclass(frozen=True)
class ClipColors:
    """Colour statistics of a clip's frames: a few hundred bytes a frame, 6 kB as histograms.

    Attributes:
        statistics: float64 ``[T, ...]``.
        weights: float64 ``[T]``, the share of the frame that was counted; 0 = none, and no statistics.
        shots: the first frame of every shot.
    """

    statistics: np.ndarray
    weights: np.ndarray
    shots: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        return len(self.weights)

    def mean(self) -> ClipColors:
        """One frame that stands for all."""
        return ClipColors(np.average(self.statistics, 0, self.weights)[None], self.weights.mean(keepdims=True))

    def by_shot(self) -> ClipColors:
        """Every frame has its shot's mean."""
        statistics, weights = np.zeros_like(self.statistics), np.zeros_like(self.weights)
        for start, stop in pairwise((*self.shots, len(self))):
            counted = self.weights[start:stop]
            if counted.any():
                statistics[start:stop] = np.average(self.statistics[start:stop], 0, counted)
                weights[start:stop] = counted.mean()
        return replace(self, statistics=statistics, weights=weights)

    def around(self, frame: int, reach: int) -> np.ndarray | None:
        """Mean of the statistics near a frame, ``reach`` frames before and after and within its shot, weighted by
        nearness and area; of the nearest frame that has any if none is near enough; None if the shot has none.
        """
        edges = np.array([*self.shots, len(self)])
        at = int(np.searchsorted(edges, frame, side="right"))
        start, stop = int(edges[at - 1]), int(edges[at])
        first, last = max(start, frame - reach), min(stop, frame + reach + 1)
        near = 1.0 - np.abs(np.arange(first, last) - frame) / (reach + 1)
        weights = near * self.weights[first:last]
        if weights.any():
            return np.average(self.statistics[first:last], 0, weights)
        counted = start + np.flatnonzero(self.weights[start:stop])
        return self.statistics[counted[np.abs(counted - frame).argmin()]] if len(counted) else None


def clip_colors(
    source: FrameSource,
    measure: Measure,
    mask: FrameSource | None = None,
    *,
    count: int | None = None,
    find_shots: bool = False,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
    what: str = "frames",
) -> ClipColors:
    """Measure every frame, or the first ``count``, in one pass.

    Args:
        mask: of the same size, and length or one; only what is masked is counted.
        progress: called with the number of frames done; may raise.
        what: names the clip in errors.

    Raises:
        InputError: a frame holds NaN, or the mask is empty in all that are measured.
    """
    count = len(source) if count is None else count
    statistics: np.ndarray | None = None  # one array: many small ones between large buffers would fragment the heap
    weights, cuts = np.zeros(count), CutFinder()
    for start in range(0, count, _READ_AT_ONCE):
        stop = min(start + _READ_AT_ONCE, count)
        with reading_once():
            frames = source.read(start, stop)
            masks = None if mask is None else binary(_masks(mask, start, stop)).view(bool)
        for at, frame in enumerate(frames):
            frame = np.ascontiguousarray(frame)
            check_finite(torch.from_numpy(frame), f"{what}: frame {start + at}", "repair what makes them")
            counted = frame.reshape(-1, 3) if masks is None else frame[masks[at % len(masks)]]
            weights[start + at] = len(counted) / (source.width * source.height)
            if len(counted) == 0:
                continue
            with own_stream(device):
                measured = measure(torch.from_numpy(counted).to(device))
            if statistics is None:
                statistics = np.zeros((count, *measured.shape))
            statistics[start + at] = measured
        if find_shots:
            cuts.add(*(thumbnail(as_uint8(frame)) for frame in frames))
        progress(stop)
    if statistics is None:
        where = "every frame" if count == len(source) else "the frame that counts, its first"
        raise InputError(
            f"match color: the mask of the {what} is empty in {where}, so there is nothing to measure: connect one "
            "that holds something there, or none."
        )
    return ClipColors(statistics, weights, (0, *cuts.finish()) if find_shots else (0,))


def _masks(mask: FrameSource, start: int, stop: int) -> np.ndarray:
    return mask.read(0, 1) if len(mask) == 1 else mask.read(start, stop)
