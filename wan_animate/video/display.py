"""Display matrix (rotation, mirroring) and pixel aspect ratio."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

# Ratios such as 1707:1708 only compensate for rounded sides; resizing by a pixel or two would blur the picture.
_NEARLY_SQUARE = 0.005
_ODDEST = 10  # larger aspect ratios are broken headers


Turn = tuple[bool, bool, bool]


def orientation(frame: av.VideoFrame) -> Turn:
    """Transform to upright: (transpose, then flip horizontally, then flip vertically).

    The display matrix maps (x, y, 1) to (a x + c y + ..., b x + d y + ...) (ISO/IEC 14496-12, 8.3.2), rounded to the
    nearest of eight axis-aligned transforms.

    Not for every frame: PyAV's ``side_data`` delays its release until garbage collection.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if a == b == c == d == 0:
        return False, False, False
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def turned(image: np.ndarray, how: Turn, out: np.ndarray | None = None) -> np.ndarray:
    """Upright and C-contiguous: ``image`` itself if possible, else ``out`` or a new array."""
    transpose, across, down = how
    if transpose:
        image = cv2.transpose(image, out if not (across or down) else None)
    if across or down:
        image = cv2.flip(image, -1 if across and down else 1 if across else 0, out)
    return image


def pixel_shape(stream: av.video.stream.VideoStream) -> Fraction:
    """Width / height of a pixel; 1 if untagged."""
    shape = stream.sample_aspect_ratio
    if not shape or not Fraction(1, _ODDEST) <= shape <= _ODDEST:
        return Fraction(1)
    return Fraction(shape)


def shown_size(frame: av.VideoFrame, shape: Fraction, turn: Turn) -> tuple[int, int]:
    """(width, height) as displayed: stretched to square pixels, then turned."""
    width = round(frame.width * shape)
    if abs(width - frame.width) <= frame.width * _NEARLY_SQUARE:
        width = frame.width
    return (frame.height, width) if turn[0] else (width, frame.height)
