"""A picture of the numbered people in view."""

from __future__ import annotations

import cv2
import numpy as np

from ..people.choosing import Shot

_COLORS = ((255, 176, 0), (0, 158, 255), (220, 60, 170), (60, 190, 80), (230, 80, 40), (120, 110, 230))
_DARK = (24, 24, 28)


def picture_people(image: np.ndarray, shot: Shot) -> None:
    """Draws numbered boxes on uint8 RGB ``[H, W, 3]``, in place; the chosen person's is thick."""
    height, width = image.shape[:2]
    unit = max(min(height, width) / 360, 1.0)
    for index, person in enumerate(shot.people):
        if not person.present[shot.shown - shot.start]:
            continue
        x1, y1, x2, y2 = np.rint(person.boxes[shot.shown - shot.start, :4]).astype(int).tolist()
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width - 1), min(y2, height - 1)
        chosen = index == shot.chosen
        color, thick = _COLORS[index % len(_COLORS)], round((4 if chosen else 1.5) * unit)
        cv2.rectangle(image, (x1, y1), (x2, y2), _DARK, thick + round(2 * unit))
        cv2.rectangle(image, (x1, y1), (x2, y2), color, thick)
        text = f"{index + 1} chosen" if chosen else str(index + 1)
        (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * unit, round(2 * unit))
        edge = round(5 * unit)
        cv2.rectangle(image, (x1, y1), (x1 + wide + 2 * edge, y1 + tall + 2 * edge), color, -1)
        at = (x1 + edge, y1 + edge + tall)
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * unit, _DARK, round(2 * unit), cv2.LINE_AA)
