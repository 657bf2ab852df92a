"""Pixels, per cent or fractions of the canvas: the unit of POSE_KEYPOINT's coordinates, which it does not say."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection

import numpy as np

from ..text import frame_ranges
from . import wholebody

PIXELS, PER_CENT, FRACTIONS = range(3)
NAMES = "pixels", "per cent of the canvas", "fractions of the canvas"
HIGHEST = np.inf, 101.0, 2.0  # a few points may lie outside of the canvas
PARTS = {
    "body": wholebody.BODY,
    "feet": wholebody.FEET,
    "face": wholebody.FACE,
    "left hand": wholebody.LEFT_HAND,
    "right hand": wholebody.RIGHT_HAND,
}
HEAD = [wholebody.NOSE, wholebody.LEFT_EYE, wholebody.RIGHT_EYE, wholebody.LEFT_EAR, wholebody.RIGHT_EAR]
ANCHORS = {  # what of the body a part hangs on
    "feet": [wholebody.LEFT_ANKLE, wholebody.RIGHT_ANKLE],
    "face": HEAD,
    "left hand": [wholebody.LEFT_WRIST],
    "right hand": [wholebody.RIGHT_WRIST],
}
APART = 0.5  # of the body's extent, between a part and what it hangs on
FEWEST = 3  # points that tell a unit
_LEAST_SIDE = 200  # of a canvas on which a body within 100 pixels fills no more than its corner
_LEAST_EXTENT = 15.0  # of a body in per cent
_MOST = 0.9  # of a person's points, for a unit that is not the usual one
_FRAMES = 0.8  # of a clip's frames, in which per cent must be possible
_CLEARLY = 0.5  # another unit than the clip's must fit this many times better
_COMPARED = 4  # people of a frame, the largest
_CLOSE = 0.25  # a body in per cent is at most this far from the frames beside it, in its extent


def to_pixels(points: np.ndarray, frames: np.ndarray, width: int, height: int) -> list[str]:
    """Convert in place, and say what was not as it seemed.

    A part has the unit of most of its points in the clip. A frame has another where that alone puts the body where it
    is in the frames before and after, or a part at the body.

    Args:
        points: float32 ``[N, 133, 3]``, people in the file's units.
        frames: int ``[N]``, the frame of each, rising.

    Returns:
        Sentences on parts in per cent, and on frames in another unit than the rest.
    """
    size = np.array([width, height], np.float32)
    scales = np.stack([np.ones(2, np.float32), size / 100, size])
    told = (points[..., 2] > 0) & (points[..., :2] != 0).any(axis=-1)  # some writers put missing points at 0, 0
    units: dict[str, np.ndarray] = {}
    for name, part in PARTS.items():
        given, shown = points[:, part], told[:, part]
        usual = _usual(given, shown, frames, name == "body" and min(width, height) >= _LEAST_SIDE)
        if name == "body":
            units[name] = _of_bodies(given, shown, frames, usual, scales)
            given[..., :2] *= scales[units[name]][:, None]
            extents = np.array([_place(one, seen)[1] for one, seen in zip(given, shown, strict=True)])
        else:
            anchors = points[:, ANCHORS[name]], told[:, ANCHORS[name]]
            units[name] = _of_parts(given, shown, usual, units["body"], anchors, extents, scales)
            given[..., :2] *= scales[units[name]][:, None]
    return _said(units, told, frames, (width, height))


def _share(given: np.ndarray, shown: np.ndarray, unit: int) -> float:
    """Of the points, that may be in this unit."""
    return float((given[shown][:, :2].max(axis=1) <= HIGHEST[unit]).mean()) if shown.any() else 0.0


def _usual(given: np.ndarray, shown: np.ndarray, frames: np.ndarray, per_cent: bool) -> int:
    """The unit of most of a part's points, ``[N, P, 3]``; ``per_cent``: whether that is possible."""
    if _share(given, shown, FRACTIONS) >= 0.5:
        return FRACTIONS
    if not per_cent:
        return PIXELS
    extents, beyond = [], set()
    enough = shown.sum(axis=1) >= FEWEST
    for one, seen, frame in zip(given[enough], shown[enough], frames[enough].tolist(), strict=True):
        if _share(one, seen, PER_CENT) >= _MOST:
            extents.append(_place(one, seen)[1])
        else:
            beyond.add(frame)  # somebody there is in pixels, so the others are too
    most = len(beyond) <= (1 - _FRAMES) * len(np.unique(frames[enough]))
    return PER_CENT if extents and most and np.median(extents) >= _LEAST_EXTENT else PIXELS


def _place(given: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and extent of points ``[P, 3]``, whatever one or two of them are."""
    if not shown.any():
        return np.full(2, np.nan), np.nan
    low, middle, high = np.percentile(given[shown][:, :2].astype(np.float64), (10, 50, 90), axis=0)
    return middle, float((high - low).max())


def _of_bodies(given: np.ndarray, shown: np.ndarray, frames: np.ndarray, usual: int, scales: np.ndarray) -> np.ndarray:
    """int ``[N]``. The other units are tried on frames in which nobody can only be in the usual one, in runs of such
    frames, against the bodies in the nearest frames before and after that can."""
    units = np.full(len(given), usual)
    options = [_options(one, seen, usual) for one, seen in zip(given, shown, strict=True)]
    known: dict[int, list[int]] = defaultdict(list)  # people that tell the unit, by frame
    open_: dict[int, list[int]] = defaultdict(list)  # people that may be in another, by frame
    for at, frame in enumerate(frames.tolist()):
        if options[at] != [usual]:
            open_[frame].append(at)
        elif shown[at].sum() >= FEWEST:
            known[frame].append(at)
    if not known:
        return units

    def largest(people: list[int]) -> list[int]:
        return sorted(people, key=lambda at: _place(given[at], shown[at])[1])[-_COMPARED:]

    def cost(people: list[int], others: list[int], unit: int) -> float:
        return min(
            _apart(given[at] * [*scales[unit], 1], shown[at], given[other] * [*scales[usual], 1], shown[other])
            for at in largest(people)
            for other in largest(others)
        )

    telling = sorted(known)
    for run, found in _runs({frame: [options[at] for at in people] for frame, people in open_.items()}, known):
        first, last = run[0], run[-1]
        if usual in found and first in known:
            continue
        at = bisect_left(telling, first)  # no known frame lies within a run
        beside = [(first, telling[at - 1])] if at else []
        beside += [(last, telling[at])] if at < len(telling) else []
        costs = {unit: max(cost(open_[one], known[other], unit) for one, other in beside) for unit in found}
        best = min(costs, key=costs.__getitem__)
        if usual in found:
            close = best != PER_CENT or costs[best] <= _CLOSE
            if not (close and costs[best] < _CLEARLY * costs[usual]):
                continue
        for frame in run:
            units[open_[frame]] = best
    return units


def _runs(options: dict[int, list[list[int]]], known: Collection[int]) -> list[tuple[list[int], list[int]]]:
    """Frames one after another that no known one parts, and the units that all people of each can be in."""
    runs: list[tuple[list[int], list[int]]] = []
    former = None
    for frame in sorted({*options, *known}):
        if frame in options:
            of = options[frame]
            found = [unit for unit in of[0] if all(unit in other for other in of)] or of[0]
            if found == former and frame not in known:
                runs[-1][0].append(frame)
            else:
                runs.append(([frame], found))
            former = found
        if frame in known:
            former = None
    return runs


def _apart(one: np.ndarray, seen: np.ndarray, other: np.ndarray, there: np.ndarray) -> float:
    """How far two bodies ``[P, 3]`` in pixels are from being the same, in extents of the second: the distance of their
    joints, or where they share few of their middles, and the difference in width and height."""
    spans = [np.percentile(body[told][:, :2], (10, 90), axis=0) for body, told in ((one, seen), (other, there))]
    mine, theirs = (np.maximum(high - low, 1.0) for low, high in spans)
    both = seen & there
    if both.sum() >= FEWEST:
        away = float(np.median(np.linalg.norm(one[both][:, :2] - other[both][:, :2], axis=1)))
    else:
        away = float(np.linalg.norm(_place(one, seen)[0] - _place(other, there)[0]))
    return away / float(theirs.max()) + float(np.abs(np.log(mine / theirs)).mean())


def _options(given: np.ndarray, shown: np.ndarray, usual: int) -> list[int]:
    """The units that a part of one person can be in."""
    if shown.sum() < FEWEST:
        return [usual]
    if _share(given, shown, FRACTIONS) >= 0.5:
        return [usual] if usual == FRACTIONS or _share(given, shown, FRACTIONS) < _MOST else [FRACTIONS, usual]
    if _share(given, shown, PER_CENT) < _MOST:
        return [PIXELS]
    return [PER_CENT] if usual == PER_CENT else [PIXELS, PER_CENT]


def _of_parts(
    given: np.ndarray,
    shown: np.ndarray,
    usual: int,
    bodies: np.ndarray,
    anchors: tuple[np.ndarray, np.ndarray],
    extents: np.ndarray,
    scales: np.ndarray,
) -> np.ndarray:
    """int ``[N]``. Another unit where the usual one puts a part away from the body, and that one at it."""
    units = np.full(len(given), usual)
    for at, (one, seen) in enumerate(zip(given, shown, strict=True)):
        options = _options(one, seen, usual)
        if options == [usual]:
            continue
        held = anchors[1][at]
        if not held.any():
            units[at] = bodies[at] if bodies[at] in options else units[at]
            continue
        anchor = anchors[0][at][held][:, :2].mean(axis=0)
        middle = np.median(one[seen][:, :2], axis=0)
        away = {unit: float(np.linalg.norm(middle * scales[unit] - anchor)) for unit in {usual, *options}}
        nearest = min(options, key=away.__getitem__)
        if away[usual] > APART * extents[at] >= away[nearest]:
            units[at] = nearest
    return units


def _said(units: dict[str, np.ndarray], told: np.ndarray, frames: np.ndarray, size: tuple[int, int]) -> list[str]:
    said, per_cent = [], []
    other: dict[tuple[int, int, str], list[str]] = defaultdict(list)
    for name, of in units.items():
        there = told[:, PARTS[name]].any(axis=1)
        if not there.any():
            continue
        most = int(np.bincount(of[there]).argmax())
        if most == PER_CENT:
            per_cent.append(name)
        for unit in set(of[there].tolist()) - {most}:
            flags = np.zeros(int(frames.max()) + 1, bool)
            flags[frames[there & (of == unit)]] = True
            other[unit, most, frame_ranges(flags)].append(name)
    if per_cent:
        said.append(
            f"{' and '.join(per_cent)}: the coordinates lie between 0 and 100 on a canvas of {size[0]}x{size[1]}, so "
            "they are taken as per cent of it. If they are pixels, the person is within 100 pixels of the top left "
            "corner: cut that corner out of the video and detect the pose in it, or, where the canvas has another size "
            "than the picture that they were found in, give it that size."
        )
    for (unit, most, where), names in other.items():
        said.append(
            f"{' and '.join(names)} of frames {where}: in {NAMES[unit]}, where {NAMES[most]} are usual in this clip. "
            "They were converted; look at the pose there."
        )
    return said
