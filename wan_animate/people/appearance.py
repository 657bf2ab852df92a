"""Appearance of people: colour histograms."""

from __future__ import annotations

import numpy as np

BINS = 4  # per channel; a pixel is shared between the two nearest bins
SIZE = 2 * BINS**3
_GRID_WIDTH, _GRID_HEIGHT = 12, 24  # sampled pixels
# x1, y1, x2, y2 as fractions of the box: near its edges is mostly background.
_INSET = (0.3, 0.06, 0.7, 0.9)


def appearances(images: np.ndarray, boxes: list[np.ndarray]) -> list[np.ndarray]:
    """Histograms of the upper and lower half of boxes.

    Args:
        images: uint8 ``[N, H, W, 3]``, also thumbnails.
        boxes: per image ``[n, 4+]``, x1, y1, x2, y2.

    Returns:
        per image float32 ``[n, 128]`` of unit length; zeros outside the image.
    """
    counts = [len(part) for part in boxes]
    corners = np.concatenate([np.asarray(part, np.float64)[:, :4] for part in boxes])
    histograms = np.zeros((len(corners), SIZE), np.float32)
    low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    size = np.array(images.shape[2:0:-1])
    start = np.maximum(low + _INSET[:2] * extent, 0).astype(int)
    stop = np.minimum(np.ceil(low + _INSET[2:] * extent), size).astype(int)
    visible = np.flatnonzero((stop - start >= 2).all(axis=1))
    if len(visible):
        # Nearest-pixel samples on a grid twice as fine, averaged 2x2.
        start, extent = start[visible], (stop - start)[visible]
        columns, rows = (
            start[:, axis, None] + extent[:, axis, None] * np.arange(count) // count
            for axis, count in enumerate((2 * _GRID_WIDTH, 2 * _GRID_HEIGHT))
        )
        image = np.repeat(np.arange(len(images)), counts)[visible]
        samples = images[image[:, None, None], rows[:, :, None], columns[:, None, :]].astype(
            np.uint16
        )  # [n, 48, 24, 3]
        samples = samples[:, ::2] + samples[:, 1::2]
        patch = (samples[:, :, ::2] + samples[:, :, 1::2] + 2) // 4
        histograms[visible] = _histograms(patch.reshape(len(visible), 2, -1, 3))  # upper and lower half
    return np.split(histograms, np.cumsum(counts)[:-1])


def _histograms(pixels: np.ndarray) -> np.ndarray:
    """Square roots of soft-binned histograms of ``[N, 2, P, 3]``."""
    position = pixels.astype(np.float32) * ((BINS - 1) / 255)
    weight = np.maximum(1 - np.abs(position[..., None] - np.arange(BINS, dtype=np.float32)), 0)  # [N, 2, P, 3, BINS]
    red_green = weight[..., 0, :, None] * weight[..., 1, None, :]
    red_green = red_green.reshape(*red_green.shape[:3], BINS**2)
    histogram = np.swapaxes(red_green, -1, -2) @ weight[..., 2, :]  # [N, 2, BINS**2, BINS]
    return np.sqrt(histogram / (2 * pixels.shape[2])).reshape(len(pixels), -1)
