"""Growing and coarsening masks as in training (``wan/modules/animate/preprocess``: ``get_mask_body_img``,
``get_aug_mask``).
"""

from __future__ import annotations

import cv2
import numpy as np

from ..errors import InputError
from ..video.derived import DerivedSource
from ..video.frames import FrameSource
from .cells import whole_cells
from .stabilize import stabilize_masks
from .track import binary


def shape_mask(mask: np.ndarray, iterations: int = 3, k: int = 7, w_len: int = 1, h_len: int = 1) -> np.ndarray:
    """Grow a mask (uint8 ``[H, W]`` of 0 and 1), then fill every block of a grid over its bounding box that it touches.

    As upstream, the bounding box leaves out its last row and column, and 0 iterations make no blocks. Empty masks stay
    empty and blocks are at least one pixel, where upstream fails.

    Args:
        iterations, k: number of dilations, and side of their square kernel in pixels.
        w_len, h_len: columns and rows of the grid.
    """
    if iterations < 1:
        return mask.copy()
    grown = cv2.dilate(mask, np.ones((k, k), np.uint8), iterations=iterations)
    rows, columns = np.flatnonzero(grown.any(axis=1)), np.flatnonzero(grown.any(axis=0))
    if len(rows) == 0 or len(rows) == 1 or len(columns) == 1:
        return grown
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    step_y, step_x = max(int((bottom - top) / h_len), 1), max(int((right - left) / w_len), 1)
    starts_y, starts_x = np.arange(0, bottom - top, step_y), np.arange(0, right - left, step_x)
    box = grown[top:bottom, left:right]
    blocks = np.maximum.reduceat(np.maximum.reduceat(box, starts_y, axis=0), starts_x, axis=1)
    heights = np.diff([*starts_y, bottom - top])
    widths = np.diff([*starts_x, right - left])
    np.copyto(box, blocks.repeat(heights, axis=0).repeat(widths, axis=1))
    return grown


class ShapedMaskSource(DerivedSource):
    """Masks stabilized, shaped and feathered (uint8, 0 to 255).

    Args:
        iterations, k, w_len, h_len: see :func:`shape_mask`.
        stabilize: frames on either side for :func:`.stabilize.stabilize_masks`, 0 to 16.
        feather: width of the soft edge in pixels, 0 to 256.
        scale: pixels of the masks for each pixel that ``k`` and ``feather`` are given in (:func:`scale_to`); growing
            is rounded to whole pixels of the masks.
        cells: fill whole latent cells (:func:`.cells.whole_cells`). Upstream does not: up to 7 black columns and rows
            of the background are called known.

    Raises:
        InputError: ``source`` gives images, or a number is out of range.
    """

    kind = "mask"

    def __init__(
        self,
        source: FrameSource,
        iterations: int = 3,
        k: int = 7,
        w_len: int = 1,
        h_len: int = 1,
        stabilize: int = 0,
        feather: float = 0,
        cells: bool = False,
        scale: float = 1.0,
    ):
        if source.kind != "mask":
            raise InputError("shape mask: its input is a clip of images; turn it into masks first.")
        if iterations < 0 or min(k, w_len, h_len) < 1:
            raise InputError(
                f"shape mask: iterations ({iterations}) must be 0 or more, and k ({k}), w_len ({w_len}) and "
                f"h_len ({h_len}) at least 1."
            )
        if not 0 <= stabilize <= 16 or not 0 <= feather <= 256:
            raise InputError(
                f"shape mask: steady ({stabilize}) must lie between 0 and 16 frames, and feather ({feather}) between 0 "
                "and 256 pixels."
            )
        if not scale > 0:
            raise InputError(f"shape mask: the masks have {scale:g} pixels for each of the video: give more than 0.")
        super().__init__(source)
        if scale != 1:  # so many dilations with a square are one with a larger square
            iterations, k = min(iterations, 1), 2 * round(iterations * (k - 1) / 2 * scale) + 1
        self._shape = {"iterations": iterations, "k": k, "w_len": w_len, "h_len": h_len}
        self._stabilize, self._feather, self._cells = int(stabilize), float(feather) * scale, bool(cells)

    def _read(self, start: int, stop: int) -> np.ndarray:
        first, last = max(start - self._stabilize, 0), min(stop + self._stabilize, len(self.source))
        masks = binary(self.source.read(first, last))
        if self._stabilize:
            masks = stabilize_masks(masks, start - first, stop - first, self._stabilize)
        for mask in masks:
            mask[:] = shape_mask(mask, **self._shape)
        if self._cells:
            masks = whole_cells(masks)
        if self._feather:
            return np.stack([feather_mask(mask, self._feather) for mask in masks])
        masks *= 255
        return masks

    def is_black(self) -> bool | None:
        black = self.source.is_black()
        return None if self._stabilize and not black else black  # what shows for a moment may be taken out

    def fingerprint(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self._shape.items())
        if self._stabilize or self._feather:
            options += f",steady={self._stabilize},feather={self._feather}"
        if self._cells:
            options += ",cells"
        return f"shaped:{options}:{self.source.fingerprint()}"


def scale_to(masks: FrameSource, frames: FrameSource) -> float:
    """Pixels of ``masks`` for each of the picture that ``frames`` were made from; where that is not known, of these."""
    return (frames.native_scale or 1.0) * masks.width / frames.width


def feather_mask(mask: np.ndarray, width: float) -> np.ndarray:
    """A soft edge of ``width`` pixels, half of it inside the outline: uint8 ``[H, W]`` of 0 and 1 -> 0 to 255, 128 and
    above exactly where ``mask`` is 1.
    """
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    depth = inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    # the outline runs between two pixels, half a pixel from both
    soft = np.rint(np.clip(0.5 + (depth - np.sign(depth) * 0.5) / max(width, 1), 0, 1) * 255)
    return np.where(mask > 0, np.maximum(soft, 128), np.minimum(soft, 127)).astype(np.uint8)
