"""Which form a causal convolution takes on this card, by measurement: see :class:`.layers.CausalConv`."""

from __future__ import annotations

import torch

from ....wan_animate.log import get_logger
from ..kernels import vae
from . import memory

log = get_logger(__name__)

CLEARLY = 0.9  # near ties keep the form that the host has, so that two runs of ComfyUI round alike
_found: dict[tuple, bool] = {}


def folds(conv, height: int, width: int) -> bool:
    """Whether folding is the faster for frames of this size; measured once a process for every width and size."""
    if not conv.weights.cudnn:
        return False
    key = (conv.weights.device, conv.weights.dtype, tuple(conv.weight.shape), conv.padding, height, width)
    if key not in _found:
        _found[key] = _measure(conv, height, width)
    return _found[key]


def _measure(conv, height: int, width: int) -> bool:
    from .channels import channels_first, fold_weight

    weights, channels = conv.weights, conv.in_channels
    # as many as are worked on at once, in half of the memory: small pictures fill the card by their number
    frames = max(2, min(16, memory.AT_ONCE // 2 // (height * width * channels)))
    try:
        row = torch.randn(frames + 2, height, width, channels, dtype=weights.dtype, device=weights.device)
        folded, weight = row.new_empty(frames, height, width, 3 * channels), fold_weight(conv.weight)
        past, gain = row.new_empty(height, width, 2 * channels), torch.ones(channels, device=weights.device)
        new, out = row[2:].clone(), row[2:]

        def in_a_row():
            vae.norm_silu(new, gain, None, out)
            weights.convolve(channels_first(row), conv.weight, padding=(0, *conv.padding))

        def in_a_fold():
            vae.norm_silu_folded(new, gain, None, folded, past)
            weights.convolve(folded.permute(0, 3, 1, 2), weight, padding=conv.padding)

        in_a_fold()
        folded[0, ..., : 2 * channels].zero_()
        folded[1, ..., :channels].zero_()
        taken = [_milliseconds(work) for work in (in_a_row, in_a_fold)]
    except torch.cuda.OutOfMemoryError:
        return False
    log.info(
        "Wan VAE convolution %d to %d at %dx%d: %.2f ms a frame, folded %.2f ms",
        channels, conv.out_channels, width, height, *(one / frames for one in taken),
    )  # fmt: skip
    return taken[1] < CLEARLY * taken[0]


def _milliseconds(work, times: int = 3) -> float:
    work()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / times
