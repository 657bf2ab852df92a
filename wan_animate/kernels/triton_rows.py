"""Triton kernels over rows (tokens) for :mod:`.fused`; they round where ComfyUI or diffusers rounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl

# Neighbours in a row that one thread reads: 16 bytes of a float32 modulation. By itself Triton takes 16 elements, the
# width of fp8's store, and a warp's reads of wider dtypes lie apart (norm and fp8 on an H200: 2.0 instead of 3.5 TB/s).
TOGETHER = tl.constexpr(4)
WARPS = 4  # of 4 to 32, on an H200, of rows of 5120 and 13824
KINDS = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@triton.jit(do_not_specialize=["tokens"])
def _norm_modulate_quantize(
    x: tl.tensor, added: tl.tensor, gate: tl.tensor, mul: tl.tensor, plus: tl.tensor,
    out: tl.tensor, summed: tl.tensor, scales: tl.tensor, tokens: tl.tensor,
    gate_stride: tl.tensor, mul_stride: tl.tensor, plus_stride: tl.tensor, eps: tl.tensor,
    ADD: tl.constexpr, GATE: tl.constexpr, KEEP: tl.constexpr, NORM: tl.constexpr, AFFINE: tl.constexpr,
    MODULATE: tl.constexpr, GELU: tl.constexpr, QUANTIZE: tl.constexpr, KIND: tl.constexpr, BETWEEN: tl.constexpr,
    COLUMNS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.max_contiguous(tl.arange(0, BLOCK), TOGETHER)
    inside = at < COLUMNS
    batch = row // tokens
    start = row * COLUMNS
    value = tl.load(x + start + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        more = tl.load(added + start + at, mask=inside, other=0.0).to(tl.float32)
        if GATE:
            more *= tl.load(gate + batch * gate_stride + at, mask=inside, other=0.0).to(tl.float32)
        value = (value + more).to(KIND).to(tl.float32)
    if KEEP:
        tl.store(summed + start + at, value.to(KIND), mask=inside)
    if NORM:
        mean = tl.sum(value, axis=0) / COLUMNS
        value = tl.where(inside, value - mean, 0.0)
        value *= tl.rsqrt(tl.sum(value * value, axis=0) / COLUMNS + eps)
    if MODULATE:
        factor = tl.load(mul + batch * mul_stride + at, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(plus + batch * plus_stride + at, mask=inside, other=0.0).to(tl.float32)
        value = shift + value.to(BETWEEN).to(tl.float32) * (1.0 + factor).to(BETWEEN).to(tl.float32)
    if AFFINE:
        value *= tl.load(mul + at, mask=inside, other=0.0).to(tl.float32)
        value += tl.load(plus + at, mask=inside, other=0.0).to(tl.float32)
    if GELU:  # tanh form: x * sigmoid(2 u), by powers of two
        value = value / (1.0 + tl.exp2(-2.302208198144325 * (value + 0.044715 * value * value * value)))
    if QUANTIZE:
        value = value.to(KIND).to(tl.float32)
        largest = tl.max(tl.abs(value), axis=0)
        scale = tl.maximum(largest, 1e-12) / 448.0
        tl.store(scales + row, scale)
        tl.store(out + start + at, (value * (1.0 / scale)).to(tl.float8e4nv), mask=inside)
    else:
        tl.store(out + start + at, value.to(KIND), mask=inside)


@triton.jit(do_not_specialize=["tokens"])
def _rms_rope(
    x: tl.tensor, weight: tl.tensor, freqs: tl.tensor, tokens: tl.tensor, eps: tl.tensor,
    KIND: tl.constexpr, COUNT: tl.constexpr, HEADS: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    at = head * WIDTH + tl.arange(0, WIDTH)[None, :]
    columns = COUNT * WIDTH
    inside = head < COUNT
    by = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(x + row * columns + at, mask=inside, other=0.0).to(tl.float32)
    value *= tl.rsqrt(tl.sum(value * value) / columns + eps)
    value = (value * by).to(KIND).to(tl.float32)
    first, second = tl.split(tl.reshape(value, (HEADS, WIDTH // 2, 2)))
    turn = tl.load(freqs + (row % tokens) * (WIDTH * 2) + tl.arange(0, WIDTH * 2))
    left, right = tl.split(tl.reshape(turn, (WIDTH // 2, 2, 2)))
    a, c = tl.split(left)
    b, d = tl.split(right)
    rotated = tl.join(a[None, :] * first + b[None, :] * second, c[None, :] * first + d[None, :] * second)
    tl.store(x + row * columns + at, tl.reshape(rotated, (HEADS, WIDTH)).to(KIND), mask=inside)


def device_of(x: torch.Tensor) -> AbstractContextManager:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def norm_modulate_quantize(
    x: torch.Tensor,
    added: torch.Tensor | None,
    gate: torch.Tensor | None,
    eps: float | None,
    mul: torch.Tensor | None,
    plus: torch.Tensor | None,
    modulate: bool,
    gelu: bool,
    quantize: bool,
    keep_sum: bool,
    float32: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """(result, scales or None, sum or None); see :mod:`.fused`."""
    columns = x.shape[-1]
    x = x.contiguous()
    rows = x.numel() // columns
    out = torch.empty(x.shape, dtype=torch.float8_e4m3fn if quantize else x.dtype, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device) if quantize else None
    summed = torch.empty_like(x) if keep_sum else None
    tokens = x.shape[-2] if x.ndim > 2 else rows
    added = None if added is None else added.contiguous()

    def stride(part: torch.Tensor | None) -> int:
        return 0 if part is None or part.ndim < 3 or part.shape[0] == 1 else part.stride(0)

    with device_of(x):
        _norm_modulate_quantize[(rows,)](
            x, added, gate, mul, plus, out, summed, scales,
            tokens, stride(gate), stride(mul), stride(plus), eps or 0.0,
            ADD=added is not None, GATE=gate is not None, KEEP=keep_sum, NORM=eps is not None,
            AFFINE=mul is not None and not modulate, MODULATE=modulate, GELU=gelu, QUANTIZE=quantize,
            KIND=KINDS[x.dtype], BETWEEN=tl.float32 if float32 else KINDS[x.dtype],
            COLUMNS=columns, BLOCK=triton.next_power_of_2(columns), num_warps=WARPS,
        )  # fmt: skip
    return out, scales, summed


def rms_rope(x: torch.Tensor, weight: torch.Tensor, freqs: torch.Tensor, heads: int, eps: float) -> torch.Tensor:
    """In place."""
    columns = x.shape[-1]
    with device_of(x):
        _rms_rope[(x.numel() // columns,)](
            x, weight, freqs, x.shape[1], eps, KIND=KINDS[x.dtype],
            COUNT=heads, HEADS=triton.next_power_of_2(heads), WIDTH=columns // heads, num_warps=WARPS,
        )  # fmt: skip
    return x


def compilations(
    dim: int, heads: int, dtype: torch.dtype, affine: torch.dtype | None = None
) -> list[Callable[[], object]]:
    """The kernels of a block: ComfyUI's, or with ``affine``, the dtype of its norm's weights, diffusers'."""
    found, kind = [], KINDS[dtype]
    modulation, between = (dtype, kind) if affine is None else (torch.float32, tl.float32)

    def norm_kernel(added: bool, gate: bool, keep_sum: bool, mul: torch.dtype | None, modulate: bool) -> None:
        given = (dtype if added else None, modulation if gate else None, mul, mul)
        arguments = (dtype, *given, dtype, dtype if keep_sum else None, None, 1, 0, 0, 0, 1e-6)
        flags = dict(
            ADD=added, GATE=gate, KEEP=keep_sum, NORM=mul is not None, AFFINE=mul is not None and not modulate,
            MODULATE=modulate, GELU=False, QUANTIZE=False,
        )  # fmt: skip
        more = dict(KIND=kind, BETWEEN=between, COLUMNS=dim, BLOCK=triton.next_power_of_2(dim), num_warps=WARPS)
        found.append(lambda: _norm_modulate_quantize.warmup(*arguments, **flags, **more, grid=(1,)))

    norm_kernel(False, False, False, modulation, True)
    norm_kernel(True, True, True, affine or dtype, False)
    norm_kernel(True, False, True, modulation, True)
    norm_kernel(True, True, False, None, False)
    if affine is None:
        norm_kernel(True, False, False, None, False)  # attention to the picture and to the text
    rope = dict(KIND=kind, COUNT=heads, HEADS=triton.next_power_of_2(heads), WIDTH=dim // heads, num_warps=WARPS)
    found.append(lambda: _rms_rope.warmup(dtype, dtype, torch.float32, 1, 1e-6, **rope, grid=(1,)))
    return found
