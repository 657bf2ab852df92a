"""Masks in whole cells of the latent, so that what is black in the background is never called known."""

from __future__ import annotations

import numpy as np

CELL = 8  # pixels of the picture along one side of a latent pixel (the Wan VAE's stride)


def whole_cells(masks: np.ndarray) -> np.ndarray:
    """Every 8x8 cell that holds any of the mask, filled.

    The model is told cell by cell what is known, and a cell can only be known or not. Upstream asks the upper left
    pixel of each (``wan/animate.py``: ``interpolate`` with ``nearest``), the host the middle one (``nearest-exact``):
    along the other edges of a mask, pixels that the background has black are then called known scene, and stay black.
    Of a mask in whole cells every pixel gives the same answer.

    Args:
        masks: uint8 ``[..., H, W]`` of 0 and 1; cells at the right and lower edge may be cut.

    Returns:
        the same shape and type, another array.
    """
    height, width = masks.shape[-2:]
    rows, columns = np.arange(0, height, CELL), np.arange(0, width, CELL)
    cells = np.maximum.reduceat(np.maximum.reduceat(masks, rows, axis=-2), columns, axis=-1)
    return cells.repeat(CELL, axis=-2)[..., :height, :].repeat(CELL, axis=-1)[..., :width]
