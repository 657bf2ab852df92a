"""Root motion for other bone lengths: standing feet stay in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, grey_opening

from ..pose import wholebody as at
from .bones import LEFT_FOOT, NECK, PELVIS, RIGHT_FOOT

# Each point of a sole can stand while the others roll (heel, flat, toes).
ANKLES = (at.LEFT_ANKLE, at.RIGHT_ANKLE)
SOLES = ((at.LEFT_ANKLE, *LEFT_FOOT), (at.RIGHT_ANKLE, *RIGHT_FOOT))
_STANDING = 0.35  # leg lengths a second below which a point stands; a walker's swinging foot does about 3
_LOW = 0.25  # leg lengths above the lowest point of both feet within which a point can bear weight
_HELD = 0.1  # least seconds of a contact; the top of a jump is shorter
_GRIP = 300.0  # weight of a standing point against the body's free motion
_EASE = 3.0  # how smoothly legs go back to the driver's angles when a foot lifts, against _GRIP
_TURN, _GROW = 0.014, 0.008  # radians and share by which a leg gives way at most to hold its foot
# Pull towards the driver's position, x and y, against drift over many steps: with another ratio of thigh to shin every
# step would end a little higher or lower.
_PULL = np.array([0.05, 5.0])


@dataclass(frozen=True)
class Contacts:
    """Foot joints of both sides and their contact with the ground: float64 ``[T, len(points)]``, 0..1."""

    points: tuple[int, ...]
    weight: np.ndarray

    def foot(self, side: int) -> np.ndarray:
        """float64 ``[T]``: contact of the left (0) or right (1) foot."""
        columns = [self.points.index(point) for point in SOLES[side]]
        return self.weight[:, columns].max(axis=1)


def contacts(points: np.ndarray, leg: float, fps: float) -> Contacts:
    """Ground contacts of a shot from joints ``[T, 135, 3]``; ``leg`` in pixels."""
    names = tuple(point for sole in SOLES for point in sole)
    found = points[:, names, 2] > 0
    place = points[:, names, :2]
    weight = np.zeros(found.shape)
    if len(points) > 1 and found.any():
        sigma = 0.05 * fps
        radius = min(int(3 * sigma + 0.5), len(points) - 1)
        steady = gaussian_filter1d(_filled(place, found), sigma, axis=0, mode="nearest", radius=radius)
        speed = np.linalg.norm(np.gradient(steady, axis=0), axis=2) * fps / leg
        weight = 1 / (1 + (speed / _STANDING) ** 4)
        ground = np.where(found, place[..., 1], -np.inf).max(axis=1, keepdims=True)
        height = np.where(found, ground - place[..., 1], np.inf) / leg
        weight = weight * (1 / (1 + (height / _LOW) ** 6)) * found
        held = round(_HELD * fps)
        if 1 < held < len(weight):
            weight = grey_opening(weight, size=(held, 1), mode="constant")
    elif found.any():
        weight = found.astype(float)
    return Contacts(names, weight)


def _filled(place: np.ndarray, found: np.ndarray) -> np.ndarray:
    frames, out = np.arange(len(place)), place.copy()
    for column in range(place.shape[1]):
        good = np.flatnonzero(found[:, column])
        if 0 < len(good) < len(place):
            for axis in range(2):
                out[:, column, axis] = np.interp(frames, good, place[good, column, axis])
    return out


def place_root(points: np.ndarray, body: np.ndarray, gain: np.ndarray, standing: Contacts | None) -> np.ndarray:
    """The neck's path in a shot up to a constant, float64 ``[T, 2]``, by least squares.

    Standing ankles should move by ``gain`` times the driver's motion; with far less weight, pelvis or neck too.

    Args:
        points: float64 ``[T, 135, 3]``, the driver's joints.
        body: float64 ``[T, 135, 2]``, the new body's joints relative to its neck.
        gain: float64 ``[T]``, new pixels per driver pixel.
    """
    length = len(points)
    middle = PELVIS if (points[:, PELVIS, 2] > 0).mean() > 0.5 and standing is not None else NECK
    step = (gain[1:] + gain[:-1]) / 2
    goals = [(middle, (points[:, middle, 2] > 0).astype(float))]
    if standing is not None:
        goals += [(ankle, _GRIP * standing.foot(side)) for side, ankle in enumerate(ANKLES)]

    grip = np.full(max(length - 1, 0), 1e-6)
    wanted = np.zeros((max(length - 1, 0), 2))
    pull, home = np.full((length, 2), 1e-9), np.zeros((length, 2))
    for point, weight in goals:
        place = points[:, point, :2]
        between = np.minimum(weight[1:], weight[:-1]) * (points[1:, point, 2] > 0) * (points[:-1, point, 2] > 0)
        moved = np.diff(place, axis=0) * step[:, None]
        grip += between
        wanted += between[:, None] * (moved - np.diff(body[:, point], axis=0))
        if np.ptp(gain) < 1e-9:  # with a changing gain there is no position to return to
            if point in ANKLES:
                there = weight[:, None] / _GRIP * _PULL
            else:
                there = np.repeat(weight[:, None] * (1e-4 if point == middle else 0), 2, axis=1)
            pull += there
            home += there * (gain[0] * place - body[:, point])
    return _least_squares_path(grip, wanted / grip[:, None] if length > 1 else wanted, pull, home / pull)


def _least_squares_path(grip: np.ndarray, step: np.ndarray, pull: np.ndarray, home: np.ndarray) -> np.ndarray:
    """``[T, 2]``: minimizes grip (x[t+1] - x[t] - step[t])^2 + pull (x[t] - home[t])^2 summed, per axis.

    ``grip`` is ``[T - 1]``, ``step`` ``[T - 1, 2]``, ``pull`` (above 0) and ``home`` are ``[T, 2]``.
    """
    if len(home) == 1:
        return home
    diagonal, right = pull.copy(), pull * home
    diagonal[:-1] += grip[:, None]
    diagonal[1:] += grip[:, None]
    right[:-1] -= grip[:, None] * step
    right[1:] += grip[:, None] * step
    above = np.concatenate([[0.0], -grip])
    bands = (np.stack([above, diagonal[:, axis]]) for axis in (0, 1))
    return np.stack(
        [solveh_banded(band, right[:, axis], check_finite=False) for axis, band in enumerate(bands)], axis=1
    )


def settle_feet(
    root: np.ndarray,
    body: np.ndarray,
    points: np.ndarray,
    gain: np.ndarray,
    standing: Contacts,
    lengths: dict[int, float],
) -> None:
    """Slightly turns and shortens legs to hold standing feet, off by a few pixels; changes ``body``."""
    if len(points) < 2:
        return
    for (ankle, *sole), hip, knee in zip(
        SOLES, (at.LEFT_HIP, at.RIGHT_HIP), (at.LEFT_KNEE, at.RIGHT_KNEE), strict=True
    ):
        weight = standing.weight[:, standing.points.index(ankle)]
        moved = np.diff(points[:, ankle, :2], axis=0) * ((gain[1:] + gain[:-1]) / 2)[:, None]
        missing = moved - np.diff(root + body[:, ankle], axis=0)
        firm = _GRIP * np.minimum(weight[1:], weight[:-1])
        step = missing * (firm / (firm + _EASE))[:, None]
        pull, home = np.full((len(points), 2), _EASE / 10), np.zeros((len(points), 2))
        if np.ptp(gain) < 1e-9:
            there = _EASE * weight
            pull[:, 1] += there
            home[:, 1] = there / pull[:, 1] * (gain * points[:, ankle, 1] - root[:, 1] - body[:, ankle, 1])
        shift = _least_squares_path(firm + _EASE, step, pull, home)

        whole = np.all(points[:, [hip, knee, ankle], 2] > 0, axis=1)
        thigh, shin = body[:, knee] - body[:, hip], body[:, ankle] - body[:, knee]
        leg = thigh + shin
        square = np.maximum((leg**2).sum(axis=1), 1e-9)
        turn = (leg[:, 0] * shift[:, 1] - leg[:, 1] * shift[:, 0]) / square
        grow = (leg * shift).sum(axis=1) / square
        turn = _TURN * np.tanh(turn / _TURN) * whole
        grow = _GROW * np.tanh(grow / _GROW) * whole
        for bone, vector in ((knee, thigh), (ankle, shin)):
            grow = np.minimum(grow, lengths[bone] / np.maximum(np.linalg.norm(vector, axis=1), 1e-9) - 1)
        before = body[:, ankle].copy()
        c, s = (1 + grow) * np.cos(turn), (1 + grow) * np.sin(turn)
        for bone, base, vector in ((knee, hip, thigh), (ankle, knee, shin)):
            turned = np.stack([c * vector[:, 0] - s * vector[:, 1], s * vector[:, 0] + c * vector[:, 1]], axis=1)
            body[:, bone] = np.where(whole[:, None], body[:, base] + turned, body[:, bone])
        body[:, sole] += (body[:, ankle] - before)[:, None]
