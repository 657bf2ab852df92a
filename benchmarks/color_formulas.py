"""The usual ways to match one frame's colours to another's, as the peers' nodes do it frame by frame.

Frames are ``[H, W, 3]`` in 0..1; results are not clipped.
"""

from __future__ import annotations

import cv2
import numpy as np


def transport(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Monge-Kantorovich: A = S^-1/2 (S^1/2 T S^1/2)^1/2 S^-1/2 (F. Pitie, A. Kokaram 2007)."""
    here, there = frame.reshape(-1, 3), reference.reshape(-1, 3)
    root, inverse = (_power(np.cov(here.T), exponent) for exponent in (0.5, -0.5))
    matrix = inverse @ _power(root @ np.cov(there.T) @ root, 0.5) @ inverse
    return ((here - here.mean(0)) @ matrix + there.mean(0)).reshape(frame.shape)


def mean_and_deviation(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Reinhard et al. 2001, in L*a*b*; float32."""
    here, there = (cv2.cvtColor(np.ascontiguousarray(one, np.float32), cv2.COLOR_RGB2Lab) for one in (frame, reference))
    ratio = there.std((0, 1)) / np.maximum(here.std((0, 1)), 1e-6)
    moved = (here - here.mean((0, 1))) * ratio + there.mean((0, 1))
    return cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-12) ** exponent @ vectors.T
