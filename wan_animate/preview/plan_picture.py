"""The picture of a plan: segments over the clip's frames, and what the signals miss."""

from __future__ import annotations

import cv2
import numpy as np

from ..plan.clip_plan import ClipPlan
from ..plan.findings import FACE_SIDE, face_sides
from .canvas import CUT, FAINT, INK, LOST, PANEL, PAPER, Color, text, with_warnings
from .report_plot import COLORS, MASK, Panel

SEGMENTS: tuple[Color, Color] = (96, 165, 250), (74, 222, 128)
TAKEN_OVER, PADDING = (250, 250, 250), (110, 110, 118)
LEFT, RIGHT, LINE = 110, 24, 24


def draw_plan(plan: ClipPlan, width: int = 1200, words: bool = True) -> np.ndarray:
    """uint8 ``[H, width, 3]`` RGB: the plan's figures, segments, found frames, face size and mask; findings below.

    Args:
        words: False leaves out what :meth:`..plan.clip_plan.ClipPlan.text` says.
    """
    rows = plan.rows() if words else []
    charts = [_found]
    if plan.track is not None:
        charts.append(_faces)
    if plan.mask_area is not None:
        charts.append(_mask)
    top = 16 + LINE * len(rows)
    image = np.full((top + 130 + 100 * (len(charts) - 1), width, 3), PAPER, np.uint8)
    for at, (name, figure) in enumerate(rows):
        text(image, name, LEFT - 12, 28 + LINE * at, 0.46, FAINT, "right")
        text(image, figure, LEFT, 28 + LINE * at, 0.46, INK)
    _segments(image, plan, top + 34)
    y = top + 84
    for chart in charts:
        y = chart(image, plan, y)
    return with_warnings(image, [*map(str, plan.findings), *plan.notes] if words else [])


def _panel(image: np.ndarray, plan: ClipPlan, y: int, height: int, top: float, title: str) -> Panel:
    shown = max(plan.frames, *(segment.stop for segment in plan.segments))
    return Panel(image, (LEFT, y, image.shape[1] - RIGHT, y + height), shown, top, title)


def _segments(image: np.ndarray, plan: ClipPlan, y: int) -> None:
    panel = _panel(image, plan, y, 24, 1, "segments: new frames, taken over (white), padding (grey)")
    for segment in plan.segments:
        row = y + 1 + 11 * (segment.index % 2)
        new = segment.start + segment.previous_frames
        end = min(segment.stop, segment.end(plan.frames))
        for start, stop, color in (
            (segment.start, new, TAKEN_OVER),
            (new, end, SEGMENTS[segment.index % 2]),
            (end, segment.stop, PADDING),
        ):
            if stop > start:
                left, right = panel.x(start - 0.5), max(panel.x(stop - 0.5) - 1, panel.x(start - 0.5))
                cv2.rectangle(image, (left, row), (right, row + 10), color, -1)
    panel.cuts(plan.cuts or ())


def _found(image: np.ndarray, plan: ClipPlan, y: int) -> int:
    panel = _panel(image, plan, y, 12, 1, "person found (red: not)")
    if plan.track is None:
        text(image, "no pose was given", LEFT + 8, y + 11, 0.4, FAINT)
    else:
        cv2.rectangle(image, (panel.box[0], y), (panel.x(plan.frames - 0.5), y + 12), COLORS["body"], -1)
        for frame in np.flatnonzero(~plan.track.body_found):
            cv2.rectangle(image, (panel.x(frame - 0.5), y), (panel.x(frame + 0.5), y + 12), LOST, -1)
    panel.cuts(plan.cuts or ())
    panel.frame_numbers()
    return y + 62


def _faces(image: np.ndarray, plan: ClipPlan, y: int) -> int:
    assert plan.track is not None
    sides = face_sides(plan.track)
    known = sides[np.isfinite(sides)]
    panel = _panel(image, plan, y, 60, max(known.max(initial=0.0), FACE_SIDE) * 1.15, "face, pixels wide")
    panel.axes(numbers=False, ticks=2)
    left, right = panel.box[0], panel.box[2]
    cv2.line(image, (left, panel.y(FACE_SIDE)), (right, panel.y(FACE_SIDE)), CUT, 1)
    panel.line(sides, COLORS["face"], 2)
    return y + 100


def _mask(image: np.ndarray, plan: ClipPlan, y: int) -> int:
    assert plan.mask_area is not None
    area = plan.mask_area * 100
    panel = _panel(image, plan, y, 60, max(area.max() * 1.15, 1), "mask, percent of the picture")
    cv2.rectangle(image, panel.box[:2], panel.box[2:], PANEL, -1)
    panel.axes(numbers=False, ticks=2)
    panel.line(area, MASK, 2)
    return y + 100
