"""Smoothing without lag, by each signal's noise and motion.

Whittaker smoothers (Whittaker 1923; Eilers, Anal. Chem. 75, 2003), penalising second differences, blended per frame by
Stein's unbiased risk estimate (Stein, Ann. Stat. 9, 1981). Noise is read off fifth differences, where motion has all
but vanished.
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.ndimage import correlate1d

ORDER = 2  # of the differences that are penalised
# Cut-off of each smoother in cycles a frame; the first leaves the points as they are.
CUTOFFS = (np.inf, 0.32, 0.22, 0.155, 0.11, 0.075, 0.05, 0.033, 0.02, 0.012)
NOISE_ORDER = 5
MOST_CORRELATED = 0.45
# The risk is summed under Gaussians of these standard deviations (frames), the wider weighted by WIDE_SHARE; smoothers
# are blended by softmin at TEMPERATURE, in units of the noise variance.
WINDOW, WIDE_WINDOW, WIDE_SHARE = 3.0, 10.0, 0.3
TEMPERATURE = 5.0
HINT = 0.02


def _difference_gain(order: int, correlation: float | np.ndarray) -> float | np.ndarray:
    """Variance of differences of noise correlated as ``correlation ** lag``; white noise: 1."""
    gain: float | np.ndarray = 1.0
    for lag in range(1, order + 1):
        gain = gain + 2 * (-1) ** lag * comb(2 * order, order + lag) / comb(2 * order, order) * correlation**lag
    return gain


def noise_level(signals: np.ndarray, weights: np.ndarray, correlation: float = 0.0) -> np.ndarray:
    """float64 ``[S]``: standard deviation of the noise of ``[T, S]`` at weight 1; 0 where too little is known.

    Noise variance is inversely proportional to the weights ``[T, S]``, 0..1.
    """
    size = _differences(signals, weights, NOISE_ORDER)
    known = np.isfinite(size)
    out = np.zeros(signals.shape[1])
    enough = known.sum(axis=0) >= 8
    if enough.any():
        out[enough] = np.nanmedian(size[:, enough], axis=0) / 0.67449  # median of |z| for a standard normal z
    return out / np.sqrt(_difference_gain(NOISE_ORDER, correlation))


def _differences(signals: np.ndarray, weights: np.ndarray, order: int) -> np.ndarray:
    """Size of ``order``-th differences in units of white noise; NaN where points are missing."""
    if len(signals) <= order:
        return np.full((0, signals.shape[1]), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(weights, order + 1, axis=0)
    size = np.abs(np.diff(signals, order, axis=0)) * np.sqrt(windows.mean(axis=2) / comb(2 * order, order))
    return np.where(windows.min(axis=2) > 0.05, size, np.nan)


def noise_correlation(signals: np.ndarray, weights: np.ndarray) -> float:
    """0..0.45, of pure noise: correlation weakens the fifth difference more than the second."""
    second, fifth = (_differences(signals, weights, order) for order in (2, NOISE_ORDER))
    if np.isfinite(fifth).sum() < 200:
        return 0.0
    found = (np.nanmedian(second) / max(np.nanmedian(fifth), 1e-9)) ** 2
    grid = np.linspace(0, MOST_CORRELATED, 81)
    expected = _difference_gain(2, grid) / _difference_gain(NOISE_ORDER, grid)
    return float(np.interp(found, expected, grid))


def whittaker_smoothers(signals: np.ndarray, weights: np.ndarray, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """All smoothers applied to ``[T, S]``; weights above 0.

    Solves (W + lambda D'D) y = W x by a banded LDL' factorisation; Takahashi's recursion gives the inverse's diagonals
    from its factors, which ``scipy.linalg.solveh_banded`` does not return.

    Returns:
        smoothed ``[T, K, S]``, and its covariance with the signals ``[T, K, S]`` in noise variances at weight 1. The
        first of the K smoothers changes nothing.
    """
    frames, count = signals.shape
    lam = np.array([(2 * np.sin(np.pi * cutoff)) ** (-2 * ORDER) for cutoff in CUTOFFS[1:]])[:, None]
    shape = (frames, len(lam), count)
    stencil = [(-1) ** (ORDER - i) * comb(ORDER, i) for i in range(ORDER + 1)]
    band = np.zeros((ORDER + 1, frames))  # band[i, t] = (D'D)[t, t - i]
    for a in range(ORDER + 1):
        for b in range(a + 1):
            band[a - b, a : frames - ORDER + a] += stencil[a] * stencil[b]
    low = np.zeros((ORDER + 1, *shape))  # low[i, t] = L[t, t - i]
    pivot, solved = np.empty(shape), np.empty(shape)
    floor = 1e-9 * (1 + lam)
    for t in range(frames):
        scaled = [None] * (ORDER + 1)  # L[t, t - i] * pivot[t - i]
        diagonal, right = weights[t] + lam * band[0, t], weights[t] * signals[t]
        for i in range(min(ORDER, t), 0, -1):
            value = lam * band[i, t]
            for j in range(i + 1, min(ORDER, t) + 1):
                value = value - scaled[j] * low[j - i, t - i]
            scaled[i] = value
            low[i, t] = value / pivot[t - i]
            diagonal = diagonal - low[i, t] * value
            right = right - low[i, t] * solved[t - i]
        pivot[t] = np.maximum(diagonal, floor)
        solved[t] = right
    solved /= pivot
    inverse = np.zeros((ORDER + 1, *shape))  # inverse[i, t] = Z[t, t + i]
    for t in range(frames - 1, -1, -1):
        ahead = range(1, min(ORDER, frames - 1 - t) + 1)
        for i in ahead:
            solved[t] -= low[i, t + i] * solved[t + i]
            inverse[i, t] = -sum(low[j, t + j] * inverse[abs(i - j), t + min(i, j)] for j in ahead)
        inverse[0, t] = 1 / pivot[t] - sum(low[j, t + j] * inverse[j, t] for j in ahead)
    covariance = inverse[0]
    for lag in range(1, ORDER + 1):
        covariance[:-lag] += correlation**lag * inverse[lag, :-lag]
        covariance[lag:] += correlation**lag * inverse[lag, :-lag]
    exact = np.broadcast_to(1 / weights, signals.shape)[:, None]
    return np.concatenate([signals[:, None], solved], axis=1), np.concatenate([exact, covariance], axis=1)


def fill_in(signals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Linear interpolation where the weight is 0, constant at the ends."""
    out = signals.copy()
    frames = np.arange(len(signals))
    for column in np.flatnonzero((weights == 0).any(axis=0)):
        known = np.flatnonzero(weights[:, column] > 0)
        out[:, column] = np.interp(frames, known, signals[known, column]) if len(known) else 0
    return out


def gaussian_mean(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of ``[T, ...]`` over existing frames; ``sigma`` in frames."""
    kernel = _gaussian(sigma)
    radius = len(kernel) // 2

    def total(array: np.ndarray) -> np.ndarray:
        # By hand: scipy.ndimage adds in another order, and a job's key holds every bit of its face boxes.
        padded = np.pad(array, [(radius, radius), *[(0, 0)] * (array.ndim - 1)])
        return sum(height * padded[at : at + len(array)] for at, height in enumerate(kernel))

    return total(values) / total(np.ones((len(values), *[1] * (values.ndim - 1))))


def _gaussian(sigma: float) -> np.ndarray:
    radius = int(np.ceil(3 * sigma))
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)


def smooth(
    signals: np.ndarray, weights: np.ndarray, noise: np.ndarray, groups: np.ndarray, correlation: float = 0.0
) -> np.ndarray:
    """Smooths over time; float64 ``[T, S]``.

    Args:
        signals: float64 ``[T, S]``, filled in where the weight is 0.
        weights: ``[T, S]``, 0..1.
        noise: ``[S]``, standard deviation at weight 1; 0 keeps the known values.
        groups: int ``[S]``; equal numbers share their choice of smoothers.
        correlation: of the noise of neighbouring frames.
    """
    frames, count = signals.shape
    if frames <= ORDER + 1 or count == 0:
        return signals.copy()
    # In gaps a weak weight on the interpolated line keeps smoothers from overshooting.
    fits, covariance = whittaker_smoothers(fill_in(signals, weights), np.where(weights > 0, weights, HINT), correlation)
    members = np.zeros((count, int(groups.max()) + 1))
    members[np.arange(count), groups] = 1
    # In units of each signal's own noise, so that a group's signals count equally.
    variance = np.maximum(noise, 1e-6) ** 2
    known = weights > 0
    trust = weights[:, None]
    risk = trust * ((signals[:, None] - fits) ** 2 / variance + 2 * covariance)
    risk = np.where(known[:, None], risk, 0) @ members
    total = correlate1d(risk, _gaussian(WINDOW), axis=0, mode="constant")
    total += WIDE_SHARE * correlate1d(risk, _gaussian(WIDE_WINDOW), axis=0, mode="constant")
    belief = np.exp((total.min(axis=1, keepdims=True) - total) / TEMPERATURE)
    belief /= belief.sum(axis=1, keepdims=True)
    share = belief @ members.T
    # The first smoother changes nothing, so it says nothing about unknown values.
    share[:, 0] = np.where(known, share[:, 0], 0)
    rest = share.sum(axis=1, keepdims=True)
    share = np.where(rest > 1e-9, share / np.maximum(rest, 1e-9), np.eye(len(CUTOFFS))[4][:, None])
    return (share * fits).sum(axis=1)
