"""Fused norm, modulation, residual, GELU, quantization and rotation over tokens.

In Triton on CUDA, else by PyTorch's operations, in the order of ComfyUI or of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F

from ..log import get_logger
from . import compile_ahead, triton_modules

KERNELS = "fused blocks"
E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0
_CHUNK = 1 << 24  # elements quantized at a time without Triton, to bound the temporaries

log = get_logger(__name__)


@dataclass(frozen=True)
class Quantized:
    """An fp8 tensor with a scale per row.

    Attributes:
        values: float8_e4m3fn [..., columns].
        scales: float32 [rows, 1], multiplied with values.
        dtype: once dequantized.
    """

    values: torch.Tensor
    scales: torch.Tensor
    dtype: torch.dtype

    @property
    def shape(self) -> torch.Size:
        return self.values.shape

    def dequantize(self) -> torch.Tensor:
        columns = self.values.shape[-1]
        # In float32: in float16 the scales of small rows would round to zero.
        rows = self.values.reshape(-1, columns).float() * self.scales  # [rows, columns] * [rows, 1]
        return rows.to(self.dtype).reshape(self.values.shape)


def kernels() -> ModuleType | None:
    return triton_modules.load("triton_rows", "blocks are computed by PyTorch's own operations.")


@cache
def _ready() -> ModuleType | None:
    compile_ahead.finish(KERNELS)
    return kernels()


def prepare(device: torch.device, dtype: torch.dtype, dim: int, heads: int, affine: torch.dtype | None = None) -> None:
    """Start compiling the kernels for a transformer of this width.

    Args:
        affine: of diffusers' blocks, the dtype of the norm's weights.
    """
    triton = kernels() if device.type == "cuda" else None
    if triton is not None and dtype in triton.KINDS:
        compile_ahead.start(KERNELS, device, triton.compilations(dim, heads, dtype, affine))


def works_on(x: torch.Tensor) -> bool:
    """Whether the kernels are there for a tensor's device and dtype."""
    return _kernel("norm_modulate_quantize", x) is not None and _kernel("rms_rope", x) is not None


_failed: set[str] = set()  # kernels that could not be built or run here


def _kernel(name: str, x: torch.Tensor) -> Callable | None:
    if not x.is_cuda or name in _failed or torch.compiler.is_compiling():
        return None
    triton = _ready()
    return getattr(triton, name) if triton is not None and x.dtype in triton.KINDS else None


def _give_up(name: str, error: Exception) -> None:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        raise error
    _failed.add(name)
    log.warning("the fused kernel %s does not work here, PyTorch's own are used: %s", name, error)


def norm_modulate_quantize(
    x: torch.Tensor,
    *,
    added: torch.Tensor | None = None,
    gate: torch.Tensor | None = None,
    eps: float | None = None,
    mul: torch.Tensor | None = None,
    plus: torch.Tensor | None = None,
    modulate: bool = False,
    gelu: bool = False,
    quantize: bool = False,
    keep_sum: bool = False,
    float32: bool = False,
) -> tuple[torch.Tensor | Quantized, torch.Tensor | None]:
    """In this order: x + added * gate, LayerNorm, * mul + plus (or * (1 + mul) + plus), GELU, fp8.

    Args:
        x, added: [batch, tokens, columns] or [rows, columns].
        gate: [batch or 1, 1, columns].
        eps: None skips the LayerNorm.
        mul, plus: [columns], or with ``modulate`` [batch or 1, 1, columns].
        gelu: tanh form.
        keep_sum: also return x + added * gate.
        float32: round sum and result alone to x's dtype, as diffusers; else also in between, as ComfyUI.

    Returns:
        (result, :class:`Quantized` with ``quantize``; sum or None)
    """
    kernel = _kernel("norm_modulate_quantize", x) if x.shape[-1] <= 1 << 15 else None
    if kernel is not None:
        try:
            out, scales, summed = kernel(x, added, gate, eps, mul, plus, modulate, gelu, quantize, keep_sum, float32)
            return (Quantized(out, scales, x.dtype) if quantize else out), summed
        except Exception as error:
            _give_up("norm_modulate_quantize", error)
    if added is not None and gate is not None:
        x = (x.float() + added.float() * gate).type_as(x) if float32 else torch.addcmul(x, added, gate)
    elif added is not None:
        x = x + added
    summed = x if keep_sum else None
    columns = x.shape[-1:]
    if modulate:
        assert eps is not None and mul is not None and plus is not None
        if float32:
            x = (F.layer_norm(x.float(), columns, None, None, eps) * (1 + mul) + plus).type_as(x)
        else:
            x = torch.addcmul(plus, F.layer_norm(x, columns, None, None, eps), 1 + mul)
    elif eps is not None and float32:
        weight, bias = (None if part is None else part.float() for part in (mul, plus))
        x = F.layer_norm(x.float(), columns, weight, bias, eps).type_as(x)
    elif eps is not None:
        x = F.layer_norm(x, columns, mul, plus, eps)
    if gelu:
        x = F.gelu(x, approximate="tanh")
    return (_quantize(x) if quantize else x), summed


def quantize(x: torch.Tensor) -> Quantized:
    """Every row scaled to fp8's maximum."""
    out, _ = norm_modulate_quantize(x, quantize=True)
    assert isinstance(out, Quantized)
    return out


def _quantize(x: torch.Tensor) -> Quantized:
    rows = x.reshape(-1, x.shape[-1])  # [tokens of all batches, columns]
    scales = rows.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / E4M3_MAX
    if torch.compiler.is_compiling() or rows.numel() <= _CHUNK:
        values = (rows.float() / scales).to(E4M3)
    else:
        values = torch.empty(rows.shape, dtype=E4M3, device=x.device)
        count = max(_CHUNK // rows.shape[1], 1)
        for out, part, scale in zip(values.split(count), rows.split(count), scales.split(count)):
            out.copy_(part.float() / scale)
    return Quantized(values.reshape(x.shape), scales, x.dtype)


def rms_rope(
    x: torch.Tensor,
    weight: torch.Tensor,
    freqs: torch.Tensor,
    heads: int,
    eps: float,
    rotate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """RMSNorm over all heads together, then rotary embedding; x may be overwritten.

    Args:
        x: [batch, tokens, heads * width].
        weight: [heads * width].
        freqs: float32 [1, tokens, 1, width / 2, 2, 2], rotation matrices.
        rotate: the embedding without Triton, (x [batch, tokens, heads, width], freqs) -> x.

    Returns:
        [batch, tokens, heads, width]
    """
    width = x.shape[-1] // heads
    kernel = _kernel("rms_rope", x)
    fits = x.is_contiguous() and freqs.is_contiguous() and freqs.dtype == torch.float32
    if kernel is not None and fits and width & (width - 1) == 0 and freqs.shape[:2] == (1, x.shape[1]):
        try:
            return kernel(x, weight, freqs, heads, eps).unflatten(-1, (heads, width))
        except Exception as error:
            _give_up("rms_rope", error)
    x = F.rms_norm(x, x.shape[-1:], weight, eps).unflatten(-1, (heads, width))
    return rotate(x, freqs)
