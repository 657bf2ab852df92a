"""Parts of frames at sub-pixel places, resampled without aliasing.

Pillow's ``resize`` takes a box with fractions and widens its filter to shrink; OpenCV's ``warpAffine`` takes fractions
but does not widen (what shrinks to a half flickers as the window glides), and its ``INTER_AREA`` widens but begins at
whole pixels (the window would jump by one).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

from .boxes import Rectangle

_SUPPORT = 3  # pixels on either side that Lanczos reads, times what shrinks
_FILTER = Image.Resampling.LANCZOS


def cut_out(frame: np.ndarray, place: Rectangle, size: tuple[int, int]) -> np.ndarray:
    """A part of a frame, uint8 ``[H, W, 3]``, at ``size`` (width, height).

    Args:
        place: left, top, width, height in pixels of the frame, inside it.
    """
    left, top, width, height = place
    if (width, height) == size and left == int(left) and top == int(top):
        return frame[int(top) : int(top) + size[1], int(left) : int(left) + size[0]]
    pad = math.ceil(_SUPPORT * max(width / size[0], height / size[1], 1.0)) + 1
    x, y = max(math.floor(left) - pad, 0), max(math.floor(top) - pad, 0)
    part = np.ascontiguousarray(frame[y : math.ceil(top + height) + pad, x : math.ceil(left + width) + pad])
    box = (left - x, top - y, min(left - x + width, part.shape[1]), min(top - y + height, part.shape[0]))
    return _resized(Image.fromarray(part), box, size)


def _resized(picture: Image.Image, box: Rectangle, size: tuple[int, int]) -> np.ndarray:
    """A part (left, top, right, bottom) at a size, by rows and then by columns.

    Between the two, Pillow rounds, and cuts what Lanczos overshoots; which it does first it chooses by the sizes, so
    that an edge's pixels would change where only the part's size does.
    """
    left, top, right, bottom = box
    width, height = size
    pad = math.ceil(_SUPPORT * max((right - left) / width, 1.0)) + 1
    x1, x2 = max(math.floor(left) - pad, 0), min(math.ceil(right) + pad, picture.width)
    rows = picture.resize((x2 - x1, height), _FILTER, (x1, top, x2, bottom))
    return np.asarray(rows.resize(size, _FILTER, (left - x1, 0, right - x1, height)))


def cut_out_mask(mask: np.ndarray, place: Rectangle, size: tuple[int, int]) -> np.ndarray:
    """A part of a mask, uint8 ``[H, W]`` of 0 and 1, at ``size``; beyond the mask its edge goes on."""
    left, top, width, height = place
    across, down = width / size[0], height / size[1]
    matrix = np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft = cv2.warpAffine(mask * np.uint8(255), matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return (soft >= 128).view(np.uint8)


def whole_pixels(place: Rectangle) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the frame's pixels that lie wholly in a part of it."""
    left, top, width, height = place
    return math.ceil(left), math.ceil(top), math.floor(left + width), math.floor(top + height)


class PlacedBack:
    """What :func:`cut_out` made, at the frame's own pixels :func:`whole_pixels`, a part of it at a time.

    Args:
        image: uint8 ``[h, w, 3]`` of any size.
        place: as of :func:`cut_out`.

    Attributes:
        width, height: in pixels of the frame.
    """

    def __init__(self, image: np.ndarray, place: Rectangle) -> None:
        left, top, width, height = place
        x1, y1, x2, y2 = whole_pixels(place)
        rows, columns = image.shape[:2]
        self.width, self.height, self._left, self._top = x2 - x1, y2 - y1, x1 - left, y1 - top
        self._across, self._down = columns / width, rows / height
        unchanged = (columns, rows) == (self.width, self.height) == (width, height)
        self._image = image if unchanged else None
        self._picture = None if unchanged else Image.fromarray(np.ascontiguousarray(image))

    def part(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """uint8 ``[height, width, 3]``, of the pixels from x and y."""
        if self._picture is None:
            assert self._image is not None
            return self._image[y : y + height, x : x + width]
        left, top = self._left + x, self._top + y
        box = (left * self._across, top * self._down, (left + width) * self._across, (top + height) * self._down)
        most = self._picture.size
        box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(most[0])), min(box[3], float(most[1])))
        return _resized(self._picture, box, (width, height))
