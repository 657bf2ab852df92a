"""Pictures in a row, to compare."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .canvas import PAPER, text

_GAP, _CAPTION = 8, 26


def side_by_side(pictures: Sequence[tuple[str, np.ndarray]], height: int = 240) -> np.ndarray:
    """Labelled pictures (uint8 ``[H, W, 3]``, any size) brought to one height; uint8 ``[H, W, 3]``."""
    cells = [_cell(label, picture, height) for label, picture in pictures]
    gap = _paper(_CAPTION + height, _GAP)
    return np.concatenate([part for cell in cells for part in (gap, cell)][1:], axis=1)


def _cell(label: str, picture: np.ndarray, height: int) -> np.ndarray:
    width = min(max(round(picture.shape[1] * height / picture.shape[0]), 80), 4 * height)
    down = picture.shape[0] > height
    shown = cv2.resize(
        np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_AREA if down else cv2.INTER_LINEAR
    )
    caption = _paper(_CAPTION, width)
    text(caption, label, width // 2, 18, align="middle")
    return np.concatenate([caption, shown])


def _paper(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)
