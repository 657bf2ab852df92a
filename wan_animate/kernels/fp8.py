"""Matrix multiplication in fp8, with a scale for each token and for each row of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch

from .fused import E4M3, Quantized, quantize

FAST_ACCUMULATION = True


def as_rows(values: torch.Tensor, scale: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """(e4m3 [out, in], float32 scales [out, 1]) of weights ``[out, in]``.

    Args:
        scale: of weights in e4m3, for the whole or by row; None: 1.
    """
    if values.dtype == E4M3:
        rows = (values.shape[0], 1)
        if scale is None:
            return values, torch.ones(rows, dtype=torch.float32, device=values.device)
        return values, scale.reshape(-1, 1).expand(rows).contiguous()
    if values.dtype.itemsize == 1:  # e5m2: e4m3 holds its mantissa, not its range
        values = values.to(torch.bfloat16)
    found = quantize(values)
    return found.values, found.scales


def multiply(x: Quantized, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x @ weight.T + bias in x's dtype, accumulated in float32; weight and scales from :func:`as_rows`."""
    rows = x.values.reshape(-1, x.values.shape[-1])
    shape = (*x.values.shape[:-1], weight.shape[0])
    if rows.is_cuda:
        out = torch._scaled_mm(
            rows, weight.t(), scale_a=x.scales, scale_b=scales.t(), out_dtype=torch.bfloat16,
            bias=None if bias is None else bias.to(torch.bfloat16), use_fast_accum=FAST_ACCUMULATION,
        )  # fmt: skip
        return out.to(x.dtype).view(shape)
    # On a CPU torch._scaled_mm takes one scale for the whole tensor: those of the rows are applied after it.
    one = torch.ones((), device=rows.device)
    out = torch._scaled_mm(rows, weight.t(), scale_a=one, scale_b=one, out_dtype=torch.float32)
    out = out * x.scales * scales.t()
    return (out if bias is None else out + bias.float()).to(x.dtype).view(shape)


@cache
def refusal(device: torch.device) -> str | None:
    """Why it has no fp8 matrix multiplication, or None."""
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 9):
            name, number = torch.cuda.get_device_name(device), ".".join(map(str, capability))
            return f"{name} has no fp8 (compute capability {number}, 8.9 needed)"
    elif device.type not in ("cuda", "cpu"):
        return f"there is no fp8 matrix multiplication on {device.type}"
    try:
        sample = torch.eye(32, device=device, dtype=torch.bfloat16)
        out = multiply(quantize(sample), *as_rows(sample), sample[0])
        if not torch.isfinite(out).all():
            return "a small multiplication gave no finite numbers"
    except Exception as error:
        return f"torch {torch.__version__} refuses them here ({' '.join(str(error).split())})"
    return None


def mean_errors(seen: Mapping[str, Sequence[torch.Tensor]]) -> dict[str, float]:
    """By layer, of what was seen of it; layers of which nothing was are left out."""
    return {name: sum(map(float, found)) / len(found) for name, found in seen.items() if found}


def said(count: int, errors: Mapping[str, float]) -> str:
    """How far ``count`` layers in fp8 are off, by the relative L2 errors of some."""
    worst = max(errors, key=lambda name: errors[name])
    mean = sum(errors.values()) / len(errors)
    return (
        f"{count} linear layers in fp8; output of a layer {mean:.1%} off on average, at most {errors[worst]:.1%} "
        f"({worst}, of {len(errors)})"
    )
