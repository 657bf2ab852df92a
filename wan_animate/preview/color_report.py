"""What colour correction did, segment by segment: a picture and a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .canvas import BEFORE, FAINT, GRID, INK, PAPER, text
from .report import mean, spans
from .report_plot import Panel, nice_step

AFTER = (74, 222, 128)
LEFT, RIGHT = 60, 24
COMPARED = {"previous": "the previous frames", "anchor": "the scene"}


@dataclass(frozen=True, eq=False)
class ColorReport:
    """CIEDE2000 of a clip's segments; NaN where nothing was measured.

    Attributes:
        before, after: "previous" (against the previous frames) and "anchor" (against the scene) -> float64 ``[S]``.
        notes: why something was left alone -> the segments, from 0.
    """

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    notes: dict[str, np.ndarray]

    @classmethod
    def of(cls, records: Sequence[dict[str, Any]]) -> ColorReport | None:
        """Of a store's records (:meth:`..chain.store.SegmentStore.records`); None if they tell nothing of colour."""
        found = [color if isinstance(color := one.get("color"), dict) else {} for one in records]
        if not any(found):
            return None
        values = {name: np.full((len(found), 2), np.nan) for name in COMPARED}
        noted: dict[str, list[int]] = {}
        for index, measured in enumerate(found):
            for name in COMPARED:
                values[name][index] = _pair(measured.get(name))
            if isinstance(note := measured.get("note"), str) and note:
                noted.setdefault(note, []).append(index)
        return cls(
            {name: value[:, 0] for name, value in values.items()},
            {name: value[:, 1] for name, value in values.items()},
            {note: np.array(indices) for note, indices in noted.items()},
        )

    def text(self) -> str:
        """One line; segments count from 1."""
        parts = []
        for name, words in COMPARED.items():
            before, after = mean(self.before[name]), mean(self.after[name])
            if before is not None and after is not None:
                worst = int(np.nanargmax(self.after[name]))
                parts.append(
                    f"Delta E against {words} {before:.2f} before and {after:.2f} after correction "
                    f"(at most {self.after[name][worst]:.2f}, in segment {worst + 1})"
                )
        parts += [f"not all was done in segment {spans(at + 1)}: {note}" for note, at in self.notes.items()]
        return f"color: {'; '.join(parts)}." if parts else "color: nothing could be measured."


def _pair(measured: Any) -> tuple[float, float]:
    """Before and after; NaN for what is no such pair, in a file that was edited."""
    try:
        before, after = map(float, measured)
        return before, after
    except (TypeError, ValueError, OverflowError):
        return np.nan, np.nan


def draw_color_report(report: ColorReport, width: int = 900, height: int = 420) -> np.ndarray:
    """uint8 ``[height, width, 3]`` RGB: Delta E of every segment before and after."""
    image = np.full((height, width, 3), PAPER, np.uint8)
    shown = [name for name in COMPARED if mean(report.after[name]) is not None]
    bottom = height - 8 - 18 * len(report.notes)
    each = (bottom - 20) // max(len(shown), 1)
    for row, name in enumerate(shown):
        top = 34 + row * each
        _panel(image, report, name, (LEFT, top, width - RIGHT, top + each - 52))
    if not shown:
        text(image, "nothing could be measured", LEFT, 40, 0.5, FAINT)
    for row, (note, at) in enumerate(report.notes.items()):
        text(image, f"segment {spans(at + 1)}: {note}", LEFT, bottom + 6 + 18 * row, 0.42, INK)
    return image


def _panel(image: np.ndarray, report: ColorReport, name: str, box: tuple[int, int, int, int]) -> None:
    before, after = report.before[name], report.after[name]
    count = len(after)
    top = max(float(np.nanmax(before)), float(np.nanmax(after)), 0.5) * 1.15
    panel = Panel(image, box, count, top, f"Delta E against {COMPARED[name]}, by segment")
    panel.axes(ticks=3, numbers=False)
    step = max(int(nice_step(count, max((box[2] - box[0]) // 60, 2))), 1)
    for index in range(0, count, step):
        cv2.line(image, (panel.x(index), box[3]), (panel.x(index), box[3] + 4), GRID, 1)
        text(image, str(index + 1), panel.x(index), box[3] + 18, 0.4, FAINT, "middle")
    label = f"after {mean(after):.2f}"
    text(image, label, box[2], box[1] - 7, 0.46, AFTER, "right")
    far = box[2] - cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.46, 1)[0][0] - 16
    text(image, f"before {mean(before):.2f}", far, box[1] - 7, 0.46, BEFORE, "right")
    panel.line(before, BEFORE, 2)
    panel.line(after, AFTER, 2)
