"""Shot boundary detection."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

SIDE = 32  # pixels; small enough to hide noise and detail
LOOK_AHEAD = 5  # frames; if the old picture is back within them it was a flash, or something crossing the lens
_LOOK_BACK = 8  # frames
_MAX_SHIFT = 8  # thumbnail pixels that a pan may move the picture between two frames: a quarter of it
_MIN_DIFFERENCE = 10.0  # mean pixel difference (0..255) across a cut, after the best shift
_MIN_RATIO = 2.2  # pixel difference across a cut over the median of its neighbours
_SAME_SCENE = 0.8  # correlation from which it is the same scene in another light
_CHANCE = 0.45  # correlation that different scenes may reach; above it their colours must differ
_MIN_COLOR_DISTANCE = 0.2  # 0..1


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Stretched to uint8 ``[32, 32, 3]``."""
    # INTER_AREA alone reads every pixel and takes ten times as long.
    samples = cv2.resize(image, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(samples, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


class CutFinder:
    """Finds hard cuts online, in constant memory.

    A cut differs from the last frame under any pan, far more than its neighbours do. Flashes, changes of light, fades
    and dissolves are not cuts.

    Attributes:
        cuts: first frames of new shots so far.
    """

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self._count = 0
        self._copies: deque[np.ndarray] = deque(maxlen=_LOOK_BACK + LOOK_AHEAD + 2)  # float32 [32, 32, 3]
        self._changes: deque[float] = deque(maxlen=_LOOK_BACK + LOOK_AHEAD + 1)  # [i]: from copy i to i + 1

    def add(self, *copies: np.ndarray) -> None:
        new = np.stack(copies).astype(np.float32)
        known = np.concatenate([self._copies[-1][None], new]) if self._copies else new
        changes = np.abs(known[1:] - known[:-1]).reshape(-1, new[0].size).mean(axis=1).tolist()
        for copy, change in zip(new, changes if self._copies else [None, *changes]):
            if change is not None:
                self._changes.append(change)
            self._copies.append(copy)
            self._count += 1
            if self._count > LOOK_AHEAD:
                self._judge(self._count - 1 - LOOK_AHEAD)

    def finish(self) -> tuple[int, ...]:
        """All cuts, after the last frame."""
        for frame in range(max(self._count - LOOK_AHEAD, 0), self._count):
            self._judge(frame)
        return tuple(self.cuts)

    def _judge(self, frame: int) -> None:
        at = frame - (self._count - len(self._copies))
        if at < 1:
            return
        change = self._changes[at - 1]
        if change < _MIN_DIFFERENCE:
            return
        around = [self._changes[i] for i in range(max(at - 1 - _LOOK_BACK, 0), len(self._changes)) if i != at - 1]
        if around and change < _MIN_RATIO * max(float(np.median(around)), 1.0):
            return
        before, now = self._copies[at - 1], self._copies[at]
        difference, correlation = _best_shift(before, now)
        if difference < _MIN_DIFFERENCE or correlation > _SAME_SCENE:
            return
        if correlation > _CHANCE and _color_distance(before, now) < _MIN_COLOR_DISTANCE:
            return
        copies = list(self._copies)
        returns = [(before, copy) for copy in copies[at + 1 : at + LOOK_AHEAD + 1]]  # a flash begins
        returns += [(copy, now) for copy in copies[max(at - 1 - LOOK_AHEAD, 0) : at - 1]]  # a flash ends
        for first, second in returns:
            back, same = _best_shift(first, second)
            if back < 0.5 * difference or same > max(_SAME_SCENE, correlation + 0.25):
                return
        if self.cuts and frame - self.cuts[-1] < 2:
            return
        self.cuts.append(frame)


def _best_shift(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    inner = second[_MAX_SHIFT // 2 : -_MAX_SHIFT // 2, _MAX_SHIFT:-_MAX_SHIFT]
    searched = cv2.matchTemplate(first, inner, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(searched.argmax()), searched.shape)
    part = first[y : y + inner.shape[0], x : x + inner.shape[1]]
    return float(np.abs(part - inner).mean()), float(searched[y, x])


def _color_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of colour histograms, 0..1."""
    histograms = []
    for copy in (first, second):
        bins = np.minimum(copy.reshape(-1, 3) // 51, 4).astype(int) @ (25, 5, 1)
        histograms.append(np.bincount(bins, minlength=125) / len(bins))
    return float(np.abs(histograms[0] - histograms[1]).sum() / 2)
