"""The path of a window of one shape over a shot: in it the character in every frame, and as little motion as can be.

L1-optimal camera paths (Grundmann, Kwatra and Essa, CVPR 2011) as linear programs: least absolute velocity and
acceleration, so that the window stands still, or glides, and hardly does anything between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

SLOW = 1.9  # pixels a frame that an edge may move: below 2
SAME_SIZE = 1.35  # a character whose size stays within this ratio gets a window of one size
EASE = 0.12  # seconds over which the window starts and stops
_LINGER = 1.5  # seconds for which a size that was needed is kept
_MOST_KNOTS = 500
_KNOT_SECONDS = 0.13
# Weights of the linear program in units of the path's length: acceleration (frames), and for each frame size and
# distance from the middle.
_ACCELERATION, _SIZE, _MIDDLE = 6.0, 0.02, 0.002


@dataclass(frozen=True, eq=False)
class ShotPath:
    """Windows of one shot: float64 ``[T, 3]``, centre x, centre y and height in pixels; ``speed``: the largest motion
    of an edge in pixels a frame."""

    windows: np.ndarray
    speed: float


def shot_path(
    boxes: np.ndarray, frame: tuple[int, int], aspect: float, fps: float, room: float = 1.25, least: float = 0.0
) -> ShotPath | None:
    """The window's path in one shot; None if the character is nowhere in it.

    The size is constant unless the character's changes by more than :data:`SAME_SIZE`. It may be up to ``room`` times
    what the character needs, to stand still or to keep below :data:`SLOW`; where that is too little, the window moves
    as slowly as this size allows.

    Args:
        boxes: float ``[T, 4]``, x1, y1, x2, y2 that the window must hold, inside the frame; NaN where nobody is seen.
        frame: width and height in pixels.
        aspect: width over height of the window; not wider nor higher than the frame allows for the boxes
            (:func:`fitting`).
        fps: frames per second.
        least: lowest height of the window.
    """
    if not known(boxes).any():
        return None
    tallest = largest_height(frame, aspect)
    reach = max(round(EASE * fps), 1)
    held = fitting(spread(boxes, reach), frame, aspect)
    size = np.minimum(np.maximum(lasting_height(held, aspect, fps), least), tallest)
    if size.max() <= SAME_SIZE * size.min():
        size = np.full(len(size), size.max())
    most = np.minimum(size * room, tallest)
    still = _standing(held, frame, aspect, size.max())
    if still[2] <= most.min():
        return ShotPath(np.repeat(still[None], len(boxes), axis=0), 0.0)
    program = _Program(held, most, frame, aspect, fps)
    speed, miss = program.least()
    windows = _eased(program.path(max(SLOW, speed * 1.01), miss * 1.01 + 1e-3), reach)
    windows[:, 2] = np.minimum(windows[:, 2], tallest)
    return ShotPath(windows, edge_speed(windows, aspect))


def wanted_height(boxes: np.ndarray, aspect: float, fps: float, room: float) -> np.ndarray:
    """Height that a window in one shot takes if the frame is large enough: to stand still, or ``room`` times what the
    character needs; float64 ``[T]``, NaN where it is nowhere in the shot.

    Args:
        boxes: as for :func:`shot_path`.
    """
    if not known(boxes).any():
        return np.full(len(boxes), np.nan)
    held = spread(boxes, max(round(EASE * fps), 1))
    low, high = np.nanmin(held[:, :2], axis=0), np.nanmax(held[:, 2:], axis=0)
    standing = max(float(high[1] - low[1]), float(high[0] - low[0]) / aspect)
    size = lasting_height(held, aspect, fps)
    return np.minimum(size * room, standing)


def largest_height(frame: tuple[int, int], aspect: float) -> float:
    """Height of the largest window of this aspect ratio that lies in the frame."""
    return min(float(frame[1]), frame[0] / aspect)


def needed_height(boxes: np.ndarray, aspect: float) -> np.ndarray:
    """Height of the smallest window around each box, float64 ``[T]``."""
    return np.maximum(boxes[:, 3] - boxes[:, 1], (boxes[:, 2] - boxes[:, 0]) / aspect)


def lasting_height(boxes: np.ndarray, aspect: float, fps: float) -> np.ndarray:
    """:func:`needed_height` that lasts: the largest within :data:`_LINGER` seconds; between where nobody is seen."""
    needed = np.where(known(boxes), needed_height(boxes, aspect), 0.0)
    size = maximum_filter1d(needed, 2 * max(round(_LINGER * fps), 1) + 1, mode="nearest")
    return np.interp(np.arange(len(size)), np.flatnonzero(size > 0), size[size > 0])


def known(boxes: np.ndarray) -> np.ndarray:
    """bool ``[T]``: boxes that are not NaN."""
    return ~np.isnan(boxes).any(axis=1)


def spread(boxes: np.ndarray, reach: int) -> np.ndarray:
    """The union of each box and its neighbours within ``reach`` frames; NaN where there is none."""
    low = minimum_filter1d(np.where(np.isnan(boxes[:, :2]), np.inf, boxes[:, :2]), 2 * reach + 1, axis=0)
    high = maximum_filter1d(np.where(np.isnan(boxes[:, 2:]), -np.inf, boxes[:, 2:]), 2 * reach + 1, axis=0)
    out = np.concatenate([low, high], axis=1)
    out[~np.isfinite(out).all(axis=1)] = np.nan
    return out


def fitting(boxes: np.ndarray, frame: tuple[int, int], aspect: float) -> np.ndarray:
    """Boxes no larger than the largest window in the frame: what is larger shrinks around its middle."""
    tallest = largest_height(frame, aspect)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.minimum((boxes[:, 2:] - boxes[:, :2]) / 2, np.array([tallest * aspect, tallest]) / 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def edge_speed(windows: np.ndarray, aspect: float) -> float:
    """The largest motion of an edge between two frames, in pixels."""
    if len(windows) < 2:
        return 0.0
    half = windows[:, 2:] * np.array([aspect, 1.0]) / 2
    edges = np.concatenate([windows[:, :2] - half, windows[:, :2] + half], axis=1)
    return float(np.abs(np.diff(edges, axis=0)).max())


def _standing(boxes: np.ndarray, frame: tuple[int, int], aspect: float, least: float) -> np.ndarray:
    """Centre x, y and height of the window that holds all boxes without moving; higher than the frame if none does."""
    low, high = np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)
    height = max(float(high[1] - low[1]), float(high[0] - low[0]) / aspect, least)
    half = np.array([height * aspect, height]) / 2
    centre = np.clip((low + high) / 2, half, np.maximum(np.array(frame) - half, half))
    return np.array([*centre, height])


def _eased(windows: np.ndarray, reach: int) -> np.ndarray:
    """Windows averaged with their neighbours within ``reach`` frames, nearer ones more; what all of them hold, the
    average holds."""
    weights = np.bartlett(2 * reach + 3)[1:-1]
    padded = np.pad(windows, ((reach, reach), (0, 0)), mode="edge")
    taken = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    return taken @ (weights / weights.sum())


class _Program:
    """The linear programs of one shot, on knots with straight lines between them.

    Variables: centre x, centre y and height at each knot (one height if it is constant), then the sizes of their
    changes, of the centre's changes of velocity, the centre's distance from the character's middle, the speed limit,
    and how far a box may reach out of the window: a character that fills the frame may move on a bent path.
    """

    def __init__(self, boxes: np.ndarray, most: np.ndarray, frame: tuple[int, int], aspect: float, fps: float) -> None:
        count = len(boxes)
        step = max(round(_KNOT_SECONDS * fps), -(-count // _MOST_KNOTS), 1)
        self._count, self._aspect, self._frame = count, aspect, frame
        self._knots = np.unique(np.append(np.arange(0, count, step), count - 1))
        self._gaps = np.diff(self._knots).astype(np.float64)
        self._constant = bool(np.ptp(most) == 0)
        knots = len(self._knots)
        # two knots share an interval: neither may be higher than its smallest bound
        self._most = minimum_filter1d(most, 2 * step + 1)[self._knots] if not self._constant else most[:1]
        self._x, self._y = np.arange(knots), knots + np.arange(knots)
        self._h = np.full(knots, 2 * knots) if self._constant else 2 * knots + np.arange(knots)
        end = int(self._h[-1]) + 1
        self._dx, self._dy, self._dh = (end + part * (knots - 1) + np.arange(knots - 1) for part in range(3))
        end += 3 * (knots - 1)
        self._ax, self._ay = (end + part * max(knots - 2, 0) + np.arange(max(knots - 2, 0)) for part in range(2))
        end += 2 * max(knots - 2, 0)
        self._mx, self._my = end + np.arange(knots), end + knots + np.arange(knots)
        self._limit, self._miss = end + 2 * knots, end + 2 * knots + 1
        self._variables = self._miss + 1
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []  # (columns [n, k], coefficients [n, k])
        self._right: list[np.ndarray] = []
        self._hold(boxes)
        self._stay_inside()
        self._move(boxes)
        self._matrix = self._assembled()

    def least(self) -> tuple[float, float]:
        """The lowest speed limit, in pixels a frame, that these sizes allow, and how far boxes reach out: not at all
        where that is possible at any speed."""
        cost = np.zeros(self._variables)
        cost[self._limit], cost[self._miss] = 1.0, 1000.0
        found = self._solve(cost, np.inf, np.inf)
        return float(found[self._limit]), float(found[self._miss])

    def path(self, limit: float, miss: float) -> np.ndarray:
        """Windows ``[T, 3]`` within these limits."""
        cost = np.zeros(self._variables)
        cost[self._dx] = cost[self._dy] = 1.0
        cost[self._dh] = (1 + self._aspect) / 2
        cost[self._ax] = cost[self._ay] = _ACCELERATION
        share = np.gradient(self._knots.astype(np.float64)) if len(self._knots) > 1 else np.ones(1)
        np.add.at(cost, self._h, _SIZE * share)
        cost[self._mx] = cost[self._my] = _MIDDLE * share
        found = self._solve(cost, limit, miss)
        frames = np.arange(self._count)
        return np.stack([np.interp(frames, self._knots, found[at]) for at in (self._x, self._y, self._h)], axis=1)

    def _solve(self, cost: np.ndarray, limit: float, miss: float) -> np.ndarray:
        bounds = np.zeros((self._variables, 2))
        bounds[:, 1] = np.inf
        bounds[self._x, 1], bounds[self._y, 1] = self._frame
        bounds[np.unique(self._h), 1] = self._most
        bounds[self._limit, 1], bounds[self._miss, 1] = limit, miss
        found = linprog(cost, self._matrix, np.concatenate(self._right), bounds=bounds, method="highs")
        if found.x is None:
            raise RuntimeError(f"the window's path was not found: {found.message}")
        return found.x

    def _add(self, columns: list[np.ndarray], coefficients: list[np.ndarray | float], right: np.ndarray) -> None:
        """Rows: sum of coefficients times variables <= right."""
        rows = len(right)
        self._rows.append(
            (
                np.stack([np.broadcast_to(column, rows) for column in columns], axis=1),
                np.stack([np.broadcast_to(np.asarray(value, np.float64), rows) for value in coefficients], axis=1),
            )
        )
        self._right.append(right)

    def _assembled(self) -> coo_matrix:
        starts = np.cumsum([0, *(len(right) for right in self._right)])
        rows = [
            np.repeat(np.arange(start, start + len(columns)), columns.shape[1])
            for start, (columns, _) in zip(starts, self._rows)
        ]
        data = np.concatenate([values.ravel() for _, values in self._rows])
        columns = np.concatenate([columns.ravel() for columns, _ in self._rows])
        return coo_matrix((data, (np.concatenate(rows), columns)), (int(starts[-1]), self._variables)).tocsr()

    def _hold(self, boxes: np.ndarray) -> None:
        """Every box lies in its frame's window."""
        for axis, centre, half in ((0, self._x, self._aspect / 2), (1, self._y, 0.5)):
            for side, edge in ((1.0, boxes[:, axis]), (-1.0, -boxes[:, axis + 2])):
                at = _corners(edge, self._knots)
                left = np.searchsorted(self._knots, at, side="right") - 1
                left = np.minimum(left, max(len(self._knots) - 2, 0))
                right = np.minimum(left + 1, len(self._knots) - 1)
                gap = np.maximum(self._knots[right] - self._knots[left], 1)
                share = (at - self._knots[left]) / gap
                # side * centre - half * height - miss <= edge
                self._add(
                    [centre[left], centre[right], self._h[left], self._h[right], np.full(len(at), self._miss)],
                    [side * (1 - share), side * share, -half * (1 - share), -half * share, -1.0],
                    edge[at],
                )

    def _stay_inside(self) -> None:
        for centre, half, most in ((self._x, self._aspect / 2, self._frame[0]), (self._y, 0.5, self._frame[1])):
            self._add([centre, self._h], [-1.0, half], np.zeros(len(centre)))
            self._add([centre, self._h], [1.0, half], np.full(len(centre), float(most)))

    def _move(self, boxes: np.ndarray) -> None:
        zero = np.zeros(len(self._gaps))
        moves = [(self._x, self._dx), (self._y, self._dy)]
        if not self._constant:
            moves.append((self._h, self._dh))
        for place, change in moves:
            for sign in (1.0, -1.0):
                self._add([place[1:], place[:-1], change], [sign, -sign, -1.0], zero)
        for change, half in ((self._dx, self._aspect / 2), (self._dy, 0.5)):
            columns: list[np.ndarray] = [change, np.full(len(zero), self._limit)]
            values: list[np.ndarray | float] = [1.0, -self._gaps]
            if not self._constant:
                columns.append(self._dh)
                values.append(half)
            self._add(columns, values, zero)
        before, after = 1 / self._gaps[:-1], 1 / self._gaps[1:]
        for place, bend in ((self._x, self._ax), (self._y, self._ay)):
            for sign in (1.0, -1.0):
                self._add(
                    [place[2:], place[1:-1], place[:-2], bend],
                    [sign * after, -sign * (before + after), sign * before, -1.0],
                    np.zeros(len(bend)),
                )
        middle = (boxes[self._knots, :2] + boxes[self._knots, 2:]) / 2
        seen = ~np.isnan(middle).any(axis=1)
        for axis, (place, away) in enumerate(((self._x, self._mx), (self._y, self._my))):
            for sign in (1.0, -1.0):
                self._add([place[seen], away[seen]], [sign, -1.0], sign * middle[seen, axis])


def _corners(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Frames of the lower convex hull of ``values`` between each two knots: what lies below it in a straight line there
    lies below all values."""
    found: list[int] = []
    for first, last in zip(knots[:-1], knots[1:]) if len(knots) > 1 else [(0, 0)]:
        hull: list[int] = []
        for frame in range(first, last + 1):
            if np.isnan(values[frame]):
                continue
            while len(hull) >= 2 and (values[hull[-1]] - values[hull[-2]]) * (frame - hull[-2]) >= (
                values[frame] - values[hull[-2]]
            ) * (hull[-1] - hull[-2]):
                hull.pop()
            hull.append(frame)
        found += hull
    return np.unique(np.array(found, np.int64))
