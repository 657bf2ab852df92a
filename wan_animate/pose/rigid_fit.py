"""Rigid fit of face, hands and feet, and modes of their shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..time_series import fill_in
from . import wholebody

FACE = list(range(23, 91))
# Three neighbours on jaw, brows, nose, eyes and lips, as indices into FACE.
FACE_LINES = [
    (at, at + 1, at + 2)
    for start, stop in ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68))
    for at in range(start, stop - 2)
]
# A part's points, the body points attached to it, and whether rotation and scale are fitted.
PARTS = (
    (FACE, list(range(5)), True),
    (list(range(91, 112)), [wholebody.LEFT_WRIST], True),
    (list(range(112, 133)), [wholebody.RIGHT_WRIST], True),
    (list(range(17, 20)), [wholebody.LEFT_ANKLE], False),
    (list(range(20, 23)), [wholebody.RIGHT_ANKLE], False),
)
BODY = list(range(17))


@dataclass(frozen=True)
class RigidFit:
    """A part's pose: point = centre + turn * (place in the part).

    Attributes:
        centre, turn: complex ``[T]``; ``turn`` is rotation and scale.
        size: root mean square radius in pixels; 0 when never seen.
        weights: ``[T]`` 0..1, share of the part that was seen.
    """

    centre: np.ndarray
    turn: np.ndarray
    size: float
    weights: np.ndarray


def rigid_fit(points: np.ndarray, weights: np.ndarray, turns: bool) -> RigidFit:
    """Fits a shape, itself estimated, to complex ``[T, n]`` (weights 0..1) by least squares.

    ``turns`` fits rotation and scale, else translation only.
    """
    frames = len(points)
    total = weights.sum(axis=1)
    turn = np.ones(frames, np.complex128)
    if not (total > 0).any():
        return RigidFit(np.zeros(frames, np.complex128), turn, 0.0, np.zeros(frames))
    mass = np.maximum(total, 1e-12)
    middle = (weights * points).sum(axis=1) / mass
    best = int(np.argmax(total))
    shape = np.where(weights[best] > 0, points[best] - middle[best], 0)
    by_point = weights.sum(axis=0)
    for _ in range(4):
        inner = (weights @ shape) / mass
        if turns:
            local = shape - inner[:, None]
            above = (weights * local.conj() * (points - middle[:, None])).sum(axis=1)
            below = (weights * np.abs(local) ** 2).sum(axis=1)
            # Coinciding points say nothing about rotation.
            told = below > 0.05 * mass * (np.abs(shape) ** 2).mean()
            turn = np.where(told, above / np.maximum(below, 1e-12), 1)
            turn = np.where(np.abs(turn) < 0.05, 1, turn)
        seen = (points - (middle - turn * inner)[:, None]) / turn[:, None]
        shape = (weights * seen).sum(axis=0) / np.maximum(by_point, 1e-12)
        shape = np.where(by_point > 0, shape - (by_point * shape).sum() / by_point.sum(), 0)
        if turns:  # normalised to the median size
            scale = np.median(np.abs(turn[total > 0.3 * total.max()]))
            shape, turn = shape * scale, turn / scale
    centre = middle - turn * ((weights @ shape) / mass)
    size = float(np.sqrt((by_point * np.abs(shape) ** 2).sum() / by_point.sum()))
    return RigidFit(centre, turn, size, total / points.shape[1])


@dataclass(frozen=True)
class Modes:
    """Signals = base ``[S]`` + scores ``[T, M]`` @ modes ``[M, S]`` (orthonormal) + rest ``[T, S]``.

    Attributes:
        shrink: ``[M]`` 0..1, share of a mode that is not noise.
    """

    base: np.ndarray
    modes: np.ndarray
    scores: np.ndarray
    rest: np.ndarray
    shrink: np.ndarray


def modes(signals: np.ndarray, weights: np.ndarray, noise: float) -> Modes:
    """Principal components of ``[T, S]`` above noise of this standard deviation at weight 1.

    Those below the noise edge (Marchenko & Pastur 1967) go to ``rest``; others are shrunk (Gavish & Donoho, IEEE Trans.
    Inf. Theory 63, 2017).
    """
    filled = fill_in(signals, weights)
    by_frame = weights.mean(axis=1)
    base = (by_frame[:, None] * filled).sum(axis=0) / by_frame.sum()
    centred = filled - base
    _, strength, directions = np.linalg.svd(centred * np.sqrt(by_frame)[:, None], full_matrices=False)
    known, count = max(int((by_frame > 0).sum()), 1), signals.shape[1]
    long, ratio = max(known, count), min(known, count) / max(known, count)
    size = strength / (max(noise, 1e-9) * np.sqrt(long))
    real = size > 1 + np.sqrt(ratio)
    size, directions = size[real], directions[real]
    scores = centred @ directions.T
    shrink = np.sqrt((size**2 - ratio - 1) ** 2 - 4 * ratio) / size**2
    return Modes(base, directions, scores, centred - scores @ directions, shrink)
