"""What lies between the convolutions of the Wan VAE, one pass over memory each: norms, sums, upsampling.

Activations are frames with channels last, ``[n, H, W, C]``, contiguous: a norm is then a sum along one row, and the
kernels read and write every number once. They are Triton kernels where Triton is there and the frames are on a CUDA
card, else the same maths in torch. Sums and roots are in float32 either way.
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType

import torch
import torch.nn.functional as F

from . import compile_ahead

EPS = 1e-12  # of F.normalize, which the host's RMS_norm calls
KERNELS = "the video VAE"


@functools.cache
def _triton() -> ModuleType | None:
    """The compiled kernels' module, or None where Triton does not work."""
    try:
        from . import triton_vae
    except ImportError as error:
        logging.info("Wan VAE: no Triton here (%s), its norms run as separate torch operations", error)
        return None
    return triton_vae


def fused(x: torch.Tensor) -> ModuleType | None:
    """The Triton kernels if they can take this tensor, else None."""
    return _ready() if x.is_cuda and not torch.version.hip else None


@functools.cache
def _ready() -> ModuleType | None:
    compile_ahead.finish(KERNELS)
    return _triton()


def prepare(dim: int, dtype: torch.dtype, device: torch.device) -> None:
    """Begin to compile the kernels of a VAE of this width (96: the published one) in the background."""
    half = dtype in (torch.float16, torch.bfloat16)  # the dtypes for which HostVAE takes the fused kernels
    kernels = _triton() if half and device.type == "cuda" else None
    if kernels is not None:
        compile_ahead.start(KERNELS, device, kernels.compilations(launches(dim), dtype))


def launches(dim: int) -> list[tuple[str, int, bool, bool | None]]:
    """(kernel, channels, with a bias, with SiLU or a residual or in pairs) of all that a VAE of this width launches."""
    found = [("norm_silu", 4 * dim, False, False), ("add", 4 * dim, False, True), ("upsample", 4 * dim, True, True)]
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
    """``out = silu((x + bias) / |x + bias| * gain)``, the length taken over the channels.

    Args:
        x, out: ``[..., C]``, contiguous.
        gain: ``[C]`` float32, the norm's gamma times the root of C.
        bias: ``[C]``, of the convolution that made x, or None.
        silu: False leaves out the SiLU.
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
    """As :func:`norm_silu`, written three times over: each frame of ``out`` ``[n, H, W, 3C]`` has the two frames before
    it and its own. What of it comes from before x is there already. ``past`` ``[H, W, 2C]`` gets the last two frames
    (the last one where x has one)."""
    kernels = fused(x)
    if kernels is not None:
        kernels.norm_silu_folded(x, gain, bias, out, past)
    else:
        fold(norm_silu(x, gain, bias, torch.empty_like(x)), out, past)


def fold(x: torch.Tensor, out: torch.Tensor, past: torch.Tensor) -> None:
    """x ``[n, H, W, C]`` as it is in the place of :func:`norm_silu_folded`'s norm."""
    channels = x.shape[-1]
    for back in range(min(3, len(x))):
        out[back:, ..., (2 - back) * channels : (3 - back) * channels].copy_(x[: len(x) - back])
    for back in range(min(2, len(x))):
        past[..., (1 - back) * channels : (2 - back) * channels].copy_(x[-1 - back])


def add(x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None) -> torch.Tensor:
    """``x + bias + residual`` in place of x (``[..., C]`` contiguous; bias ``[C]``)."""
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
    """Every pixel four times: ``[n, H, W, C]`` -> out ``[n, 2H, 2W, C]``.

    With ``pairs``, x is ``[n, H, W, 2C]`` and each of its frames is two, the first C channels the earlier one: out is
    ``[2n, 2H, 2W, C]``. ``bias`` (as many as x has channels) is added on the way.
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
