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
    rows, columns = np.arange(0, height, CELL), np.arange(0, width, CELL)
    cells = np.maximum.reduceat(np.maximum.reduceat(masks, rows, axis=-2), columns, axis=-1)
    return cells.repeat(CELL, axis=-2)[..., :height, :].repeat(CELL, axis=-1)[..., :width]
