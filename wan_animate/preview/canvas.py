"""Colours, text and warnings of the drawn pictures."""

from __future__ import annotations

import cv2
import numpy as np

Color = tuple[int, int, int]

PAPER, PANEL, GRID, INK, FAINT = (24, 24, 27), (34, 34, 38), (58, 58, 64), (235, 235, 235), (165, 165, 172)
BEFORE, CUT, LOST = (150, 150, 158), (250, 204, 21), (220, 70, 70)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def text(
    image: np.ndarray, content: str, x: int, y: int, size: float = 0.46, color: Color = INK, align: str = "left"
) -> None:
    """Draw text with its baseline at ``y``, aligned to ``x``."""
    width = cv2.getTextSize(content, FONT, size, 1)[0][0]
    x -= {"left": 0, "middle": width // 2, "right": width}[align]
    cv2.putText(image, content, (x, y), FONT, size, color, 1, cv2.LINE_AA)


def with_warnings(picture: np.ndarray, sentences: list[str]) -> np.ndarray:
    """uint8 RGB picture above a band of warnings, if any."""
    return np.concatenate([picture, warning_band(sentences, picture.shape[1])]) if sentences else picture


def warning_band(sentences: list[str], width: int) -> np.ndarray:
    lines = []
    for sentence in sentences:
        line = ""
        for word in f"Warning: {sentence}".split():
            longer = f"{line} {word}".strip()
            if line and cv2.getTextSize(longer, FONT, 0.46, 1)[0][0] > width - 16:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    band = np.empty((20 * len(lines) + 12, width, 3), np.uint8)
    band[:] = LOST
    for at, line in enumerate(lines):
        text(band, line, 8, 20 * at + 20)
    return band
