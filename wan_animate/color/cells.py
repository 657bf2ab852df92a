"""Frames as grids of mean colours, in which edges, noise and small motion hardly show."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

EDGE = 0.03  # difference of neighbouring cells at which one counts half
DARKEST, BRIGHTEST = 0.02, 0.98  # nearer to black or white, values may be clipped


def cell_size(width: int, height: int) -> int:
    """Side of a cell in pixels for pictures of this size (sides divisible by 16)."""
    return 4 if width * height < 200_000 else 8 if width * height < 1_000_000 else 16


def cells(frames: Iterable[np.ndarray], size: int) -> np.ndarray:
    """Means over ``size`` x ``size`` pixels of frames ``[H, W, 3]`` or masks ``[H, W]``, uint8 or float32 in 0..1, as
    float32 in 0..1."""
    out = []
    for frame in frames:
        whole = 255.0 if frame.dtype == np.uint8 else 1.0
        height, width = frame.shape[:2]
        small = cv2.resize(
            np.ascontiguousarray(frame, np.float32), (width // size, height // size), interpolation=cv2.INTER_AREA
        )
        out.append(small / np.float32(whole))
    return np.stack(out)


def flatness(grid: np.ndarray) -> np.ndarray:
    """Of cells ``[n, h, w, 3]``, 0..1 ``[n, h, w]``: 1 where the neighbours have the same colour."""
    step = np.zeros(grid.shape[:3], np.float32)
    across, down = np.abs(np.diff(grid, axis=2)).max(axis=-1), np.abs(np.diff(grid, axis=1)).max(axis=-1)
    for part, difference in (
        (step[:, :, 1:], across), (step[:, :, :-1], across), (step[:, 1:], down), (step[:, :-1], down),
    ):  # fmt: skip
        np.maximum(part, difference, out=part)
    return 1 / (1 + (step / EDGE) ** 2)


def unclipped(grid: np.ndarray) -> np.ndarray:
    """Of cells ``[..., 3]``, bool ``[...]``: finite and neither black nor white in a channel."""
    return np.all((grid > DARKEST) & (grid < BRIGHTEST), axis=-1)


def away_from(mask: np.ndarray, far: int = 2) -> np.ndarray:
    """Of masks' cells ``[n, h, w]``, bool: outside, and over ``far`` cells from the edge."""
    kernel = np.ones((2 * far + 1, 2 * far + 1), np.uint8)
    return np.stack([cv2.dilate((one > 0).astype(np.uint8), kernel) == 0 for one in mask])
