"""The drawn dancer under hats and with big heads: what really belongs to the person, pixel by pixel."""

from __future__ import annotations

import cv2
import numpy as np

from demo.figure import draw_figure, room
from wan_animate.pose import wholebody

# Half the width at the brow and at the top, and the height of the top above the brow, in face heights (brow to chin).
HATS = {
    "bare": None,
    "big head": None,
    "cap": (0.62, 0.55, 0.75),
    "bun": (0.35, 0.3, 1.0),
    "top hat": (0.62, 0.62, 1.7),
    "chef's hat": (0.6, 0.7, 1.6),
    "wizard's hat": (0.65, 0.05, 2.4),
}


def person(keypoints: np.ndarray, width: int, height: int, hat: str = "bare") -> np.ndarray:
    """bool ``[H, W]``: the dancer's own pixels (without the shadow on the rug) with a hat on."""
    shown = np.abs(draw_figure(keypoints, width, height, marked=False).astype(int) - room(width, height)).max(axis=2)
    mask = (shown > 12).astype(np.uint8)
    mask[int(keypoints[15:23, 1].max()) - 10 :] = 0
    shape = HATS.get(hat)
    if hat == "big head":
        brow, chin = keypoints[40:50, :2].mean(axis=0), keypoints[31, :2]
        tall = np.linalg.norm(chin - brow)
        at = (brow + chin) / 2 + (brow - chin) * 0.25
        angle = float(np.degrees(np.arctan2(*(brow - chin)[::-1])))
        axes = (round(1.25 * tall), round(1.1 * tall))
        cv2.ellipse(mask, tuple(int(side) for side in np.rint(at)), axes, angle, 0, 360, 1, -1)
    if shape is not None:
        cv2.fillConvexPoly(mask, np.int32(np.rint(hat_corners(keypoints, shape))), 1)
    return mask > 0


def hat_corners(keypoints: np.ndarray, shape: tuple[float, float, float]) -> np.ndarray:
    """Corners of a hat as :data:`HATS` describes it, upright on the head."""
    face = keypoints[wholebody.FACE, :2].astype(float)
    brow, chin = face[17:27].mean(axis=0), face[8]
    tall = np.linalg.norm(chin - brow)
    up = (brow - chin) / tall
    side = np.array([-up[1], up[0]])
    low, high, rise = (part * tall for part in shape)
    return np.array(
        [brow - side * low, brow + side * low, brow + up * rise + side * high, brow + up * rise - side * high]
    )


def box_of(mask: np.ndarray, score: float = 0.9) -> np.ndarray:
    """The box that a detector finds around a person's pixels: x1, y1, x2, y2, score."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, score], np.float32)


def above_shoulders(keypoints: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool ``[H, W]``: rows above the higher shoulder."""
    return np.arange(shape[0])[:, None] < keypoints[
        [wholebody.LEFT_SHOULDER, wholebody.RIGHT_SHOULDER], 1
    ].min() + np.zeros(shape[1])
