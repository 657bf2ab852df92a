"""The unit of POSE_KEYPOINT's coordinates, which the format does not say: pixels, per cent or fractions of the canvas.
"""

from __future__ import annotations

from collections import defaultdict

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
_CLEARLY = 0.5  # another unit than the clip's must fit this many times better


def to_pixels(points: np.ndarray, frames: np.ndarray, width: int, height: int) -> list[str]:
    """Convert in place, and say what was not as it seemed.

    A part has the unit of most of its points in the clip. A frame has another where that alone puts the body where it
    is in the other frames, or a part at the body.

    Args:
        points: float32 ``[N, 133, 3]``, people in the file's units.
        frames: int ``[N]``, the frame of each.

    Returns:
        Sentences on parts in per cent, and on frames in another unit than the rest.
    """
    size = np.array([width, height], np.float32)
    scales = np.stack([np.ones(2, np.float32), size / 100, size])
    told = (points[..., 2] > 0) & (points[..., :2] != 0).any(axis=-1)  # some writers put missing points at 0, 0
    units: dict[str, np.ndarray] = {}
    for name, part in PARTS.items():
        given, shown = points[:, part], told[:, part]
        usual = _usual(given, shown, name == "body" and min(width, height) >= _LEAST_SIDE)
        if name == "body":
            units[name] = _of_bodies(given, shown, usual, scales)
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


def _usual(given: np.ndarray, shown: np.ndarray, per_cent: bool) -> int:
    """The unit of most of a part's points, ``[N, P, 3]``; ``per_cent``: whether that is possible."""
    if _share(given, shown, FRACTIONS) >= 0.5:
        return FRACTIONS
    if not per_cent:
        return PIXELS
    people = [(one, seen) for one, seen in zip(given, shown, strict=True) if seen.sum() >= FEWEST]
    extents = [_place(*person)[1] for person in people if _share(*person, PER_CENT) >= _MOST]
    most = len(extents) >= 0.75 * max(len(people), 1)
    return PER_CENT if most and np.median(extents) >= _LEAST_EXTENT else PIXELS


def _place(given: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and extent of points ``[P, 3]``, whatever one or two of them are."""
    if not shown.any():
        return np.full(2, np.nan), np.nan
    low, middle, high = np.percentile(given[shown][:, :2].astype(np.float64), (10, 50, 90), axis=0)
    return middle, float((high - low).max())


def _of_bodies(given: np.ndarray, shown: np.ndarray, usual: int, scales: np.ndarray) -> np.ndarray:
    """int ``[N]``. The other units are tried against the median body of those that can only be in the usual one."""
    units = np.full(len(given), usual)
    options = [_options(one, seen, usual) for one, seen in zip(given, shown, strict=True)]
    certain = [at for at, found in enumerate(options) if found == [usual]]
    if not certain or len(certain) == len(given):
        return units
    places = [_place(given[at] * [*scales[usual], 1], shown[at]) for at in certain]
    middle, extent = np.nanmedian([place[0] for place in places], axis=0), np.nanmedian([place[1] for place in places])
    for at, found in enumerate(options):
        costs = {}
        for unit in found:
            where, large = _place(given[at] * [*scales[unit], 1], shown[at])
            away = float(np.linalg.norm(where - middle)) / max(extent, 1.0)
            costs[unit] = away + abs(float(np.log((large + 1) / (extent + 1))))
        best = min(costs, key=costs.__getitem__)
        if costs[best] < _CLEARLY * costs.get(usual, np.inf):
            units[at] = best
    return units


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
            "they are taken as per cent of it. If they are pixels, give the canvas the size of the picture that they "
            "were found in."
        )
    for (unit, most, where), names in other.items():
        said.append(
            f"{' and '.join(names)} of frames {where}: in {NAMES[unit]}, where {NAMES[most]} are usual in this clip. "
            "They were converted; look at the pose there."
        )
    return said
