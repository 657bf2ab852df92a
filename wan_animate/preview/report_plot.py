"""The picture of a pose report, drawn with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import BEFORE, CUT, FAINT, FONT, GRID, INK, LOST, PANEL, PAPER, text, warning_band
from .report import PoseReport, mean

COLORS = {"body": (96, 165, 250), "hands": (74, 222, 128), "face": (251, 146, 60), "feet": (192, 132, 252)}
MASK = (45, 212, 191)
LEFT, RIGHT, ROW = 110, 24, 24


def nice_step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten that divides ``span`` into at most ``most`` steps."""
    step = 10.0 ** np.floor(np.log10(max(span, 1e-9) / most))
    return float(next(step * by for by in (1, 2, 5, 10) if span <= most * step * by * (1 + 1e-9)))


class Panel:
    """A chart: x is the frame, y a value from 0 to ``top``."""

    def __init__(self, image: np.ndarray, box: tuple[int, int, int, int], frames: int, top: float, title: str) -> None:
        self.image, self.box, self.frames, self.top = image, box, frames, max(top, 1e-9)
        x1, y1, x2, y2 = box
        cv2.rectangle(image, (x1, y1), (x2, y2), PANEL, -1)
        text(image, title, x1, y1 - 7)

    def x(self, frame: float) -> int:
        x1, _, x2, _ = self.box
        return round(x1 + (x2 - x1) * (frame + 0.5) / self.frames)

    def y(self, value: float) -> int:
        _, y1, _, y2 = self.box
        return round(y2 - (y2 - y1) * min(value / self.top, 1))

    def axes(self, unit: str = "{:g}", ticks: int = 3, numbers: bool = True) -> None:
        x1, y1, x2, y2 = self.box
        step = nice_step(self.top, ticks)
        for value in np.arange(0, self.top * (1 + 1e-9), step):
            cv2.line(self.image, (x1, self.y(value)), (x2, self.y(value)), GRID, 1)
            text(self.image, unit.format(round(float(value), 6)), x1 - 8, self.y(value) + 5, 0.4, FAINT, "right")
        if numbers:
            self.frame_numbers()

    def frame_numbers(self) -> None:
        x1, _, x2, y2 = self.box
        step = max(nice_step(self.frames - 1, max((x2 - x1) // 90, 2)), 1)
        for frame in np.arange(0, self.frames, step).astype(int):
            cv2.line(self.image, (self.x(frame), y2), (self.x(frame), y2 + 4), FAINT, 1)
            text(self.image, str(frame), self.x(frame), y2 + 18, 0.4, FAINT, "middle")

    def cuts(self, cuts: tuple[int, ...]) -> None:
        for cut in cuts:
            cv2.line(self.image, (self.x(cut - 0.5), self.box[1]), (self.x(cut - 0.5), self.box[3]), CUT, 1)

    def line(self, values: np.ndarray, color: tuple[int, int, int], thickness: int = 1) -> None:
        """Plot values; NaN leaves a gap, a pixel column shows the mean of its frames."""
        columns = max(self.box[2] - self.box[0], 1)
        every = -(-len(values) // columns)
        points: list[tuple[int, int]] = []
        for start in [*range(0, len(values), every), None]:
            part = np.full(1, np.nan) if start is None else values[start : start + every]
            known = part[np.isfinite(part)]
            if len(known):
                points.append((self.x(start + (len(part) - 1) / 2), self.y(float(known.mean()))))
            elif points:
                if len(points) == 1:
                    cv2.circle(self.image, points[0], thickness, color, -1, cv2.LINE_AA)
                cv2.polylines(self.image, [np.array(points, np.int32)], False, color, thickness, cv2.LINE_AA)
                points = []


def draw_report(report: PoseReport, width: int = 1200, height: int = 700) -> np.ndarray:
    """uint8 ``[height, width, 3]`` RGB: what was found, jitter, mask area and warnings."""
    if report.warnings:
        band = warning_band(report.warnings, width)
        return np.concatenate([_drawn(report, width, height - len(band)), band])
    return _drawn(report, width, height)


def _drawn(report: PoseReport, width: int, height: int) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = PAPER
    shown = [part for part in report.jitter if mean(report.jitter[part]) is not None]
    y = _found(image, report, 52)
    bottom = height - (160 if report.mask_area is not None else 34)
    rows = [shown[at : at + 2] for at in range(0, len(shown), 2)]
    each = (bottom - y) // max(len(rows), 1)
    for row in rows:
        span = (width - RIGHT - LEFT - 70 * (len(row) - 1)) // len(row)
        for column, part in enumerate(row):
            left = LEFT + column * (span + 70)
            _jitter(image, report, part, (left, y + 30, left + span, y + each - 28))
        y += each
    if report.mask_area is not None:
        area = report.mask_area * 100
        panel = Panel(image, (LEFT, height - 124, width - RIGHT, height - 30), report.frames, area.max() * 1.15, "")
        text(image, "mask, percent of the picture", LEFT, height - 131)
        text(image, f"mean {area.mean():.1f}", width - RIGHT, height - 131, 0.46, MASK, "right")
        panel.axes(ticks=3)
        panel.cuts(report.cuts)
        panel.line(area, MASK, 2)
    if not shown:
        text(image, "no part was found for four frames in a row: nothing to measure", LEFT, y + 40, 0.5, FAINT)
    return image


def _found(image: np.ndarray, report: PoseReport, top: int) -> int:
    """Bars of found frames; returns the y below them."""
    height, width = image.shape[:2]
    text(image, f"found in {report.frames} frames", LEFT, 30, 0.5)
    if report.cuts:
        cv2.line(image, (width - RIGHT - 60, 26), (width - RIGHT - 36, 26), CUT, 1)
        text(image, "cut", width - RIGHT - 30, 30, 0.42, FAINT)
    cv2.rectangle(image, (width - RIGHT - 190, 19), (width - RIGHT - 176, 31), LOST, -1)
    text(image, "not found", width - RIGHT - 168, 30, 0.42, FAINT)
    panel = None
    rows = dict(report.found)
    if report.coverage is not None:
        rows["in the mask"] = ~report.coverage.uncovered
    for index, (part, found) in enumerate(rows.items()):
        y1 = top - 10 + index * ROW
        panel = Panel(image, (LEFT, y1, width - RIGHT - 80, y1 + ROW - 8), report.frames, 1, "")
        color = {"in the mask": MASK, **COLORS}.get(part.split()[-1] + "s" if "hand" in part else part, INK)
        cv2.rectangle(image, (panel.box[0], y1), (panel.box[2], panel.box[3]), color, -1)
        lost = np.flatnonzero(~found)
        for frame in lost:
            cv2.rectangle(image, (panel.x(frame - 0.5), y1), (panel.x(frame + 0.5), panel.box[3]), LOST, -1)
        panel.cuts(report.cuts)
        text(image, part, LEFT - 8, y1 + 13, 0.42, INK, "right")
        share = 100 * float(found.mean())
        text(image, f"{share:.0f}%", width - RIGHT, y1 + 13, 0.42, INK, "right")
    assert panel is not None  # a report tells at least of the body
    panel.frame_numbers()
    return panel.box[3] + 24


def _jitter(image: np.ndarray, report: PoseReport, part: str, box: tuple[int, int, int, int]) -> None:
    after = report.jitter[part]
    before = None if report.raw_jitter is None else report.raw_jitter[part]
    everything = np.concatenate([after, before if before is not None else after])
    everything = everything[np.isfinite(everything)]
    # Outliers are clipped at the top, so that they do not flatten all other frames.
    top = max(min(everything.max(), 3 * np.quantile(everything, 0.95)) * 1.1, 0.1)
    panel = Panel(image, box, report.frames, top, f"jitter of the {part}, pixels")
    panel.axes()
    panel.cuts(report.cuts)
    x = box[2]
    label = f"{'' if before is None else 'after '}{mean(after):.2f}"
    text(image, label, x, box[1] - 7, 0.46, COLORS[part], "right")
    if before is not None and mean(before) is not None:
        x -= cv2.getTextSize(label, FONT, 0.46, 1)[0][0] + 16
        text(image, f"before {mean(before):.2f}", x, box[1] - 7, 0.46, BEFORE, "right")
        panel.line(before, BEFORE)
    panel.line(after, COLORS[part], 2)
