"""Some frames of a clip in one picture."""

from __future__ import annotations

import cv2
import numpy as np

from ..video.frames import FrameSource, read_uint8
from .canvas import FONT, INK, PAPER, text
from .sheet import MaskShown

GAP, MOST = 6, 6


def moments_picture(
    clip: FrameSource, frames: FrameSource | None = None, width: int = 960, most: int = MOST
) -> np.ndarray:
    """Evenly spaced frames with their numbers, in two rows.

    Args:
        clip: pictures, or masks.
        frames: pictures of any size that masks are shown over; None shows them in grey.
        most: frames that are shown.

    Returns:
        uint8 ``[h, width, 3]`` RGB, less wide for fewer frames.
    """
    shown = clip if frames is None or clip.kind != "mask" else MaskShown(frames, clip)
    count = len(shown)
    at = sorted({round(i * (count - 1) / max(min(most, count) - 1, 1)) for i in range(min(most, count))})
    columns = min(-(-most // 2), len(at))
    cell = (width - GAP * (-(-most // 2) - 1)) // -(-most // 2)
    cells = [_cell(shown, frame, cell) for frame in at]
    height = cells[0].shape[0]
    rows = -(-len(cells) // columns)
    out = np.full((rows * height + (rows - 1) * GAP, columns * cell + (columns - 1) * GAP, 3), PAPER, np.uint8)
    for place, picture in enumerate(cells):
        top, left = place // columns * (height + GAP), place % columns * (cell + GAP)
        out[top : top + height, left : left + cell] = picture
    return out


def _cell(clip: FrameSource, at: int, width: int) -> np.ndarray:
    frame = read_uint8(clip, at, at + 1)[0]
    if frame.ndim == 2:
        frame = cv2.cvtColor(frame * np.uint8(255) if frame.size and frame.max() == 1 else frame, cv2.COLOR_GRAY2RGB)
    height = max(round(frame.shape[0] * width / frame.shape[1]), 1)
    picture = np.ascontiguousarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
    cv2.rectangle(picture, (0, 0), (cv2.getTextSize(str(at), FONT, 0.46, 1)[0][0] + 10, 20), PAPER, -1)
    text(picture, str(at), 5, 14, color=INK)
    return picture
