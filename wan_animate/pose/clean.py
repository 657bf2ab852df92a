"""Cleaning of a pose track, shot by shot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..text import frame_ranges
from ..time_series import fill_in, gaussian_mean, noise_correlation, noise_level, smooth
from . import rigid_fit
from .found import warn_if_rarely_found
from .repair import repair
from .track import PoseTrack

MAX_GAIN = 8.0
LONGEST, OVERLAP = 300, 60  # frames of a shot that are smoothed at once, and that two windows share
CARRIED = 0.3  # weight of a hand's position that is known from the wrist alone
UNSEEN = 0.1  # points of lower confidence are ignored


def clean_track(track: PoseTrack, strength: float = 0.5) -> PoseTrack:
    """Removes detection mistakes and jitter.

    1. Unswaps sides; drops joints that jump away or are too far from their parent, and bodies that neighbouring frames
       rule out (:mod:`.repair`, :mod:`.outliers`).
    2. Fills gaps up to a third of a second where a body can move that far, with the lower confidence of both ends.
    3. Smooths joints by their jitter and motion (:mod:`..time_series`); face, hands and feet as position and shape
       (:mod:`.rigid_fit`).

    Args:
        strength: 0 returns the track itself, 0.5 removes the measured jitter, 1 eight times as much. Scales the longest
            gap.

    Returns:
        same frames and cuts; boxes of dropped bodies are interpolated.

    Raises:
        InputError: ``strength`` is outside 0..1, or no body is left.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"clean pose: strength is {strength}, but it must lie between 0 (off) and 1.")
    if strength == 0:
        warn_if_rarely_found(track, "clean pose")
        return track
    gain = min(math.tan(math.pi / 2 * strength), MAX_GAIN)
    out = track.keypoints.astype(np.float64)
    wrong = np.zeros(len(track), bool)
    for start, stop in track.shots:
        shot = track.keypoints[start:stop].astype(np.float64)
        repaired = repair(shot, float(track.fps), max_gap=max(round(float(track.fps) * strength * 2 / 3), 1))
        points, weights = repaired.points, np.where(repaired.trusted >= UNSEEN, repaired.trusted, 0) ** 2
        smoothed = smooth_points(points, weights, gain, floor=max(strength - 0.5, 0) * 0.002 * repaired.height)
        moved = (weights > 0) | repaired.filled
        points = np.where(moved, smoothed, points)
        out[start:stop, :, 0], out[start:stop, :, 1] = points.real, points.imag
        out[start:stop, :, 2] = repaired.confidence
        wrong[start:stop] = repaired.wrong_bodies
    cleaned = replace(track, keypoints=out, boxes=_boxes(track, wrong))
    _check_found(track.body_found, cleaned)
    return cleaned


def _check_found(before: np.ndarray, cleaned: PoseTrack) -> None:
    if before.any() and not cleaned.body_found.any():
        raise InputError(
            f"clean pose: a body was found in only {before.sum()} of {len(before)} frames ({frame_ranges(before)}), "
            "too briefly to tell it from a mistake, and none would be left; choose a part of the video that shows the "
            "person (start, limit), detect another person, or set strength to 0."
        )
    warn_if_rarely_found(cleaned, "clean pose")


def _boxes(track: PoseTrack, wrong: np.ndarray) -> np.ndarray | None:
    """Interpolates boxes of ``wrong`` frames within the shot, with score 0."""
    if track.boxes is None or not wrong.any():
        return track.boxes
    boxes = track.boxes.copy()
    for start, stop in track.shots:
        good = np.flatnonzero(~wrong[start:stop]) + start
        bad = np.flatnonzero(wrong[start:stop]) + start
        if len(good) and len(bad):
            for side in range(4):
                boxes[bad, side] = np.interp(bad, good, track.boxes[good, side])
            boxes[bad, 4] = 0
    return boxes


def _split(points: np.ndarray) -> np.ndarray:
    """complex ``[T, n]`` -> float64 ``[T, 2n]``."""
    return np.concatenate([points.real, points.imag], axis=1)


def _join(signals: np.ndarray) -> np.ndarray:
    """float64 ``[T, 2n]`` -> complex ``[T, n]``."""
    half = signals.shape[1] // 2
    return signals[:, :half] + 1j * signals[:, half:]


class _Batch:
    def __init__(self) -> None:
        self._signals: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._noise: list[np.ndarray] = []
        self._groups: list[np.ndarray] = []
        self._count = self._number = 0

    def add(self, signals: np.ndarray, weights: np.ndarray, noise: np.ndarray, groups: np.ndarray) -> slice:
        """Columns in :meth:`smoothed`; ``groups`` count from 0 in every call."""
        self._signals.append(signals)
        self._weights.append(weights)
        self._noise.append(noise)
        self._groups.append(groups + self._number)
        self._number += int(groups.max()) + 1
        self._count += signals.shape[1]
        return slice(self._count - signals.shape[1], self._count)

    def smoothed(self, correlation: float) -> np.ndarray:
        signals, weights, noise, groups = (
            np.concatenate(part, axis=-1) for part in (self._signals, self._weights, self._noise, self._groups)
        )
        return smooth(signals, weights, noise, groups, correlation)


class _Part:
    """Face, hand or foot: paths of centre, rotation and attached joints; modes of its shape."""

    def __init__(
        self, members: list[int], hanging: list[int], turns: bool, points: np.ndarray, weights: np.ndarray
    ) -> None:
        self.members, self.turns, self.weights = members, turns, weights[:, members]
        self.fit = rigid_fit.rigid_fit(points[:, members], self.weights, turns)
        self.seen = self.fit.size > 0 and len(points) > 1
        if not self.seen:
            return
        self.centre, self.centre_weights = _along(self.fit, points[:, hanging[0]], weights[:, hanging[0]])
        local = self._inside(points[:, members])
        self.local, self.local_weights = _split(local), np.tile(self.weights, 2)
        # A wrist is smoothed relative to the hand where it moves less relative to the hand than in the picture.
        from_here = self._inside(points[:, hanging])
        shown = weights[:, hanging] * (self.fit.weights[:, None] > 0)
        calmer = _calmer(from_here, points[:, hanging], shown)
        self.hanging = [joint for joint, use in zip(hanging, calmer, strict=True) if use]
        self.hung, self.hung_weights = from_here[:, calmer], shown[:, calmer]

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return (points - self.fit.centre[:, None]) / self.fit.turn[:, None]

    def bends(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances of face points from their neighbours' middle, and weights, ``[T, 2n]``."""
        count = len(self.members)
        local, weights = self.local[:, :count] + 1j * self.local[:, count:], self.weights
        a, b, c = np.array(rigid_fit.FACE_LINES).T
        bend = local[:, b] - (local[:, a] + local[:, c]) / 2
        return _split(bend), np.tile(np.minimum(np.minimum(weights[:, a], weights[:, c]), weights[:, b]), 2)

    def add(self, batch: _Batch, gain: float, floor: float, correlation: float) -> None:
        paths, weights = [self.centre], [self.centre_weights]
        if self.turns:
            paths, weights = [*paths, self.fit.turn * self.fit.size], [*weights, self.fit.weights]
        self._paths = _add_paths(
            batch, np.stack(paths, axis=1), np.stack(weights, axis=1), gain, floor / 2, correlation
        )
        if self.hanging:
            self._hung = _add_paths(batch, self.hung, self.hung_weights, gain, floor, correlation)
        levels = noise_level(self.local, self.local_weights, correlation)
        level = float(np.median(levels[levels > 0])) if (levels > 0).any() else 0.0
        noise = max(level * gain, floor)
        self.modes = modes = rigid_fit.modes(self.local, self.local_weights, noise)
        by_frame, many = self.weights.mean(axis=1, keepdims=True), len(modes.modes)
        self._scores: slice | None = None
        if many:
            scores, own = modes.scores * modes.shrink, noise * np.maximum(modes.shrink, 1e-3)
            self._scores = batch.add(scores, np.repeat(by_frame, many, axis=1), own, np.arange(many))
        count = modes.rest.shape[1]
        groups = np.zeros(count, int)
        self._rest = batch.add(modes.rest, np.repeat(by_frame, count, axis=1), np.full(count, noise), groups)

    def put(self, out: np.ndarray, smoothed: np.ndarray) -> None:
        """Writes into complex ``[T, 133]``, in which the body is smoothed."""
        paths, shape = _join(smoothed[:, self._paths]), self.modes.base + smoothed[:, self._rest]
        if self._scores is not None:
            shape = shape + smoothed[:, self._scores] @ self.modes.modes
        centre, turn = paths[:, :1], paths[:, 1:2] / self.fit.size if self.turns else 1
        out[:, self.members] = centre + turn * _join(shape)
        if self.hanging:
            # Where the hand is lost, the wrist fades to its own path over three frames.
            here = gaussian_mean(self.fit.weights[:, None], 1.5)
            here = np.clip(here / max(self.fit.weights.max(), 1e-9), 0, 1)
            hung = centre + turn * _join(smoothed[:, self._hung])
            out[:, self.hanging] += here * (hung - out[:, self.hanging])


def _along(fit: rigid_fit.RigidFit, root: np.ndarray, root_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre, weights ``[T]``) of a part; follows its root (a hand its wrist) where only that was seen."""
    lost = (fit.weights == 0) & (root_weights > 0)
    both = (fit.weights > 0) & (root_weights > 0)
    if not lost.any() or not both.any():
        return fit.centre, fit.weights
    offset = fill_in(_split((fit.centre - root)[:, None]), np.repeat(both[:, None], 2, axis=1))
    return np.where(lost, root + _join(offset)[:, 0], fit.centre), np.where(lost, CARRIED * root_weights, fit.weights)


def _restlessness(paths: np.ndarray, weights: np.ndarray, reach: int, step: int) -> np.ndarray:
    """``[n]``: median second difference over ``step`` frames of paths averaged over ``2 * reach + 1``."""
    out = np.full(paths.shape[1], np.inf)
    if len(paths) < 2 * reach + 2 * step + 1:
        return out
    known = weights > 0
    views = (np.lib.stride_tricks.sliding_window_view(part, 2 * reach + 1, axis=0) for part in (paths, known))
    means, whole = next(views).mean(axis=2), np.all(next(views), axis=2)
    bend = np.abs(means[2 * step :] - 2 * means[step:-step] + means[: -2 * step])
    whole = whole[2 * step :] & whole[step:-step] & whole[: -2 * step]
    some = whole.any(axis=0)
    out[some] = np.nanmedian(np.where(whole, bend, np.nan)[:, some], axis=0)
    return out


def _calmer(inside: np.ndarray, outside: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """bool ``[n]``: moves less relative to its part than in the picture, without more jitter."""
    tests = ((2, 5, 0.7), (0, 1, 1.15))  # slow motion must fall, jitter must not rise
    with np.errstate(invalid="ignore"):
        calm = [
            _restlessness(inside, weights, reach, step) < limit * _restlessness(outside, weights, reach, step)
            for reach, step, limit in tests
        ]
    return calm[0] & calm[1]


def _add_paths(
    batch: _Batch, paths: np.ndarray, weights: np.ndarray, gain: float, floor: float, correlation: float
) -> slice:
    count = paths.shape[1]
    both = noise_level(_split(paths), np.tile(weights, 2), correlation).reshape(2, count)
    noise = np.maximum(np.sqrt((both**2).mean(axis=0)) * gain, floor)
    return batch.add(_split(paths), np.tile(weights, 2), np.tile(noise, 2), np.tile(np.arange(count), 2))


def smooth_points(points: np.ndarray, weights: np.ndarray, gain: float = 1.0, floor: float = 0.0) -> np.ndarray:
    """Smooths one shot (complex ``[T, 133]``, pixels), in overlapping windows if long.

    Args:
        weights: ``[T, 133]``, 0..1; points of weight 0 are filled in.
        gain: factor on the measured noise.
        floor: least noise in pixels.
    """
    frames = len(points)
    if frames <= LONGEST:
        return _smooth_window(points, weights, gain, floor)
    count = -(-(frames - OVERLAP) // (LONGEST - OVERLAP))
    starts = np.linspace(0, frames - LONGEST, count).round().astype(int)
    out, total = np.zeros_like(points), np.zeros((frames, 1))
    for start in starts:
        window = slice(start, start + LONGEST)
        ahead = np.arange(LONGEST) + 1 if start else np.full(LONGEST, OVERLAP)
        behind = np.arange(LONGEST, 0, -1) if start + LONGEST < frames else np.full(LONGEST, OVERLAP)
        share = np.minimum(np.minimum(ahead, behind), OVERLAP)[:, None]
        out[window] += share * _smooth_window(points[window], weights[window], gain, floor)
        total[window] += share
    return out / total


def _smooth_window(points: np.ndarray, weights: np.ndarray, gain: float, floor: float) -> np.ndarray:
    found = [_Part(*part, points, weights) for part in rigid_fit.PARTS]
    found = [part for part in found if part.seen]
    # Neighbouring face points move together, so their difference is noise.
    face = next((part for part in found if part.members is rigid_fit.FACE), None)
    correlation = noise_correlation(*face.bends()) if face else 0.0
    batch = _Batch()
    body = _add_paths(batch, points[:, rigid_fit.BODY], weights[:, rigid_fit.BODY], gain, floor, correlation)
    for part in found:
        part.add(batch, gain, floor, correlation)
    smoothed = batch.smoothed(correlation)
    out = points.copy()
    out[:, rigid_fit.BODY] = _join(smoothed[:, body])
    for part in found:
        part.put(out, smoothed)
    return out
