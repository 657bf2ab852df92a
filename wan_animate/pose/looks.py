"""What a person looks like, in 128 numbers: colours of the upper and the lower part of the box."""

from __future__ import annotations

import cv2
import numpy as np

LEVELS = 4  # bins a channel; a pixel is shared out between its two nearest
SIZE = 2 * LEVELS**3
_WIDE, _TALL = 12, 24
# The middle of the box: left and right of it is mostly background, and so is the very top and bottom.
_INSET = (0.3, 0.06, 0.7, 0.9)


def look_of(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Colour histogram of the person in a box, of unit length: :func:`alike` of two is a dot product away.

    Args:
        image: uint8 ``[H, W, 3]``; a small copy of the frame will do.
        box: x1, y1, x2, y2 in its pixels; parts beyond it are left out.

    Returns:
        float32 ``[128]``; zeros where nothing of the box lies in the picture.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.asarray(box[:4], np.float64)
    left, top = x1 + _INSET[0] * (x2 - x1), y1 + _INSET[1] * (y2 - y1)
    right, bottom = x1 + _INSET[2] * (x2 - x1), y1 + _INSET[3] * (y2 - y1)
    left, right = int(max(left, 0)), int(min(np.ceil(right), width))
    top, bottom = int(max(top, 0)), int(min(np.ceil(bottom), height))
    if right - left < 2 or bottom - top < 2:
        return np.zeros(SIZE, np.float32)
    some = cv2.resize(image[top:bottom, left:right], (2 * _WIDE, 2 * _TALL), interpolation=cv2.INTER_NEAREST)
    patch = cv2.resize(some, (_WIDE, _TALL), interpolation=cv2.INTER_AREA)
    at = patch.reshape(2, -1, 3).astype(np.float32) * ((LEVELS - 1) / 255)
    share = np.maximum(1 - np.abs(at[..., None] - np.arange(LEVELS, dtype=np.float32)), 0)  # [2, P, 3, LEVELS]
    red_green = (share[:, :, 0, :, None] * share[:, :, 1, None, :]).reshape(2, -1, LEVELS**2)
    histogram = red_green.transpose(0, 2, 1) @ share[:, :, 2]
    return np.sqrt(histogram / (2 * at.shape[1])).ravel()


def unalike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya distance, 0 (the same colours) to 1 (none in common), of looks ``[..., n, 128]`` and
    ``[..., m, 128]``: ``[..., n, m]``. About 0.1 for one person in two frames, 0.4 and more for two differently
    dressed."""
    return np.sqrt(np.maximum(1 - first @ np.swapaxes(second, -1, -2), 0))


def mean_look(looks: np.ndarray) -> np.ndarray:
    """The mean of ``[n, 128]`` looks, again of unit length."""
    mean = looks.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)
