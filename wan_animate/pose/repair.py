"""Detection mistakes within one shot: swapped sides, jumping joints, overlong bones, short gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..flags import runs_of
from ..time_series import noise_level
from . import wholebody
from .outliers import ruled_out
from .track import PoseTrack

SEEN, DRAWN = 0.3, 0.5  # confidence from which a point is believed, and from which it is drawn
# Of body height, a frame at 30 frames a second: distance from the neighbours' line (a waved hand, 100 m/s2), and step
# (6 m/s).
BEND, SPEED = 0.06, 0.13
TURN = 0.4  # radians a frame, two turns a second
LONGEST_RUN = 4  # frames of a jump at most; longer ones are real
LONGEST_SWAP = 12  # frames of a swap at most; longer ones are real
BRIEF = 2  # frames: a sighting this short in a long gap is a mistake

# Pairs that detectors swap: joints, feet, hands.
SIDES = [([left], [left + 1]) for left in (1, 3, 5, 7, 9, 11, 13, 15)] + [
    (list(range(17, 20)), list(range(20, 23))),
    (list(range(91, 112)), list(range(112, 133))),
]
# Bone, and its length in body heights (Drillis & Contini 1966, rounded up).
BONES = [
    (5, 7, 0.19), (6, 8, 0.19), (7, 9, 0.16), (8, 10, 0.16), (11, 13, 0.25), (12, 14, 0.25), (13, 15, 0.25),
    (14, 16, 0.25), (9, 91, 0.05), (10, 112, 0.05), (15, 17, 0.16), (15, 18, 0.16), (15, 19, 0.08), (16, 20, 0.16),
    (16, 21, 0.16), (16, 22, 0.08),
    *((root, tip, 0.12) for root in (91, 112) for tip in range(root + 1, root + 21)),
]  # fmt: skip


@dataclass
class Repaired:
    """A shot after repair; arrays are ``[T, 133]``.

    Attributes:
        points: complex, x + iy in pixels, sides corrected.
        trusted: confidence, 0 for what was dropped.
        confidence: the same, raised in filled gaps.
        height: of the body in pixels.
    """

    points: np.ndarray
    trusted: np.ndarray
    confidence: np.ndarray
    filled: np.ndarray
    swapped: np.ndarray
    dropped: np.ndarray
    height: float

    @property
    def wrong_bodies(self) -> np.ndarray:
        """bool ``[T]``: at least half of the body was dropped."""
        body, seen = self.dropped[:, wholebody.BODY].sum(axis=1), (self.trusted >= SEEN)[:, wholebody.BODY].sum(axis=1)
        return (body >= 3) & (body >= seen)


def repair(shot: np.ndarray, fps: float, max_gap: int) -> Repaired:
    """Corrects a shot, float ``[T, 133, 3]``; fills up to ``max_gap`` frames."""
    points, trusted = shot[..., 0] + 1j * shot[..., 1], np.clip(shot[..., 2], 0, 1)
    height = body_height(points, trusted)
    bend, speed, turn = _limits(height, fps)
    points, trusted, swapped = _unswap(points, trusted, bend)
    before = trusted
    trusted = np.where(_mistaken(points, trusted, bend, speed, turn), 0, trusted)
    trusted = np.where(_overlong(points, trusted, height), 0, trusted)
    trusted = np.where(_brief(trusted, max_gap), 0, trusted)
    dropped = (trusted < before) & (before >= SEEN)
    confidence = _fill(points, trusted, max_gap, speed, dropped)
    filled = confidence > trusted
    return Repaired(points, trusted, confidence, filled, swapped, dropped, height)


def mistaken(track: PoseTrack) -> np.ndarray:
    """bool ``[T, 133]``: points of a raw track that neighbouring frames rule out."""
    out = np.zeros(track.keypoints.shape[:2], bool)
    for start, stop in track.shots:
        shot = track.keypoints[start:stop].astype(np.float64)
        points, trusted = shot[..., 0] + 1j * shot[..., 1], np.clip(shot[..., 2], 0, 1)
        out[start:stop] = _mistaken(points, trusted, *_limits(body_height(points, trusted), float(track.fps)))
    return out


def _limits(height: float, fps: float) -> tuple[float, float, float]:
    """A joint's distance from its neighbours' line and its step in pixels; radians that a body turns; each a frame."""
    pace = 30 / max(fps, 1)
    return BEND * height * min(pace, 2) ** 2, SPEED * height * min(pace, 4), TURN * min(pace, 4)


def _mistaken(points: np.ndarray, trusted: np.ndarray, bend: float, speed: float, turn: float) -> np.ndarray:
    noise = noise_level(np.concatenate([points.real, points.imag], axis=1), np.tile(trusted >= SEEN, 2))
    noise = np.sqrt((noise.reshape(2, -1) ** 2).sum(axis=0))
    away = _jumps(points, trusted, bend, speed, noise)
    return away | ruled_out(points, trusted >= SEEN, away, speed, turn, noise)


def body_height(points: np.ndarray, confidence: np.ndarray) -> float:
    """Standing height in pixels, from visible bones (largest running medians), else from the face."""
    body = ((5, 6, 0.23), (11, 12, 0.14), (5, 7, 0.17), (6, 8, 0.17), (11, 13, 0.24), (12, 14, 0.24), (13, 15, 0.24),
            (14, 16, 0.24), (5, 11, 0.29), (6, 12, 0.29))  # fmt: skip
    face = ((59, 68, 0.053), (50, 31, 0.075))  # outer corners of the eyes; top of the nose to the chin
    for pairs in (body, face):
        found = []
        for a, b, share in pairs:
            both = (confidence[:, a] >= SEEN) & (confidence[:, b] >= SEEN)
            if both.sum() >= min(3, len(points)):
                found.append(float(np.median(np.abs(points[both, a] - points[both, b]))) / share)
        if found:
            return max(float(np.sort(found)[-2:].mean()), 1.0)  # the largest alone may be a mistake
    seen = points[confidence >= SEEN] if (confidence >= SEEN).any() else points.ravel()
    return max(float(np.ptp(seen.real)), float(np.ptp(seen.imag)), 1.0)


def _unswap(points: np.ndarray, confidence: np.ndarray, bend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Swaps left and right back in runs of frames, but not for crossed legs."""
    points, confidence = points.copy(), confidence.copy()
    swapped = np.zeros(points.shape, bool)
    frames = len(points)
    for left, right in SIDES:
        seen = (confidence[:, left + right] >= SEEN).mean(axis=1) >= 0.7
        if seen.sum() < 4:
            continue
        sides = np.stack([points[:, left].mean(axis=1), points[:, right].mean(axis=1)], axis=1)

        def cost(at: np.ndarray, other: np.ndarray) -> np.ndarray:
            return np.abs(at - other).sum(axis=-1)

        step = np.where(seen[1:] & seen[:-1], cost(sides[1:], sides[:-1]), np.inf)
        crossed = cost(sides[1:], sides[:-1, ::-1])
        # Frames at which the sides swap: the step is far shorter after a swap, and impossible without.
        breaks = np.flatnonzero(np.isfinite(step) & (step - crossed > 2 * bend) & (crossed < 0.5 * step)) + 1
        at = 0
        while at + 1 < len(breaks):
            start, stop = breaks[at], breaks[at + 1]
            # Never the longer part of a clip: then the rest would be the swapped part.
            if stop - start <= min(LONGEST_SWAP, frames // 3):
                rows = np.arange(start, stop)[:, None]
                for array in (points, confidence):
                    array[rows, left], array[rows, right] = array[rows, right], array[rows, left].copy()
                swapped[rows, left] = swapped[rows, right] = True
                at += 2
            else:
                at += 1
    return points, confidence, swapped


def _jumps(points: np.ndarray, confidence: np.ndarray, bend: float, speed: float, noise: np.ndarray) -> np.ndarray:
    """bool ``[T, 133]``: off their path for a few frames by more than ``noise`` ``[133]`` explains."""
    frames = len(points)
    known = confidence >= SEEN
    away = np.zeros(known.shape, bool)
    for run in range(min(LONGEST_RUN, frames - 2), 0, -1):
        first, last = slice(0, frames - run - 1), slice(run + 1, frames)
        ends = known[first] & known[last] & ~away[first] & ~away[last]
        ends &= np.abs(points[last] - points[first]) <= speed * (run + 1) + 2 * noise
        # A body that leaves the line and comes back needs time for the way.
        limit = bend * (1 + 0.75 * (run - 1)) + 3.5 * noise
        # It goes in one step and comes back in one.
        off = ends & (np.abs(points[1 : frames - run] - points[first]) > 0.8 * limit)
        off &= np.abs(points[last] - points[run : frames - 1]) > 0.8 * limit
        for at in range(1, run + 1):
            middle = slice(at, frames - run - 1 + at)
            line = points[first] + (points[last] - points[first]) * (at / (run + 1))
            off &= known[middle] & (np.abs(points[middle] - line) > limit)
        for at in range(1, run + 1):
            away[at : frames - run - 1 + at] |= off
    if frames >= 4:  # first and last frame, from their neighbours
        for end, near, far, more in ((0, 1, 2, 3), (-1, -2, -3, -4)):
            calm = np.abs(points[near] - 2 * points[far] + points[more]) <= bend + 4 * noise
            calm &= (known[[end, near, far, more]] & ~away[[end, near, far, more]]).all(axis=0)
            away[end] |= calm & (np.abs(points[end] - 2 * points[near] + points[far]) > 3 * bend + 6 * noise)
    return away


def _overlong(points: np.ndarray, confidence: np.ndarray, height: float) -> np.ndarray:
    """bool ``[T, 133]``: far ends of overlong bones, and what is attached."""
    known = confidence >= SEEN
    far = np.zeros(known.shape, bool)
    for near, end, share in BONES:
        both = known[:, near] & known[:, end] & ~far[:, near]
        if not both.any():
            continue
        length = np.abs(points[:, near] - points[:, end])
        usual = np.quantile(length[both], 0.9) if both.sum() >= 10 else 0
        limit = max(1.5 * min(usual, 1.6 * share * height), 1.5 * share * height)
        far[:, end] |= both & (length > limit)
    for wrist, hand in ((wholebody.LEFT_WRIST, wholebody.LEFT_HAND), (wholebody.RIGHT_WRIST, wholebody.RIGHT_HAND)):
        # A hand away from its wrist belongs to somebody else, unless the wrist is wrong.
        far[:, hand] |= (far[:, hand.start] & ~far[:, wrist])[:, None]
    return far


def _brief(confidence: np.ndarray, max_gap: int) -> np.ndarray:
    """bool ``[T, 133]``: seen for a frame or two between long gaps."""
    known = confidence >= SEEN
    out = np.zeros(known.shape, bool)
    frames = len(known)
    mixed = np.flatnonzero(known.any(axis=0) & ~known.all(axis=0))
    for joint in mixed:
        runs = runs_of(known[:, joint])
        for index, (start, stop) in enumerate(runs):
            before = runs[index - 1][1] if index else -frames
            after = runs[index + 1][0] if index + 1 < len(runs) else 2 * frames
            if stop - start <= BRIEF and start > 0 and stop < frames and min(start - before, after - stop) > max_gap:
                out[start:stop, joint] = True
    return out


def _fill(points: np.ndarray, confidence: np.ndarray, max_gap: int, speed: float, dropped: np.ndarray) -> np.ndarray:
    """Confidence, raised in short gaps with close ends; mistakes at a shot's ends hold the nearest frame."""
    out = confidence.copy()
    frames = len(points)
    # First points not found at all, then those too uncertain to be drawn.
    for level in (SEEN, DRAWN):
        known = out >= level
        for joint in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)):
            for start, stop in runs_of(~known[:, joint]):
                wrong = dropped[start:stop, joint].any()
                if stop - start > (max(max_gap, LONGEST_SWAP) if wrong else max_gap):
                    continue
                if start == 0 or stop == frames:
                    if wrong and stop - start < frames:
                        nearest = stop if start == 0 else start - 1
                        out[start:stop, joint] = np.maximum(out[start:stop, joint], out[nearest, joint])
                    continue
                before, after = start - 1, stop
                if abs(points[after, joint] - points[before, joint]) <= speed * np.sqrt(stop - start + 1):
                    least = min(out[before, joint], out[after, joint])
                    out[start:stop, joint] = np.maximum(out[start:stop, joint], least)
    return out
