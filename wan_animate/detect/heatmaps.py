"""From heatmaps to keypoints, and from a person's box to the crop the heatmaps belong to.

Source: ``wan/modules/animate/preprocess/pose2d_utils.py: keypoints_from_heatmaps`` (unbiased, not UDP) and
``bbox_from_detector``; the decoding is DARK (Zhang et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch

KERNEL = 11  # fits the sigma of 2 heatmap pixels the network was trained with
SIGMA = 0.3 * ((KERNEL - 1) * 0.5 - 1) + 0.8
FLOOR = np.float32(1e-10)
FAR = 3.0  # heatmap pixels; a longer step is an ill-conditioned one

_REACH = KERNEL // 2
_SPAN = 2  # the Taylor step looks two pixels to every side of the peak
_PATCH = 2 * (_SPAN + _REACH) + 1


def _blur_rows() -> np.ndarray:
    """``[5, 15]``: row i blurs a 15-vector at its position i + 5."""
    kernel = cv2.getGaussianKernel(KERNEL, SIGMA, cv2.CV_32F).ravel()
    rows = np.zeros((2 * _SPAN + 1, _PATCH), np.float32)
    for index, row in enumerate(rows):
        row[index : index + KERNEL] = kernel
    return rows


_BLUR = _blur_rows()


def decode_heatmaps(heatmaps: np.ndarray | torch.Tensor, regions: np.ndarray) -> np.ndarray:
    """Peaks of the heatmaps, to a fraction of a pixel, in frame coordinates.

    Equal to upstream's decoding; the blur is computed for the 25 pixels around each peak only. Upstream scales every
    blurred map back to the height of its peak before it takes the logarithm; a factor is an offset there and drops out
    of the derivatives, except where a value reaches the floor of 1e-10. Maps where that could be are blurred whole.

    Args:
        heatmaps: float32 ``[N, K, H, W]``. From a tensor only the peaks and what surrounds them (a twelfth) are
            fetched; the numbers are the same.
        regions: float ``[N, 4]`` from :func:`crop_regions`.

    Returns:
        float32 ``[N, K, 3]``: x, y in frame pixels and the height of the peak. A map without a positive value gives
        position -1, -1 of the heatmap, as upstream's does.
    """
    count, joints, height, width = heatmaps.shape
    maps = heatmaps.reshape(count * joints, height, width)
    index, peak, patches = _peaks_on_card(maps) if isinstance(maps, torch.Tensor) else _peaks(maps)
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
    """Place (in the flat map) and height of each map's peak, and what gives the patches around chosen ones."""
    flat = np.ascontiguousarray(maps, np.float32).reshape(len(maps), -1)
    index = flat.argmax(axis=1)
    return index, flat[np.arange(len(flat)), index], partial(_patches, flat.reshape(maps.shape))


def _peaks_on_card(maps: torch.Tensor) -> tuple[np.ndarray, np.ndarray, Callable[..., np.ndarray]]:
    """As :func:`_peaks`, of a tensor, in one transfer."""
    count, height, width = maps.shape
    flat, reach = maps.reshape(count, -1).float(), _PATCH // 2
    peak = flat.amax(dim=1, keepdim=True)
    places = torch.arange(height * width, device=maps.device)
    index = torch.where(flat == peak, places, height * width - 1).amin(dim=1)  # the first, as numpy has it
    padded = torch.nn.functional.pad(flat.reshape(maps.shape), (reach,) * 4).reshape(count, -1)
    side = torch.arange(_PATCH, device=maps.device)
    wide = width + 2 * reach
    near = (side[:, None] * wide + side).reshape(1, -1)
    corner = index // width * wide + index % width
    around = padded.gather(1, corner[:, None] + near)
    fetched = torch.cat([peak, index[:, None].float(), around], dim=1).cpu().numpy()  # places are exact: below 2^24
    patches = fetched[:, 2:].reshape(count, _PATCH, _PATCH)
    return fetched[:, 1].astype(np.int64), fetched[:, 0], lambda chosen, *_: patches[chosen]


def _whole(maps: np.ndarray | torch.Tensor, row: int) -> np.ndarray:
    one = maps[row]
    return one.float().cpu().numpy() if isinstance(one, torch.Tensor) else np.ascontiguousarray(one, np.float32)


def _taylor_step(maps, chosen: np.ndarray, px: np.ndarray, py: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Offset (x, y) from each chosen map's peak to the maximum of the parabola through the blurred logarithm around
    it."""
    blurred = _BLUR @ patches @ _BLUR.T
    low = np.flatnonzero((blurred <= FLOOR).any(axis=(1, 2)))
    for row in low:
        blurred[row] = _blur_whole(_whole(maps, chosen[row]), px[row], py[row])
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
    for row in np.flatnonzero(~(np.abs(step).max(axis=1) <= FAR)):
        step[row] = _long_step(_whole(maps, chosen[row]), px[row], py[row])
    return step


def _long_step(heatmap: np.ndarray, px: int, py: int) -> np.ndarray:
    """The step of one map the long way round, upstream's operations in upstream's order. Where the parabola is nearly
    flat the last bit of every value decides how far away its top lies."""
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
    """float32 ``[M, 15, 15]`` of the chosen maps around their peaks, zeros beyond the border."""
    _, height, width = heatmaps.shape
    reach = _PATCH // 2
    offsets = np.arange(_PATCH) - reach
    patches = np.empty((len(maps), _PATCH, _PATCH), np.float32)
    whole = (px >= reach) & (px < width - reach) & (py >= reach) & (py < height - reach)
    corner = (maps[whole] * height + py[whole] - reach) * width + px[whole] - reach
    near = (np.arange(_PATCH)[:, None] * width + np.arange(_PATCH)).ravel()
    patches[whole] = heatmaps.reshape(-1).take(corner[:, None] + near).reshape(-1, _PATCH, _PATCH)
    cut = ~whole
    rows, columns = py[cut, None] + offsets, px[cut, None] + offsets
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    patches[cut] = heatmaps[maps[cut, None, None], rows[:, :, None], columns[:, None, :]] * inside
    return patches


def _blur_whole(heatmap: np.ndarray, px: int, py: int) -> np.ndarray:
    """The same 5x5 pixels of one map the long way round, with the rescaling to the peak's height."""
    padded = cv2.copyMakeBorder(heatmap, _REACH, _REACH, _REACH, _REACH, cv2.BORDER_CONSTANT, value=0)
    blurred = cv2.GaussianBlur(padded, (KERNEL, KERNEL), 0)[_REACH:-_REACH, _REACH:-_REACH]
    with np.errstate(divide="ignore", invalid="ignore"):
        blurred = blurred * (heatmap.max() / blurred.max())
    return blurred[py - _SPAN : py + _SPAN + 1, px - _SPAN : px + _SPAN + 1]


def found_keypoints(heatmaps: np.ndarray | torch.Tensor, regions: np.ndarray) -> np.ndarray:
    points = decode_heatmaps(heatmaps, regions)
    points[..., 2] = np.nan_to_num(points[..., 2]).clip(0, 1)
    points[points[..., 2] == 0] = 0
    return points
