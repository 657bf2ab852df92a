"""Transfers of colour: a map of pixels that gives one picture another's statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from kornia.color import lab_to_rgb

from .statistics import LEVELS, PIXELS_AT_ONCE, Measure, histograms, moments, planar, to_lab
from .stream import own_stream

# Deviation of the noise that rounding to 8 bits makes, in RGB and about as much in CIELAB (0..100).
_RGB_NOISE, _LAB_NOISE = 12**-0.5 / 255, 12**-0.5 / 255 * 100
_MOST_STRETCH = 5.0

Transfer = Callable[[torch.Tensor], torch.Tensor]
"""sRGB to sRGB, float32 ``[3, N]``; the result may leave 0..1."""


@dataclass(frozen=True, eq=False)
class AffineTransfer:
    """``matrix @ x + offset`` (float64 ``[3, 3]`` and ``[3]``), in RGB or CIELAB."""

    matrix: np.ndarray
    offset: np.ndarray
    lab: bool = False

    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        values = to_lab(rgb) if self.lab else rgb
        matrix = torch.from_numpy(self.matrix).float().to(rgb.device)
        out = torch.from_numpy(self.offset).float().to(rgb.device)[:, None]
        for column, channel in zip(matrix.T, values):  # not a matrix product, which some hosts let run in TF32
            out = torch.addcmul(out, column[:, None], channel)
        return lab_to_rgb(out[:, None])[:, 0] if self.lab else out


@dataclass(frozen=True, eq=False)
class CurveTransfer:
    """A curve for every channel (float64 ``[3, 256]``, of the 8-bit levels), linear in between."""

    curves: np.ndarray

    def __call__(self, rgb: torch.Tensor) -> torch.Tensor:
        curves = torch.from_numpy(self.curves).float().to(rgb.device)
        place = rgb * (LEVELS - 1)
        below = place.floor().clamp(0, LEVELS - 2)
        index = below.long()
        return torch.lerp(curves.gather(1, index), curves.gather(1, index + 1), place - below)


def optimal_transport(source: np.ndarray, reference: np.ndarray, lab: bool = False) -> AffineTransfer:
    """The linear Monge-Kantorovich map between two Gaussians (Pitie & Kokaram 2007, "The Linear Monge-Kantorovitch
    Linear Colour Mapping for Example-Based Colour Transfer"):

        A = S^-1/2 (S^1/2 R S^1/2)^1/2 S^-1/2

    with the covariances S of the source and R of the reference. In directions in which the source varies by no more
    than the noise of 8 bits A goes to 1, and it stretches none more than five times: else a grey clip's noise becomes
    coloured speckles, and its levels bands.

    Args:
        source, reference: as of :func:`.statistics.moments`, in the space that ``lab`` says.
    """
    noise = (_LAB_NOISE if lab else _RGB_NOISE) ** 2
    root = _power(source[1:], 0.5)
    middle = _power(root @ reference[1:] @ root, 0.5)
    # W^1/2 (A - 1) W^1/2 + 1 with W = S (S + noise)^-1, multiplied out: nothing is divided by a variance of 0.
    inverse = _power(source[1:], -0.5, noise)
    stretch, directions = np.linalg.eigh(inverse @ (middle + noise * np.eye(3)) @ inverse)
    matrix = directions * np.minimum(stretch, _MOST_STRETCH) @ directions.T
    return AffineTransfer(matrix, reference[0] - matrix @ source[0], lab)


def mean_deviation(source: np.ndarray, reference: np.ndarray) -> AffineTransfer:
    """Mean and deviation of each channel of CIELAB (Reinhard et al. 2001, "Color Transfer between Images", there in
    their own space of logarithmic cone responses). Noise and limit as in :func:`optimal_transport`.

    Args:
        source, reference: as of :func:`.statistics.moments` in CIELAB.
    """
    return optimal_transport(_alone(source), _alone(reference), lab=True)


def _alone(moments: np.ndarray) -> np.ndarray:
    """Moments without what the channels have to do with each other."""
    return np.concatenate([moments[:1], np.diag(np.diag(moments[1:]))])


def match_histograms(source: np.ndarray, reference: np.ndarray) -> CurveTransfer:
    """Each channel's level goes to the reference's level of the same rank, counted to the middle of a level. What is
    darker or lighter than anything in the source keeps its distance.

    Args:
        source, reference: as of :func:`.statistics.histograms`.
    """
    levels = np.arange(LEVELS) / (LEVELS - 1)
    curves = np.empty((3, LEVELS))
    for curve, here, there in zip(curves, source, reference):
        seen = np.flatnonzero(there)
        curve[:] = np.interp(_ranks(here), _ranks(there)[seen], levels[seen])
        first, last = np.flatnonzero(here)[[0, -1]]
        curve[:first] = curve[first] + levels[:first] - levels[first]
        curve[last + 1 :] = curve[last] + levels[last + 1 :] - levels[last]
    return CurveTransfer(curves)


def _ranks(shares: np.ndarray) -> np.ndarray:
    return np.cumsum(shares) - shares / 2


def _power(matrix: np.ndarray, exponent: float, added: float = 0.0) -> np.ndarray:
    """Power of a symmetric positive semidefinite matrix, after ``added`` was added to its diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * (np.maximum(values, 0.0) + added) ** exponent @ vectors.T


@dataclass(frozen=True)
class Method:
    """How a clip is measured, and how statistics of source and reference become a transfer."""

    measure: Measure
    solve: Callable[[np.ndarray, np.ndarray], Transfer]


METHODS = {
    "mkl": Method(moments, optimal_transport),
    "mkl_lab": Method(partial(moments, lab=True), partial(optimal_transport, lab=True)),
    "reinhard_lab": Method(partial(moments, lab=True), mean_deviation),
    "histogram": Method(histograms, match_histograms),
}


def transfer_frame(
    frame: np.ndarray, transfer: Transfer, strength: float = 1.0, device: torch.device | str = "cpu"
) -> np.ndarray:
    """A frame (``[H, W, 3]``, uint8 or float 0..1) mixed by ``strength`` (0..1) with its transfer; in its dtype,
    rounded to nearest."""
    flat = np.ascontiguousarray(frame).reshape(-1, 3)
    out = np.empty_like(flat)
    for start in range(0, len(flat), PIXELS_AT_ONCE):
        part = slice(start, start + PIXELS_AT_ONCE)
        with own_stream(device):
            rgb = planar(torch.from_numpy(flat[part]).to(device))
            matched = torch.lerp(rgb, transfer(rgb).clamp_(0.0, 1.0), strength)
            if frame.dtype == np.uint8:
                matched = matched.mul_(255.0).add_(0.5).to(torch.uint8)
            out[part] = matched.T.cpu().numpy()
    return out.reshape(frame.shape)
