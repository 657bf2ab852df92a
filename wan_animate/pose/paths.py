"""Stretches of a shot that the frames around them rule out: nobody gets there and back, at the shot's ends as amid it.

A joint's path falls into pieces wherever it goes farther from one sighting to the next than anybody moves, and the
body's size wherever it changes faster than a body's does. Of all the pieces, those that one body can have gone through
one after the other, and that last longest in all, are its path; what is left over and short is a mistake.
"""

from __future__ import annotations

import warnings

import numpy as np

from . import layout

LONGEST = 12  # frames that a mistake may last, and never more than a third of the shot
SURE, LIKELY = 2.0, 1.25  # times the fastest that joints move: beyond it alone, and where half of the body is beyond it
LINK = 3.0  # frames that a piece must last longer than to be believed beside another
# How fast a body grows or shrinks in the picture at most, by its bones' middle change: of itself in a frame, and in all
# before the pace counts (bones seen from their end, noise).
GROWTH, GROWTH_SLACK = 0.12, 0.06
SIZED_BY = 4  # bones that must be seen for a body's size to be told
LIMBS = ((5, 6), (11, 12), (5, 11), (6, 12), (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16))
LOOK_BACK = 64  # pieces before one that are tried as the one before it


def ruled_out(points: np.ndarray, known: np.ndarray, away: np.ndarray, speed: float, noise: np.ndarray) -> np.ndarray:
    """Points that cannot be this body's; bool ``[T, 133]``.

    Where half of the body's joints are such, the whole frame is: it shows somebody else, or nobody.

    Args:
        points: complex ``[T, 133]`` of one shot.
        known: bool ``[T, 133]``.
        away: bool ``[T, 133]``: known to be wrong already.
        speed: pixels that a joint moves from one frame to the next at most.
        noise: ``[133]``: size of each point's jitter in pixels.
    """
    right, body = known & ~away, layout.BODY
    out = _off_path(points, right, SURE * speed, noise)
    likely = away[:, body] | _off_path(points[:, body], right[:, body], LIKELY * speed, noise[body])
    count, seen = likely.sum(axis=1), known[:, body].sum(axis=1)
    out[(count >= 3) & (2 * count >= seen)] = True
    out[_of_another_size(points, right)] = True
    return out & known


def _of_another_size(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Frames whose body is larger or smaller than those around allow, wherever it stands; bool ``[T]``."""
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


def _off_path(points: np.ndarray, known: np.ndarray, speed: float, noise: np.ndarray) -> np.ndarray:
    out = np.zeros(known.shape, bool)
    longest = min(LONGEST, max(len(points) // 3, 1))
    for joint in range(points.shape[1]):
        at = np.flatnonzero(known[:, joint])
        if len(at) < 3:
            continue
        path, slack = points[at, joint], 4 * noise[joint]
        broken = np.flatnonzero(np.abs(np.diff(path)) > speed * np.diff(at) + slack)
        if not len(broken):
            continue
        first, last = np.concatenate([[0], broken + 1]), np.concatenate([broken, [len(at) - 1]])
        kept = _longest_chain(at[first], at[last], path[first], path[last], last - first + 1, speed, slack)
        for piece in np.flatnonzero(~kept & (at[last] - at[first] < longest)):
            out[at[first[piece] : last[piece] + 1], joint] = True
    return out


def _longest_chain(
    begins: np.ndarray, ends: np.ndarray, entry: np.ndarray, leave: np.ndarray, size: np.ndarray, speed: float, slack
) -> np.ndarray:
    """Which pieces lie on the path that holds most frames; bool ``[pieces]``."""
    count = len(begins)
    best, before = size.astype(float), np.full(count, -1)
    for piece in range(1, count):
        low = max(piece - LOOK_BACK, 0)
        way = np.abs(entry[piece] - leave[low:piece])
        reached = way <= speed * (begins[piece] - ends[low:piece]) + slack
        if reached.any():
            # of several equally long ones the nearest in time
            options = np.where(reached, best[low:piece], -np.inf)
            chosen = low + len(options) - 1 - int(np.argmax(options[::-1]))
            if best[chosen] > LINK:
                best[piece] += best[chosen] - LINK
                before[piece] = chosen
    kept, piece = np.zeros(count, bool), int(np.argmax(best))
    while piece >= 0:
        kept[piece] = True
        piece = int(before[piece])
    return kept
