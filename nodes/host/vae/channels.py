"""Channels-last layouts of frames and weights."""

from __future__ import annotations

import torch
from einops import rearrange


def frames_first(x: torch.Tensor) -> torch.Tensor:
    """[1, C, n, H, W] -> [n, H, W, C], contiguous."""
    return x.permute(0, 2, 3, 4, 1)[0].contiguous()


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """[n, H, W, C] -> [1, C, n, H, W], a channels-last view."""
    return x[None].permute(0, 4, 1, 2, 3)


def pad_channels(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """Zero-pads ``dim`` to a multiple of 8 channels, for tensor cores."""
    missing = -weight.shape[dim] % 8
    if not missing:
        return weight
    shape = list(weight.shape)
    shape[dim] += missing
    out = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
    out = out.contiguous(memory_format=torch.channels_last_3d)
    out.narrow(dim, 0, weight.shape[dim]).copy_(weight)
    return out


def fold_weight(weight: torch.Tensor) -> torch.Tensor:
    """[K, C, 3, h, w] -> [K, 3 * C, h, w], the oldest frame's channels first."""
    return rearrange(weight, "k c t h w -> k (t c) h w").contiguous(memory_format=torch.channels_last)
