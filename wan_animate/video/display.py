"""How a player turns, mirrors and stretches what is stored: the display matrix and the shape of a pixel."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np

# Stored sides come from rounding, and files carry ratios such as 1707:1708 to make up for it. Nobody sees that, while
# scaling a whole picture by a pixel or two softens it.
_NEARLY_SQUARE = 0.005
_ODDEST = 10  # a pixel ten times as wide as high is a broken header


Turn = tuple[bool, bool, bool]


def orientation(frame: av.VideoFrame) -> Turn:
    """What brings a decoded frame upright: (transpose, then mirror left to right, then mirror top to bottom).

    All eight that a display matrix can stand for (ISO/IEC 14496-12, 8.3.2: it takes a stored point (x, y, 1) to
    (a x + c y + ..., b x + d y + ...)), of which four are mirrored; an angle alone tells four. A matrix that turns by
    something else is taken to the nearest of the eight.

    Not to be asked of every frame: PyAV then keeps the frame in memory until Python's collector comes by.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if a == b == c == d == 0:
        return False, False, False
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def turned(image: np.ndarray, how: Turn, out: np.ndarray | None = None) -> np.ndarray:
    """The image brought upright, C-contiguous; a new one, or ``out``, unless there is nothing to do."""
    transpose, across, down = how
    if transpose:
        image = cv2.transpose(image, out if not (across or down) else None)
    if across or down:
        image = cv2.flip(image, -1 if across and down else 1 if across else 0, out)
    return image


def pixel_shape(stream: av.video.stream.VideoStream) -> Fraction:
    """Width of a stored pixel as a multiple of its height (the sample aspect ratio); 1 where it is not told."""
    shape = stream.sample_aspect_ratio
    if not shape or not Fraction(1, _ODDEST) <= shape <= _ODDEST:
        return Fraction(1)
    return Fraction(shape)


def shown_size(frame: av.VideoFrame, shape: Fraction, turn: Turn) -> tuple[int, int]:
    """Width and height at which a player shows a frame: stretched to square pixels in its width, then turned."""
    width = round(frame.width * shape)
    if abs(width - frame.width) <= frame.width * _NEARLY_SQUARE:
        width = frame.width
    return (frame.height, width) if turn[0] else (width, frame.height)
