"""Keypoints from heatmaps by DARK (Zhang et al., CVPR 2020).

Source: upstream's ``wan/modules/animate/preprocess/pose2d_utils.py: keypoints_from_heatmaps``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

KERNEL = 11  # fits the sigma of 2 heatmap pixels in training
SIGMA = 0.3 * ((KERNEL - 1) * 0.5 - 1) + 0.8  # OpenCV's default
FLOOR = np.float32(1e-10)
MAX_STEP = 3.0  # heatmap pixels; longer Taylor steps are ill-conditioned

_RADIUS = KERNEL // 2
_SPAN = 2  # pixels on either side of the peak in the Taylor step
_PATCH = 2 * (_SPAN + _RADIUS) + 1


def _blur_matrix() -> np.ndarray:
    """``[5, 15]``: row i blurs a 15-vector at position i + 5."""
    kernel = cv2.getGaussianKernel(KERNEL, SIGMA, cv2.CV_32F).ravel()
    rows = np.zeros((2 * _SPAN + 1, _PATCH), np.float32)
    for index, row in enumerate(rows):
        row[index : index + KERNEL] = kernel
    return rows


_BLUR = _blur_matrix()


def decode_heatmaps(heatmaps: np.ndarray | torch.Tensor, regions: np.ndarray) -> np.ndarray:
    """Sub-pixel peaks in frame coordinates, equal to upstream's.

    Blurs only 5x5 pixels around each peak; whole maps below 1e-10, where upstream's rescaling before the logarithm
    matters.

    Args:
        heatmaps: float32 ``[N, K, H, W]``.
        regions: ``[N, 4]`` from :func:`.inputs.crop_regions`.

    Returns:
        float32 ``[N, K, 3]``: x, y in frame pixels, peak height; heatmap position -1, -1 without a positive value.
    """
    count, joints, height, width = heatmaps.shape
    maps = heatmaps.reshape(count * joints, height, width)
    index, peak, patches = _peaks_of_tensor(maps) if isinstance(maps, torch.Tensor) else _peaks(maps)
    px, py = index % width, index // width
    at = np.stack([px, py], axis=1).astype(np.float32)
    at[peak <= 0] = -1
    inside = (peak > 0) & (px > 1) & (px < width - 2) & (py > 1) & (py < height - 2)
    chosen = np.flatnonzero(inside)
    if len(chosen):
        at[chosen] += _taylor_step(maps, chosen, px[chosen], py[chosen], patches(chosen, px[chosen], py[chosen]))

    regions = np.asarray(regions, np.float64)[:, None]
    points = at.reshape(count, joints, 2) * (regions[..., 2:] / (width, height)) + regions[..., :2]
    return np.concatenate([points, peak.reshape(count, joints, 1)], axis=2).astype(np.float32)


def _peaks(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, Callable[..., np.ndarray]]:
    """(flat indices, heights, function for patches around peaks)"""
    flat = np.ascontiguousarray(maps, np.float32).reshape(len(maps), -1)
    index = flat.argmax(axis=1)
    return index, flat[np.arange(len(flat)), index], partial(_patches, flat.reshape(maps.shape))


def _peaks_of_tensor(maps: torch.Tensor) -> tuple[np.ndarray, np.ndarray, Callable[..., np.ndarray]]:
    count, height, width = maps.shape
    flat, radius = maps.reshape(count, -1).float(), _PATCH // 2
    peak = flat.amax(dim=1, keepdim=True)
    positions = torch.arange(height * width, device=maps.device)
    index = torch.where(flat == peak, positions, height * width - 1).amin(dim=1)  # the first, as NumPy's argmax
    padded = torch.nn.functional.pad(flat.reshape(maps.shape), (radius,) * 4).reshape(count, -1)
    side = torch.arange(_PATCH, device=maps.device)
    padded_width = width + 2 * radius
    offsets = (side[:, None] * padded_width + side).reshape(1, -1)  # [1, 15 * 15]
    corner = index // width * padded_width + index % width
    around = padded.gather(1, corner[:, None] + offsets)
    copied = torch.cat([peak, index[:, None].float(), around], dim=1).cpu().numpy()  # exact: indices are below 2**24
    patches = copied[:, 2:].reshape(count, _PATCH, _PATCH)
    return copied[:, 1].astype(np.int64), copied[:, 0], lambda chosen, *_: patches[chosen]


def _heatmap(maps: np.ndarray | torch.Tensor, row: int) -> np.ndarray:
    heatmap = maps[row]
    if isinstance(heatmap, torch.Tensor):
        return heatmap.float().cpu().numpy()
    return np.ascontiguousarray(heatmap, np.float32)


def _taylor_step(
    maps: np.ndarray | torch.Tensor, chosen: np.ndarray, px: np.ndarray, py: np.ndarray, patches: np.ndarray
) -> np.ndarray:
    """Offsets ``[n, 2]`` from peaks to maxima of the blurred log maps' Taylor expansion."""
    blurred = _BLUR @ patches @ _BLUR.T
    low = np.flatnonzero((blurred <= FLOOR).any(axis=(1, 2)))
    for row in low:
        blurred[row] = _blur_whole(_heatmap(maps, chosen[row]), px[row], py[row])
    log = np.log(np.maximum(blurred, FLOOR))

    half, quarter = np.float32(0.5), np.float32(0.25)
    dx = half * (log[:, 2, 3] - log[:, 2, 1])
    dy = half * (log[:, 3, 2] - log[:, 1, 2])
    dxx = quarter * (log[:, 2, 4] - 2 * log[:, 2, 2] + log[:, 2, 0])
    dyy = quarter * (log[:, 4, 2] - 2 * log[:, 2, 2] + log[:, 0, 2])
    dxy = quarter * (log[:, 3, 3] - log[:, 1, 3] - log[:, 3, 1] + log[:, 1, 1])
    determinant = dxx * dyy - dxy * dxy
    with np.errstate(divide="ignore", invalid="ignore"):
        step = -np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) / determinant[:, None]
    step[determinant == 0] = 0
    for row in np.flatnonzero(~(np.abs(step).max(axis=1) <= MAX_STEP)):
        step[row] = _long_step(_heatmap(maps, chosen[row]), px[row], py[row])
    return step


def _long_step(heatmap: np.ndarray, px: int, py: int) -> np.ndarray:
    """With upstream's rounding, for nearly flat maps."""
    log = np.log(np.maximum(_blur_whole(heatmap, px, py), FLOOR))
    dx = 0.5 * (log[2, 3] - log[2, 1])
    dy = 0.5 * (log[3, 2] - log[1, 2])
    dxx = 0.25 * (log[2, 4] - 2 * log[2, 2] + log[2, 0])
    dxy = 0.25 * (log[3, 3] - log[1, 3] - log[3, 1] + log[1, 1])
    dyy = 0.25 * (log[4, 2] - 2 * log[2, 2] + log[0, 2])
    if dxx * dyy - dxy**2 == 0:
        return np.zeros(2, np.float32)
    return (-np.linalg.inv(np.array([[dxx, dxy], [dxy, dyy]])) @ np.array([dx, dy])).astype(np.float32)


def _patches(heatmaps: np.ndarray, maps: np.ndarray, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """float32 ``[n, 15, 15]`` around peaks, zero-padded."""
    _, height, width = heatmaps.shape
    radius = _PATCH // 2
    offsets = np.arange(_PATCH) - radius
    patches = np.empty((len(maps), _PATCH, _PATCH), np.float32)
    whole = (px >= radius) & (px < width - radius) & (py >= radius) & (py < height - radius)
    corner = (maps[whole] * height + py[whole] - radius) * width + px[whole] - radius
    near = (np.arange(_PATCH)[:, None] * width + np.arange(_PATCH)).ravel()
    patches[whole] = heatmaps.reshape(-1).take(corner[:, None] + near).reshape(-1, _PATCH, _PATCH)
    cut = ~whole
    rows, columns = py[cut, None] + offsets, px[cut, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    patches[cut] = heatmaps[maps[cut, None, None], rows[:, :, None], columns[:, None, :]] * inside
    return patches


def _blur_whole(heatmap: np.ndarray, px: int, py: int) -> np.ndarray:
    """Upstream's blur, 5x5 pixels around the peak."""
    padded = cv2.copyMakeBorder(heatmap, _RADIUS, _RADIUS, _RADIUS, _RADIUS, cv2.BORDER_CONSTANT, value=0)
    blurred = cv2.GaussianBlur(padded, (KERNEL, KERNEL), 0)[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    with np.errstate(divide="ignore", invalid="ignore"):
        blurred = blurred * (heatmap.max() / blurred.max())
    return blurred[py - _SPAN : py + _SPAN + 1, px - _SPAN : px + _SPAN + 1]


def keypoints_from_heatmaps(heatmaps: np.ndarray | torch.Tensor, regions: np.ndarray) -> np.ndarray:
    """:func:`decode_heatmaps`, confidence in 0..1; 0, 0, 0 where nothing was found."""
    points = decode_heatmaps(heatmaps, regions)
    points[..., 2] = np.nan_to_num(points[..., 2]).clip(0, 1)
    points[points[..., 2] == 0] = 0
    return points
