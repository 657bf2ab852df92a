"""Pictures of finished segments: their frames, and the frames on both sides of every boundary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ..video.frames import FrameSource, as_uint8
from .canvas import FAINT, PAPER, text

GAP, CAPTION = 6, 22
MOST_BOUNDARIES = 24
ENDS_HEIGHT = 72


def segment_picture(frames: np.ndarray, columns: int = 3, rows: int = 2, width: int = 512) -> np.ndarray:
    """First, last and evenly spaced frames of a segment, in rows.

    Args:
        frames: ``[n, H, W, 3]`` RGB, uint8 or float in 0..1.

    Returns:
        uint8 ``[h, w, 3]``, at most ``width`` wide; fewer columns and rows for fewer frames.
    """
    count = min(columns * rows, len(frames))
    columns = min(columns, count)
    cell = (width - GAP * (columns - 1)) // columns
    shown = [_small(frames[at], cell) for at in _spread(len(frames), count)]
    return _in_rows(shown, columns)


def segment_ends(first: np.ndarray, last: np.ndarray, height: int = ENDS_HEIGHT) -> np.ndarray:
    """A segment's first and last frame side by side, uint8 ``[height, 2 * w, 3]``.

    Args:
        first, last: ``[H, W, 3]`` RGB, uint8 or float in 0..1.
    """
    width = max(round(first.shape[1] * height / first.shape[0]), 1)
    pair = [cv2.resize(as_uint8(one), (width, height), interpolation=cv2.INTER_AREA) for one in (first, last)]
    return np.concatenate(pair, axis=1)


def boundary_strip(
    clip: FrameSource, starts: Sequence[int], width: int = 1280, check: Callable[[], None] = lambda: None
) -> np.ndarray | None:
    """The last frame before and the first frame after every boundary, side by side.

    Args:
        starts: frames with which a segment begins, without 0; of more than :data:`MOST_BOUNDARIES` some are shown.
        check: called before every boundary; may raise to stop.

    Returns:
        uint8 ``[h, w, 3]`` RGB, at most ``width`` wide; None without a boundary.
    """
    if not starts:
        return None
    chosen = [
        starts[at] for at in np.linspace(0, len(starts) - 1, min(len(starts), MOST_BOUNDARIES)).round().astype(int)
    ]
    columns = min(len(chosen), 3 if clip.width >= clip.height else 5)
    pair = (width - 3 * GAP * (columns - 1)) // columns
    cell = min((pair - 2) // 2, clip.width)
    pairs = []
    for start in chosen:
        check()
        pairs.append(_pair(clip, start, cell))
    return _in_rows(pairs, columns, 3 * GAP)


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` evenly spaced numbers below ``count``, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def _pair(clip: FrameSource, start: int, cell: int) -> np.ndarray:
    before, after = (_small(clip.read(at, at + 1)[0], cell) for at in (start - 1, start))
    line = np.full((before.shape[0], 2, 3), 255, np.uint8)
    picture = np.concatenate([before, line, after], axis=1)
    caption = np.full((CAPTION, picture.shape[1], 3), PAPER, np.uint8)
    text(caption, str(start - 1), cell - 8, 15, 0.42, FAINT, "right")
    text(caption, str(start), cell + 10, 15, 0.42, FAINT)
    return np.concatenate([picture, caption])


def _small(frame: np.ndarray, width: int) -> np.ndarray:
    height = max(round(frame.shape[0] * width / frame.shape[1]), 1)
    return cv2.resize(as_uint8(frame), (max(width, 1), height), interpolation=cv2.INTER_AREA)


def _in_rows(pictures: list[np.ndarray], columns: int, gap: int = GAP) -> np.ndarray:
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    out = np.full((rows * height + (rows - 1) * GAP, columns * width + (columns - 1) * gap, 3), PAPER, np.uint8)
    for at, picture in enumerate(pictures):
        top, left = at // columns * (height + GAP), at % columns * (width + gap)
        out[top : top + height, left : left + width] = picture
    return out
