"""Chooses the form of a convolution by timing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ....wan_animate.kernels import vae
from ....wan_animate.log import get_logger
from . import memory
from .channels import channels_first, fold_weight

log = get_logger(__name__)
MARGIN = 0.9  # near ties keep the host's 3D convolution, so that two runs of ComfyUI round alike
_found: dict[tuple, bool] = {}


def folds(conv: Any, height: int, width: int) -> bool:
    """Whether :class:`.layers.CausalConv`'s folded 2D form is faster, measured once per shape."""
    if not conv.weights.cudnn:
        return False
    key = (conv.weights.device, conv.weights.dtype, tuple(conv.weight.shape), conv.padding, height, width)
    if key not in _found:
        _found[key] = _measure(conv, height, width)
    return _found[key]


def _measure(conv: Any, height: int, width: int) -> bool:
    weights, channels = conv.weights, conv.in_channels
    # as many frames as a chunk has, in half of the memory: small frames fill the card only by their number
    frames = max(2, min(16, memory.AT_ONCE // 2 // (height * width * channels)))
    try:
        frames_3d = torch.randn(frames + 2, height, width, channels, dtype=weights.dtype, device=weights.device)
        folded, weight = frames_3d.new_empty(frames, height, width, 3 * channels), fold_weight(conv.weight)
        past, gain = frames_3d.new_empty(height, width, 2 * channels), torch.ones(channels, device=weights.device)
        new, out = frames_3d[2:].clone(), frames_3d[2:]

        def in_3d() -> None:
            vae.norm_silu(new, gain, None, out)
            weights.convolve(channels_first(frames_3d), conv.weight, padding=(0, *conv.padding))

        def in_2d() -> None:
            vae.norm_silu_folded(new, gain, None, folded, past)
            weights.convolve(folded.permute(0, 3, 1, 2), weight, padding=conv.padding)

        in_2d()
        folded[0, ..., : 2 * channels].zero_()
        folded[1, ..., :channels].zero_()
        taken = [_milliseconds(work) for work in (in_3d, in_2d)]
    except torch.cuda.OutOfMemoryError:
        return False
    log.info(
        "Wan VAE convolution %d to %d at %dx%d: %.2f ms a frame, folded %.2f ms",
        channels, conv.out_channels, width, height, *(one / frames for one in taken),
    )  # fmt: skip
    return taken[1] < MARGIN * taken[0]


def _milliseconds(work: Callable[[], None], times: int = 3) -> float:
    work()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / times
