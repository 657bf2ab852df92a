"""Smooth colour maps near the identity: measured on pairs of colours, turned around, applied to frames.

A map adds to each channel a sum of :func:`terms` of the colour, so that measuring is linear least squares. Over a
segment it is given at a few knots and linear between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ..workers import each

TERMS = 7
PRIOR = 0.05  # standard deviation of a term's weight without evidence
KNOT_PRIOR = 0.025  # and of its change from one knot to the next
NOISE = 0.01  # standard deviation of a pair of weight 1
ROUNDS = 4
TUKEY = 4.685  # residuals in standard deviations that count no more: 95 % efficiency on Gaussian noise
FLOOR = 0.003  # standard deviation; smaller residuals are no errors
ROWS = 64  # rows of a frame at a time, to stay in the cache


@dataclass(frozen=True, eq=False)
class Pairs:
    """Colours of one frame that ought to be equal.

    Attributes:
        source, target: ``[n, 3]`` in 0..1.
        weight: ``[n]``, how many measurements each counts for.
        frame: its number.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    frame: float = 0.0


@dataclass(frozen=True, eq=False)
class ColorMap:
    """A map that may change over time.

    Attributes:
        weights: float64 ``[K, 3, 7]``: of :func:`terms` for each channel; 0 is the identity.
        knots: frames, rising, ``[K]``.
    """

    weights: np.ndarray
    knots: np.ndarray

    def at(self, frame: float) -> np.ndarray:
        """The weights at a frame, ``[3, 7]``."""
        return np.tensordot(hats(frame, self.knots), self.weights, 1)

    def __call__(self, colors: np.ndarray, frame: float = 0.0) -> np.ndarray:
        """Colours ``[n, 3]`` of a frame mapped, float64, clipped to 0..1."""
        return np.clip(colors + np.einsum("cnt,ct->nc", terms(colors), self.at(frame)), 0, 1)

    def inverse(self, colors: np.ndarray) -> ColorMap:
        """The map back, for colours like ``colors`` ``[n, 3]``."""
        weight = np.full(len(colors), 2000.0 / max(len(colors), 1))
        back = [fit([[Pairs(self(colors, frame), colors, weight)]], rounds=0).map.weights[0] for frame in self.knots]
        return ColorMap(np.stack(back), self.knots)

    def farthest(self, colors: np.ndarray) -> float:
        """The largest change of a channel of ``colors``, over all knots."""
        return float(max(np.abs(self(colors, frame) - colors).max() for frame in self.knots))


@dataclass(frozen=True, eq=False)
class Fit:
    """A measured map.

    Attributes:
        map: the map.
        agreement: part of each group's pairs that follow it, 0..1.
        spread: robust standard deviation of what it leaves in each group.
    """

    map: ColorMap
    agreement: list[float]
    spread: list[float]


def terms(colors: np.ndarray) -> np.ndarray:
    """Of colours ``[n, 3]``, for each channel ``[3, n, 7]``: 1, r, g, b, and of the channel's value v
    v(1 - v), v(1 - v)(1 - 2v) and sqrt(v) - v, which bend to a gamma of 1.02 within 0.0001 above v = 0.05."""
    v = np.clip(colors, 0, 1).astype(np.float64)
    out = np.empty((3, len(v), TERMS))
    out[..., 0], out[..., 1:4] = 1, v
    bend = v * (1 - v)
    out[..., 4], out[..., 5], out[..., 6] = bend.T, (bend * (1 - 2 * v)).T, (np.sqrt(v) - v).T
    return out


def hats(frame: float, knots: np.ndarray) -> np.ndarray:
    """How much of each knot a frame has, ``[K]``: linear between knots, the first and last beyond them."""
    return np.array([np.interp(frame, knots, row) for row in np.eye(len(knots))])


def fit(groups: Sequence[Sequence[Pairs]], knots: np.ndarray | None = None, rounds: int = ROUNDS) -> Fit:
    """The map from sources to targets, by Tukey's biweight and a prior at the identity.

    Noise belongs into the targets: in the sources it would flatten the map.

    Args:
        groups: pairs of one kind, which leave residuals of one size.
        knots: frames at which the map is given; None: it does not change.
        rounds: of reweighting; 0 trusts every pair.
    """
    knots = np.zeros(1) if knots is None else knots
    pairs = [p for group in groups for p in group]
    ends = np.cumsum([0, *map(len, groups)])
    parts = [slice(first, last) for first, last in zip(ends, ends[1:])]
    basis = [terms(p.source) for p in pairs]
    change = [(p.target - p.source).astype(np.float64) for p in pairs]
    share = [hats(p.frame, knots) for p in pairs]
    trust = [np.ones(len(p.weight)) for p in pairs]
    prior = _precision(len(knots))
    for at in range(rounds + 1):
        left_side = np.repeat(prior[None], 3, axis=0).reshape(3, len(knots), TERMS, len(knots), TERMS)
        right_side = np.zeros((3, len(knots), TERMS))
        for p, x, y, hat, sure in zip(pairs, basis, change, share, trust):
            weighted = x * (p.weight * sure / NOISE**2)[None, :, None]
            square = weighted.transpose(0, 2, 1) @ x
            left_side += np.outer(hat, hat)[None, :, None, :, None] * square[:, None, :, None, :]
            right_side += hat[None, :, None] * np.einsum("cnt,nc->ct", weighted, y)[:, None]
        flat = len(knots) * TERMS
        solved = np.linalg.solve(left_side.reshape(3, flat, flat), right_side.reshape(3, flat, 1))
        weights = solved.reshape(3, len(knots), TERMS)
        left = [
            np.linalg.norm(y - np.einsum("cnt,ct->nc", x, np.einsum("ckt,k->ct", weights, hat)), axis=1)
            for x, y, hat in zip(basis, change, share)
        ]
        # 1.54: median length of three unit Gaussians
        spread = [max(_median(left[part], pairs[part]) / 1.54, FLOOR) for part in parts]
        if at < rounds:
            trust = [
                np.clip(1 - (one / (TUKEY * wide)) ** 2, 0, 1) ** 2
                for part, wide in zip(parts, spread)
                for one in left[part]
            ]
    # Rounded, as the last bits of a sum are the machine's.
    color_map = ColorMap(np.round(weights.transpose(1, 0, 2), 9), knots)
    return Fit(color_map, [_agreement(pairs[part], trust[part]) for part in parts], spread)


def _agreement(pairs: Sequence[Pairs], trust: Sequence[np.ndarray]) -> float:
    total = sum(float(p.weight.sum()) for p in pairs)
    return sum(float((p.weight * sure).sum()) for p, sure in zip(pairs, trust)) / total if total else 0.0


def _precision(count: int) -> np.ndarray:
    """The prior's matrix: the first knot near the identity, each further one near the one before."""
    steps = np.eye(count) - np.eye(count, k=-1)
    scale = np.full(count, KNOT_PRIOR)
    scale[0] = PRIOR
    return np.kron(steps.T @ np.diag(scale**-2) @ steps, np.eye(TERMS))


def _median(left: Sequence[np.ndarray], pairs: Sequence[Pairs]) -> float:
    if not sum(map(len, left)):
        return 0.0
    step = max(sum(map(len, left)) // 4000, 1)
    values = np.concatenate(left)[::step]
    order = np.argsort(values, kind="stable")
    total = np.cumsum(np.concatenate([p.weight for p in pairs])[::step][order])
    return float(values[order[min(int(np.searchsorted(total, total[-1] / 2)), len(values) - 1)]])


def apply(color_map: ColorMap, frames: torch.Tensor) -> None:
    """Map frames, float32 ``[n, H, W, 3]`` in 0..1 on the CPU, in place; the first is frame 0."""
    each(lambda part, numbers: _apply(color_map, part, numbers), frames, np.arange(len(frames)))


def _apply(color_map: ColorMap, frames: torch.Tensor, numbers: np.ndarray) -> None:
    out, power, part = (np.empty((ROWS, *frames.shape[2:]), np.float32) for _ in range(3))  # fresh memory costs more
    for frame, number in zip(frames, numbers):
        affine, curve = _polynomial(color_map.at(float(number)))
        for start in range(0, len(frame), ROWS):
            rows = frame[start : start + ROWS]
            v = np.ascontiguousarray(rows.numpy())
            o, p, t = out[: len(v)], power[: len(v)], part[: len(v)]
            cv2.transform(v, affine, o)
            cv2.transform(cv2.sqrt(np.maximum(v, 0, p), p), curve[2], t)
            o += t
            cv2.transform(np.multiply(v, v, p), curve[0], t)
            o += t
            cv2.transform(np.multiply(p, v, p), curve[1], t)
            o += t
            rows.copy_(torch.from_numpy(o).clamp_(0, 1))


def _polynomial(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32: the affine part ``[3, 4]``, and diagonal matrices ``[3, 3, 3]`` for v^2, v^3 and sqrt(v)."""
    bend, s, root = weights[:, 4], weights[:, 5], weights[:, 6]  # of v - v^2, v - 3 v^2 + 2 v^3, sqrt(v) - v
    matrix = weights[:, 1:4] + np.eye(3) + np.diag(bend + s - root)
    curve = np.stack([np.diag(of) for of in (-bend - 3 * s, 2 * s, root)])
    return np.hstack([matrix, weights[:, :1]]).astype(np.float32), curve.astype(np.float32)
