"""Masks in whole 8x8 cells, the latent's pixels."""

from __future__ import annotations

import numpy as np

CELL = 8  # pixels of the picture along one side of a latent pixel (the Wan VAE's stride)


def whole_cells(masks: np.ndarray) -> np.ndarray:
    """Fills every 8x8 cell that holds any of the mask; uint8 ``[..., H, W]`` of 0 and 1 -> a new array.

    The latent samples a pixel per cell (upstream ``nearest``: upper left, ComfyUI ``nearest-exact``: middle): in cut
    cells, black background could count as known.
    """
    height, width = masks.shape[-2:]
    return _cells(masks).repeat(CELL, axis=-2)[..., :height, :].repeat(CELL, axis=-1)[..., :width]


def fills(masks: np.ndarray) -> np.ndarray:
    """Whether every 8x8 cell holds some of the mask, so that nothing of the scene is known; uint8 ``[..., H, W]`` of 0
    and 1 -> bool ``[...]``."""
    return np.asarray(_cells(masks).all(axis=(-2, -1)))


def _cells(masks: np.ndarray) -> np.ndarray:
    rows, columns = (np.arange(0, side, CELL) for side in masks.shape[-2:])
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(masks, rows, axis=-2), columns, axis=-1))
