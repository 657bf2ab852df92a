"""The Triton kernels of :mod:`.vae`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl

ELEMENTS = 4096  # per program
# do_not_specialize: sizes of the clip; specializing on them would compile more kernels for nothing.


@triton.jit(do_not_specialize=["rows"])
def _norm_silu(
    x: tl.tensor, gain: tl.tensor, bias: tl.tensor, out: tl.tensor, rows: tl.tensor,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, HAS_BIAS: tl.constexpr, SILU: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.arange(0, BC)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    at = row[:, None] * C + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    length = tl.sqrt(tl.sum(value * value, axis=1))
    value = value * (1.0 / tl.maximum(length, 1e-12))[:, None]
    value *= tl.load(gain + channel, mask=channel < C, other=0.0)[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["frames", "pixels"])
def _norm_silu_folded(
    x: tl.tensor, gain: tl.tensor, bias: tl.tensor, out: tl.tensor, past: tl.tensor,
    frames: tl.tensor, pixels: tl.tensor,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, HAS_BIAS: tl.constexpr,
) -> None:  # fmt: skip
    frame = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.arange(0, BC)
    inside = (pixel < pixels)[:, None] & (channel < C)[None, :]
    value = tl.load(x + (frame * pixels + pixel)[:, None] * C + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    length = tl.sqrt(tl.sum(value * value, axis=1))
    value = value * (1.0 / tl.maximum(length, 1e-12))[:, None]
    value *= tl.load(gain + channel, mask=channel < C, other=0.0)[None, :]
    value = (value / (1.0 + tl.exp(-value))).to(out.dtype.element_ty)
    size = (frame * 0 + pixels) * C
    at = out + (frame * pixels + pixel)[:, None] * (3 * C) + channel[None, :]
    tl.store(at + 2 * C, value, mask=inside)
    tl.store(at + 3 * size + C, value, mask=inside & (frame + 1 < frames))
    tl.store(at + 6 * size, value, mask=inside & (frame + 2 < frames))
    place = past + pixel[:, None] * (2 * C) + channel[None, :]
    tl.store(place + C, value, mask=inside & (frame + 1 == frames))
    tl.store(place, value, mask=inside & (frame + 2 == frames))


@triton.jit(do_not_specialize=["rows"])
def _add(
    x: tl.tensor, bias: tl.tensor, residual: tl.tensor, rows: tl.tensor,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    channel = tl.arange(0, BC)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    at = row[:, None] * C + channel[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        value += tl.load(bias + channel, mask=channel < C, other=0.0).to(tl.float32)[None, :]
    if HAS_RESIDUAL:
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(x + at, value.to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "height", "width"])
def _upsample(
    x: tl.tensor, bias: tl.tensor, out: tl.tensor, rows: tl.tensor, height: tl.tensor, width: tl.tensor,
    C: tl.constexpr, BC: tl.constexpr, R: tl.constexpr, PARTS: tl.constexpr, HAS_BIAS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    part = tl.program_id(1)
    channel = tl.arange(0, BC)
    inside = (row < rows)[:, None] & (channel < C)[None, :]
    value = tl.load(x + row[:, None] * (C * PARTS) + part * C + channel[None, :], mask=inside, other=0.0)
    if HAS_BIAS:
        shift = tl.load(bias + part * C + channel, mask=channel < C, other=0.0).to(tl.float32)
        value = (value.to(tl.float32) + shift[None, :]).to(out.dtype.element_ty)
    column, line = row % width, row // width
    frame, line = line // height, line % height
    first = ((frame * PARTS + part) * 2 * height + 2 * line) * 2 * width + 2 * column
    at = first[:, None] * C + channel[None, :]
    tl.store(out + at, value, mask=inside)
    tl.store(out + at + C, value, mask=inside)
    tl.store(out + at + 2 * width * C, value, mask=inside)
    tl.store(out + at + 2 * width * C + C, value, mask=inside)


def _shape(channels: int) -> tuple[int, int]:
    block = triton.next_power_of_2(channels)
    return block, max(1, ELEMENTS // block)


def norm_silu(
    x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, silu: bool
) -> torch.Tensor:
    channels = x.shape[-1]
    rows, (block, take) = x.numel() // channels, _shape(channels)
    grid = (triton.cdiv(rows, take),)
    has_bias = bias is not None
    _norm_silu[grid](x, gain, bias if has_bias else gain, out, rows, channels, block, take, has_bias, silu, num_warps=8)
    return out


def norm_silu_folded(
    x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, past: torch.Tensor
) -> None:
    frames, height, width, channels = x.shape
    block, take = _shape(channels)
    _norm_silu_folded[(triton.cdiv(height * width, take), frames)](
        x, gain, bias if bias is not None else gain, out, past, frames, height * width, channels, block, take,
        bias is not None, num_warps=8,
    )  # fmt: skip


def add(x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None) -> torch.Tensor:
    channels = x.shape[-1]
    rows, (block, take) = x.numel() // channels, _shape(channels)
    bias_there, residual_there = bias is not None, residual is not None
    _add[(triton.cdiv(rows, take),)](
        x, bias if bias_there else x, residual if residual_there else x, rows, channels, block, take,
        bias_there, residual_there, num_warps=8,
    )  # fmt: skip
    return x


def upsample(x: torch.Tensor, bias: torch.Tensor | None, out: torch.Tensor, parts: int) -> torch.Tensor:
    channels = x.shape[-1] // parts
    rows, (block, take) = x.numel() // x.shape[-1], _shape(channels)
    _upsample[(triton.cdiv(rows, take), parts)](
        x, bias if bias is not None else x, out, rows, x.shape[1], x.shape[2], channels, block, take, parts,
        bias is not None, num_warps=8,
    )  # fmt: skip
    return out


def compilations(launches: list[tuple], dtype: torch.dtype) -> list[Callable[[], object]]:
    found, wide, size = [], torch.float32, 1 << 20

    def append(kernel: Any, *args: Any) -> None:
        found.append(lambda: kernel.warmup(*args, grid=(1,), num_warps=8))

    for name, channels, has_bias, more in launches:
        shape, bias = (channels, *_shape(channels)), dtype if has_bias else wide
        if name == "norm_silu":
            append(_norm_silu, dtype, wide, bias, dtype, size, *shape, has_bias, more)
        elif name == "norm_silu_folded":
            append(_norm_silu_folded, dtype, wide, bias, dtype, dtype, size, size, *shape, has_bias)
        elif name == "add":
            append(_add, dtype, dtype, dtype, size, *shape, has_bias, more)
        else:
            append(_upsample, dtype, dtype, dtype, size, size, size, *shape, 2 if more else 1, has_bias)
    return found
