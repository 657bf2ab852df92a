"""The motion encoder's blur, and content sums for the step cache.

The blur goes by channel: bit-identical on a CPU to the host's, which makes single maps of the channels first. PyTorch's
depthwise convolution was 13 times faster on an H100; CUDA has a kernel since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ....wan_animate.kernels.blur import blur

_WORDS = 1 << 20  # summed at a time (8 MB), to bound the temporaries


def content_sums(values: torch.Tensor) -> tuple[int, int]:
    """Two 64-bit sums over a tensor's raw bits, the second weighted by position. Synchronizes once."""
    raw = values.detach().contiguous().flatten().view(torch.uint8)
    whole = raw.numel() // 8 * 8
    words, rest = raw[:whole].view(torch.int64), raw[whole:].to(torch.int64)
    # Odd multipliers (splitmix64's constant) modulo 2**64: neighbours never share a weight.
    weights = torch.arange(1, min(_WORDS, max(len(words), 8)) + 1, device=values.device) * -7046029254386353131 | 1
    plain, weighted = rest.sum(), (rest * weights[: len(rest)]).sum()
    for index, part in enumerate(words.split(_WORDS)):
        plain = plain + part.sum() * (2 * index + 1)
        weighted = weighted + (part * weights[: len(part)]).sum() * (2 * index + 1)
    plain, weighted = torch.stack((plain, weighted)).tolist()
    return plain, weighted


@contextmanager
def fast_blur(encoder: torch.nn.Module) -> Iterator[None]:
    blurs: list[Any] = [
        module for module in encoder.modules() if type(module).__name__ == "Blur" and hasattr(module, "kernel")
    ]
    for one in blurs:
        one.forward = _Blur(one.kernel, one.pad)
    try:
        yield
    finally:
        for one in blurs:
            del one.forward


class _Blur:
    def __init__(self, kernel: torch.Tensor, pad: tuple[int, int]) -> None:
        self.kernel, self.pad = kernel, pad

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        return blur(maps, torch.flip(self.kernel.to(maps), (0, 1)), self.pad)
