"""Stretches of a shot that neighbouring frames rule out.

Cuts paths where joints, body size or posture change faster than people do, and keeps the longest chain of pieces that
one body can have gone through.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from . import wholebody

LONGEST = 12  # frames of a mistake at most, and never more than a third of the shot
SURE, LIKELY = 2.0, 1.25  # times the speed limit: for a single joint, and for half of the body together
LINK = 3.0  # frames: a shorter piece is not linked to others
# Largest change of log body size (median over bones) a frame, and slack for foreshortening and noise.
GROWTH, GROWTH_SLACK = 0.12, 0.06
SIZED_BY = 4  # bones that must be seen to measure a body's size
TRUNK = [5, 6, 11, 12]
FACING = 0.3  # width over height of a trunk at least, for its turns to be told
TURN_SLACK = 0.4  # radians: of a body that faces the camera, little noise is a large angle
ARMS = ([7, 9, *range(91, 112)], [8, 10, *range(112, 133)])  # two body joints, and what is attached
LEGS = ([13, 15, 17, 18, 19], [14, 16, 20, 21, 22])
LIMBS = ((5, 6), (11, 12), (5, 11), (6, 12), (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
# Largest root mean square over joints of (step - usual step), in units of the speed limit: for a body, and for an arm.
# Quick dancing and running stay below half of it; moving a body by a sixth of its height gives 1.3.
LEAP, ARM_LEAP = 0.55, 1.0
NEARBY = 5  # frames on both sides, for a joint's usual step
LOOK_BACK = 64  # most candidates for a piece's predecessor


def ruled_out(
    points: np.ndarray, known: np.ndarray, away: np.ndarray, speed: float, turn: float, noise: np.ndarray
) -> np.ndarray:
    """bool ``[T, 133]``: points that cannot be this body's; whole frames if half of the joints cannot.

    Args:
        points: complex ``[T, 133]`` of one shot.
        known, away: bool ``[T, 133]``: seen; known to be wrong.
        speed: largest step of a joint in pixels a frame.
        turn: largest turn of the body in radians a frame.
        noise: ``[133]``, jitter in pixels.
    """
    right, body = known & ~away, wholebody.BODY
    out = _off_path(points, right, SURE * speed, noise)
    likely = away[:, body] | _off_path(points[:, body], right[:, body], LIKELY * speed, noise[body])
    count, seen = likely.sum(axis=1), known[:, body].sum(axis=1)
    out[(count >= 3) & (2 * count >= seen)] = True
    out[_of_another_size(points, right) | _narrowed(points, right, turn, noise)] = True
    out |= _leaps(points, known, speed, noise)
    return out & known


def _of_another_size(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool ``[T]``: the body is larger or smaller than neighbouring frames allow."""
    near, far = np.array(LIMBS).T
    seen = known[:, near] & known[:, far]
    lengths = np.where(seen, np.abs(points[:, far] - points[:, near]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a bone that is never seen has no length
        growth = np.log(np.maximum(lengths, 1.0) / np.maximum(np.nanmedian(lengths, axis=0), 1.0))
        size = np.nanmedian(growth, axis=1, keepdims=True)
    told = seen.sum(axis=1, keepdims=True) >= SIZED_BY
    size = np.where(told, size, 0.0).astype(complex)
    return _off_path(size, told, GROWTH, np.array([GROWTH_SLACK]))[:, 0]


def _narrowed(points: np.ndarray, known: np.ndarray, turn: float, noise: np.ndarray) -> np.ndarray:
    """bool ``[T]``: the trunk is narrower than a body that turns from its neighbours' direction and back can be.

    Its width over its height is taken as the cosine of the angle that it is turned away by.
    """
    seen = np.asarray(known[:, TRUNK].all(axis=1))
    left, right, left_hip, right_hip = points[:, TRUNK].T
    height = np.abs((left + right - left_hip - right_hip) / 2)
    wide = (np.abs(left - right) + np.abs(left_hip - right_hip)) / 2 / np.maximum(height, 1.0)
    facing = np.percentile(wide[seen], 90) if seen.sum() >= 3 else 0.0  # a few frames may be too wide
    if facing < FACING:
        return np.zeros(len(points), bool)
    angle = np.arccos(np.clip(wide / facing, 0, 1))
    slack = TURN_SLACK / 4 + noise[TRUNK].mean() / (facing * np.median(height[seen]))
    return _off_path(angle[:, None].astype(complex), seen[:, None], turn, np.array([slack]))[:, 0]


def _leaps(points: np.ndarray, known: np.ndarray, speed: float, noise: np.ndarray) -> np.ndarray:
    """bool ``[T, 133]``: bodies, arms or legs that jump away and come back, or are off at a shot's end.

    Ignores the farthest joint: it may be wrong alone.
    """
    if len(points) < 3:
        return np.zeros(known.shape, bool)
    body, out, longest = wholebody.BODY, np.zeros(known.shape, bool), _longest(len(points))
    off = np.where(known[:, body], points[:, body] - _usual_way(points[:, body], known[:, body]), np.nan)
    size = noise[body]
    for rows, away in _off_together(off, LEAP * speed, speed, size, least=SIZED_BY, longest=longest):
        limbs = [limb for limb in (*ARMS, *LEGS) if away[limb[:2]].any()]
        alone = not np.delete(away, [joint for limb in (*ARMS, *LEGS) for joint in limb[:2]]).any()
        alone &= all(limb in ARMS for limb in limbs) or all(limb in LEGS for limb in limbs)
        for members in limbs if limbs and alone else [[*range(wholebody.COUNT)]]:
            out[rows[:, None], members] = True
    for arm in ARMS:
        two = arm[:2]
        for rows, _ in _off_together(off[:, two], ARM_LEAP * speed, speed, size[two], least=2, longest=longest):
            out[rows[:, None], arm] = True
    return out


def _off_together(
    off: np.ndarray, limit: float, speed: float, noise: np.ndarray, least: int, longest: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields frames ``[k]`` where joints are off by more than ``limit`` (root mean square of all but the farthest), and
    the joints that jump at their ends, bool ``[n]``.

    ``off`` is complex ``[T, n]``, NaN where not seen; ``least`` joints are needed to compare two frames.
    """
    at = np.flatnonzero(np.isfinite(off).sum(axis=1) >= least)
    if len(at) < 3:
        return
    off, limit = off[at], limit + 2 * float(np.sqrt((noise**2).mean()))

    def distance(to: np.ndarray, start: np.ndarray) -> np.ndarray:
        apart = np.abs(to - start)
        shared = np.isfinite(apart).sum(axis=-1)
        apart = np.sort(np.nan_to_num(apart), axis=-1)[..., :-1]
        mean = (apart**2).sum(axis=-1) / np.maximum(shared - 1, 1)
        return np.where(shared >= least, np.sqrt(mean), 0)  # too few tell nothing

    broken = np.flatnonzero(distance(off[1:], off[:-1]) > limit + speed * (np.diff(at) - 1))
    if not len(broken):
        return
    first, last = np.concatenate([[0], broken + 1]), np.concatenate([broken, [len(at) - 1]])

    def reached(piece: int, low: int) -> np.ndarray:
        between = at[first[piece]] - at[last[low:piece]]
        return distance(off[first[piece]], off[last[low:piece]]) <= limit + speed * (between - 1)

    kept = _longest_chain(last - first + 1, reached)
    right = np.flatnonzero(kept)
    for piece in np.flatnonzero(~kept & (at[last] - at[first] < longest)):
        steps = [off[first[piece]] - off[last[near]] for near in right[right < piece][-1:]]
        steps += [off[last[piece]] - off[first[near]] for near in right[right > piece][:1]]
        away = np.any(np.abs(steps) > limit, axis=0)
        yield np.arange(at[first[piece]], at[last[piece]] + 1), away


def _usual_way(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """complex ``[T, n]``: a path from 0 whose steps are running medians."""
    steps = np.where(known[1:] & known[:-1], np.diff(points, axis=0), np.nan)
    padded = np.pad(steps, ((NEARBY, NEARBY), (0, 0)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEARBY + 1, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a joint that is not seen has no step
        usual = np.nanmedian(around.real, axis=2) + 1j * np.nanmedian(around.imag, axis=2)
    return np.concatenate([np.zeros((1, points.shape[1])), np.cumsum(np.nan_to_num(usual), axis=0)])


def _longest(frames: int) -> int:
    return min(LONGEST, max(frames // 3, 1))


def _off_path(points: np.ndarray, known: np.ndarray, speed: float, noise: np.ndarray) -> np.ndarray:
    out = np.zeros(known.shape, bool)
    longest = _longest(len(points))
    for joint in range(points.shape[1]):
        at = np.flatnonzero(known[:, joint])
        if len(at) < 3:
            continue
        path, slack = points[at, joint], 4 * noise[joint]
        broken = np.flatnonzero(np.abs(np.diff(path)) > speed * np.diff(at) + slack)
        if not len(broken):
            continue
        first, last = np.concatenate([[0], broken + 1]), np.concatenate([broken, [len(at) - 1]])

        reached = partial(_reachable, path, at, first, last, speed, slack)
        kept = _longest_chain(last - first + 1, reached)
        for piece in np.flatnonzero(~kept & (at[last] - at[first] < longest)):
            out[at[first[piece] : last[piece] + 1], joint] = True
    return out


def _reachable(
    path: np.ndarray,
    at: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    speed: float,
    slack: float,
    piece: int,
    low: int,
) -> np.ndarray:
    distance = np.abs(path[first[piece]] - path[last[low:piece]])
    return distance <= speed * (at[first[piece]] - at[last[low:piece]]) + slack


def _longest_chain(size: np.ndarray, reached: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """bool ``[pieces]``: on the path with most frames; ``reached(piece, first)`` tells possible predecessors."""
    count = len(size)
    best, before = size.astype(float), np.full(count, -1)
    for piece in range(1, count):
        low = max(piece - LOOK_BACK, 0)
        possible = reached(piece, low)
        if possible.any():
            # of several equally long ones the nearest in time
            options = np.where(possible, best[low:piece], -np.inf)
            chosen = low + len(options) - 1 - int(np.argmax(options[::-1]))
            if best[chosen] > LINK:
                best[piece] += best[chosen] - LINK
                before[piece] = chosen
    kept, piece = np.zeros(count, bool), int(np.argmax(best))
    while piece >= 0:
        kept[piece] = True
        piece = int(before[piece])
    return kept
