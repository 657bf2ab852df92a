"""Where a clip is cut, found in one pass over small copies of its frames."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

SIDE = 32  # of the copies: enough to tell two pictures apart, too little for noise and detail to matter
LOOK_AHEAD = 5  # frames looked ahead: what comes back within them was a flash, or something crossing the lens
_BEFORE = 8
_SHIFT = 8  # how far a pan may move the picture between two frames, in pixels of a copy (a quarter of the frame)
_LEAST = 10.0  # mean difference in levels, after the best shift, below which no two frames are different shots
_TIMES = 2.2  # the difference of a cut over the usual one around it
_ALIKE = 0.8  # correlation of two pictures that makes them the same scene in another light
_SIMILAR = 0.45  # correlation that different scenes reach by chance; then their colours must differ too:
_COLOURS = 0.2  # by so much, 0..1


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 ``[32, 32, 3]`` copy of an RGB image of any size, the aspect ratio given up."""
    # Sixteen pixels of every square are enough; a resize by area looks at all of them, and takes ten times as long.
    some = cv2.resize(image, (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(some, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


class CutFinder:
    """Finds hard cuts, online: give it the frames in order, a few at a time.

    A cut is where a frame differs from the one before it, in every place a pan could have moved it to, and by far more
    than its neighbours differ from theirs; where the frames after it do not go back to what was before (flash); and
    where it is not the same picture made brighter or darker. Fades and dissolves are no cuts. Remembers a dozen
    copies, however long the clip.

    Attributes:
        cuts: first frames of new shots, found so far.
    """

    def __init__(self):
        self.cuts: list[int] = []
        self._count = 0
        self._copies: deque[np.ndarray] = deque(maxlen=_BEFORE + LOOK_AHEAD + 2)  # float32 [32, 32, 3]
        self._changes: deque[float] = deque(maxlen=_BEFORE + LOOK_AHEAD + 1)  # [i]: between copies i and i + 1

    def add(self, *copies: np.ndarray) -> None:
        """The next frame or frames, as :func:`thumbnail` gives them."""
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
        if change < _LEAST:
            return
        around = [self._changes[i] for i in range(max(at - 1 - _BEFORE, 0), len(self._changes)) if i != at - 1]
        if around and change < _TIMES * max(float(np.median(around)), 1.0):
            return
        before, now = self._copies[at - 1], self._copies[at]
        moved, alike = _moved(before, now)
        if moved < _LEAST or alike > _ALIKE:
            return
        if alike > _SIMILAR and _colours_apart(before, now) < _COLOURS:
            return
        copies = list(self._copies)
        returns = [(before, copy) for copy in copies[at + 1 : at + LOOK_AHEAD + 1]]  # to what was before a flash
        returns += [(copy, now) for copy in copies[max(at - 1 - LOOK_AHEAD, 0) : at - 1]]  # ... at its end
        for first, second in returns:
            back, same = _moved(first, second)
            if back < 0.5 * moved or same > max(_ALIKE, alike + 0.25):
                return
        if self.cuts and frame - self.cuts[-1] < 2:
            return
        self.cuts.append(frame)


def _moved(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Mean difference (levels) and correlation of two copies where one, moved, fits the other best."""
    inner = second[_SHIFT // 2 : -_SHIFT // 2, _SHIFT:-_SHIFT]
    searched = cv2.matchTemplate(first, inner, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(searched.argmax()), searched.shape)
    part = first[y : y + inner.shape[0], x : x + inner.shape[1]]
    return float(np.abs(part - inner).mean()), float(searched[y, x])


def _colours_apart(first: np.ndarray, second: np.ndarray) -> float:
    """Difference of the two copies' colour histograms, 0 to 1."""
    histograms = []
    for copy in (first, second):
        bins = np.minimum(copy.reshape(-1, 3) // 51, 4).astype(int) @ (25, 5, 1)
        histograms.append(np.bincount(bins, minlength=125) / len(bins))
    return float(np.abs(histograms[0] - histograms[1]).sum() / 2)
