"""What the window is like, in words and drawn over a frame."""

from __future__ import annotations

import cv2
import numpy as np

from ..preview.canvas import CUT, FAINT, INK, text
from .cost import same_sharpness, step_work, tokens
from .path import SLOW
from .window import CropWindow

_WIDEST = 960  # pixels of the drawn frame
_MAGNIFIED = 2.5
_SMALL = 256 * 256


def window_report(window: CropWindow, segment_length: int = 77) -> str:
    """Size, share, sharpness, cost and motion of the window, in a few sentences."""
    width, height = np.median(window.places[:, 2:], axis=0)
    across, down = window.size
    whole = same_sharpness(window.size, window.share, window.source_size)
    ratio = tokens(window.size, segment_length) / tokens(whole, segment_length)
    work = step_work(window.size, segment_length) / step_work(whole, segment_length)
    lines = [
        f"The window is {width:.0f}x{height:.0f} of {window.source_size[0]}x{window.source_size[1]} pixels "
        f"({100 * window.share:.0f} % of the frame), sampled at {across}x{down} ({window.scale:.2f} pixels for each of "
        "the source's).",
        f"Whole frames that show the character as sharp would be {whole[0]}x{whole[1]}: the window takes "
        f"{100 * ratio:.0f} % of their tokens and about {100 * work:.0f} % of a step's work.",
        _motion(window),
    ]
    if window.scale > _MAGNIFIED:
        lines.append("The character is magnified a lot: a smaller budget is faster and shows hardly less.")
    if across * down < _SMALL:
        lines.append("So few pixels make poor faces: choose a larger budget or factor.")
    return "\n".join(lines)


def _motion(window: CropWindow) -> str:
    if window.speed == 0:
        return "It stands still" + (" in every shot." if len(window.shots) > 1 else ".")
    said = f"It stands still in {100 * window.standing:.0f} % of the frames, and moves by at most {window.speed:.1f} "
    said += "pixels of the source from one frame to the next"
    if window.speed < SLOW + 0.1:
        return said + "."
    return said + ": for less, the window would have to be larger (room)."


def draw_window(frame: np.ndarray, window: CropWindow, at: int, box: np.ndarray | None = None) -> np.ndarray:
    """A frame, uint8 ``[H, W, 3]``, made small, with its window, the window's way through the shot, and the character's
    box."""
    scale = min(_WIDEST / frame.shape[1], 1.0)
    size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    canvas = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    start, stop = next(shot for shot in window.shots if shot[0] <= at < shot[1])

    def corners(place: np.ndarray) -> np.ndarray:
        return np.rint(np.concatenate([place[:2], place[:2] + place[2:]]) * scale).astype(int)

    shade = np.full(canvas.shape[:2], 0.55, np.float32)
    left, top, right, bottom = corners(window.places[at])
    shade[top:bottom, left:right] = 1.0
    canvas = (canvas * shade[..., None]).astype(np.uint8)
    middle = (window.places[start:stop, :2] + window.places[start:stop, 2:] / 2) * scale
    for other in {start, stop - 1} - {at}:
        a, b, c, d = corners(window.places[other])
        cv2.rectangle(canvas, (a, b), (c - 1, d - 1), FAINT, 1, cv2.LINE_AA)
    cv2.polylines(canvas, [np.rint(middle).astype(np.int32)], False, CUT, 1, cv2.LINE_AA)
    if box is not None and not np.isnan(box).any():
        a, b, c, d = np.rint(box * scale).astype(int)
        cv2.rectangle(canvas, (a, b), (c - 1, d - 1), CUT, 1, cv2.LINE_AA)
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), INK, 2, cv2.LINE_AA)
    width, height = window.places[at, 2:]
    words = f"{width:.0f}x{height:.0f} to {window.size[0]}x{window.size[1]}"
    text(canvas, words, min(left + 6, canvas.shape[1] - 180), max(top - 6, 14) if top > 20 else top + 16)
    return canvas


def told_places(window: CropWindow) -> list[list[float]]:
    """``[frame, left, top, width, height]`` in source pixels, where a shot begins and the window has moved by more
    than a fourth of one: for the browser, which shows the driver in the window."""
    starts = {start for start, _ in window.shots}
    told: list[list[float]] = []
    for at, place in enumerate(window.places):
        if not told or at in starts or np.abs(place - told[-1][1:]).max() > 0.25:
            told.append([at, *(round(float(side), 2) for side in place)])
    return told
