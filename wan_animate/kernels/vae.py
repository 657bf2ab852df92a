"""Norms, sums and upsampling of the Wan VAE, each in one pass over memory.

On contiguous [n, H, W, C]; in Triton on CUDA, else PyTorch; sums and roots in float32.
"""

from __future__ import annotations

import functools
from types import ModuleType

import torch
import torch.nn.functional as F

from . import compile_ahead, triton_modules

EPS = 1e-12  # of F.normalize, which ComfyUI's RMS_norm calls
KERNELS = "the video VAE"
PLAIN = 8, 16
"""Input channels of the first convolutions, padded. No norm is before them: it only helps to choose their form."""


def _triton() -> ModuleType | None:
    return triton_modules.load("triton_vae", "the norms of the Wan VAE run as separate PyTorch operations.")


def fused(x: torch.Tensor) -> ModuleType | None:
    return _ready() if x.is_cuda and not torch.version.hip else None


@functools.cache
def _ready() -> ModuleType | None:
    compile_ahead.finish(KERNELS)
    return _triton()


def prepare(dim: int, dtype: torch.dtype, device: torch.device) -> None:
    """Start compiling the kernels of a VAE of this width (published: 96)."""
    half = dtype in (torch.float16, torch.bfloat16)  # the dtypes for which HostVAE takes the fused kernels
    kernels = _triton() if half and device.type == "cuda" else None
    if kernels is not None:
        compile_ahead.start(KERNELS, device, kernels.compilations(launches(dim), dtype))


def launches(dim: int) -> list[tuple[str, int, bool, bool | None]]:
    """(kernel, channels, has bias, variant) of every launch."""
    found: list[tuple[str, int, bool, bool | None]] = [
        ("norm_silu", 4 * dim, False, False),
        ("add", 4 * dim, False, True),
        ("upsample", 4 * dim, True, True),
    ]
    for channels in PLAIN:
        found += [("norm_silu", channels, False, True), ("norm_silu_folded", channels, False, None)]
    for channels in (dim, 2 * dim, 4 * dim):
        found += [("norm_silu", channels, bias, True) for bias in (False, True)]
        found += [("norm_silu_folded", channels, bias, None) for bias in (False, True)]
        found += [("add", channels, True, residual) for residual in (False, True)]
        if channels > dim:
            found.append(("upsample", channels, False, False))
    return found


def norm_silu(
    x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, silu: bool = True
) -> torch.Tensor:
    """``out = silu((x + bias) / |x + bias| * gain)``, the L2 norm over channels.

    Args:
        x, out: [..., C], contiguous.
        gain: [C] float32, gamma * sqrt(C).
        bias: [C] or None.
    """
    kernels = fused(x)
    if kernels is not None:
        return kernels.norm_silu(x, gain, bias, out, silu)
    if bias is not None:
        x = x + bias
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).clamp_min_(EPS)
    y = (x / length).mul_(gain)
    out.copy_(F.silu(y, inplace=True) if silu else y)
    return out


def norm_silu_folded(
    x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, past: torch.Tensor
) -> None:
    """:func:`norm_silu` into folded frames [n, H, W, 3 * C]: the two frames before and itself.

    Args:
        out: already holds what precedes x.
        past: [H, W, 2 * C], receives the last two frames.
    """
    kernels = fused(x)
    if kernels is not None:
        kernels.norm_silu_folded(x, gain, bias, out, past)
    else:
        fold(norm_silu(x, gain, bias, torch.empty_like(x)), out, past)


def fold(x: torch.Tensor, out: torch.Tensor, past: torch.Tensor) -> None:
    """:func:`norm_silu_folded` without norm and SiLU."""
    channels = x.shape[-1]
    for back in range(min(3, len(x))):
        out[back:, ..., (2 - back) * channels : (3 - back) * channels].copy_(x[: len(x) - back])
    for back in range(min(2, len(x))):
        past[..., (1 - back) * channels : (2 - back) * channels].copy_(x[-1 - back])


def add(x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None) -> torch.Tensor:
    """``x + bias + residual`` in place; bias [C]."""
    if bias is None and residual is None:
        return x
    kernels = fused(x)
    if kernels is not None:
        return kernels.add(x, bias, residual)
    if bias is not None:
        x += bias
    if residual is not None:
        x += residual
    return x


def upsample(x: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, pairs: bool = False) -> torch.Tensor:
    """Nearest-neighbour: [n, H, W, C] plus bias -> out [n, 2 * H, 2 * W, C].

    With ``pairs``, x is two frames [n, H, W, 2 * C] -> [2 * n, 2 * H, 2 * W, C].
    """
    kernels = fused(x)
    if kernels is not None:
        return kernels.upsample(x, bias, out, 2 if pairs else 1)
    if bias is not None:
        x = x + bias
    count, height, width, channels = x.shape
    if pairs:
        # [n, H, W, 2 * C] -> [2 * n, H, W, C]
        x = x.view(count, height, width, 2, channels // 2).permute(0, 3, 1, 2, 4).flatten(0, 1)
    # every pixel of [n, H, W, C] into the two rows and two columns of [n, H, 2, W, 2, C]
    out.view(-1, height, 2, width, 2, out.shape[-1]).copy_(x[:, :, None, :, None])
    return out
