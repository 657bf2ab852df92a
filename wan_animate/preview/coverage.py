"""The picture that a node shows for masks that do not hold the person."""

from __future__ import annotations

import cv2
import numpy as np

from ..mask.coverage import CheckedMaskSource, Coverage
from ..mask.track import binary, overlay
from ..video.frames import FrameSource, read_uint8
from ..video.resample import letterbox
from .canvas import FONT, INK, LOST, PAPER, text, with_warnings

_WIDTH, _HEIGHT = 960, 540


def coverage_picture(
    coverage: Coverage, masks: CheckedMaskSource, frames: FrameSource | None = None
) -> np.ndarray | None:
    """uint8 ``[H, 960, 3]`` RGB: the worst frame with its mask and the points outside, above the warnings, if any.

    Args:
        masks: that were checked.
        frames: of any size, shown below the mask; None is black.
    """
    at = coverage.worst
    if at is None:
        return None
    mask = binary(masks.read(at, at + 1))[0]
    picture = np.zeros((*mask.shape, 3), np.uint8)
    if frames is not None:
        picture = letterbox(read_uint8(frames, at, at + 1)[0], masks.width, masks.height)
    picture = overlay(picture, mask * np.uint8(255))
    found = masks.uncovered(at, mask)
    for points in found.values():
        for x, y in np.rint(points).astype(int).tolist():
            cv2.circle(picture, (x, y), max(round(masks.height / 120), 2), LOST, -1, cv2.LINE_AA)
    picture = letterbox(picture, _WIDTH, _HEIGHT)
    label = f"frame {at}" + (f": {', '.join(found)}" if found else "")
    cv2.rectangle(picture, (0, 0), (cv2.getTextSize(label, FONT, 0.46, 1)[0][0] + 16, 26), PAPER, -1)
    text(picture, label, 8, 18, color=INK)
    return with_warnings(picture, coverage.warnings)
