"""A Triton kernel for :mod:`.blur`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from .triton_rows import KINDS, device_of

ROWS, COLUMNS = 32, 32  # as measured on an H200, of six


@triton.jit(do_not_specialize=["height", "width", "out_height", "out_width", "before"])
def _blur(
    x: tl.tensor, taps: tl.tensor, out: tl.tensor,
    height: tl.tensor, width: tl.tensor, out_height: tl.tensor, out_width: tl.tensor, before: tl.tensor,
    KIND: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    plane = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for down in tl.static_range(4):
        for across in tl.static_range(4):
            y, z = row + (down - before), column + (across - before)
            inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
            value = tl.load(x + plane * height * width + y * width + z, mask=inside, other=0.0).to(tl.float32)
            total += value * tl.load(taps + down * 4 + across)
    inside = (row < out_height) & (column < out_width)
    tl.store(out + plane * out_height * out_width + row * out_width + column, total.to(KIND), mask=inside)


def blur(x: torch.Tensor, taps: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """``taps``: float32 [4, 4]."""
    height, width = x.shape[-2:]
    out_height, out_width = (side + before + after - 3 for side in (height, width))
    x = x.contiguous()
    planes = x.numel() // (height * width)
    out = torch.empty(*x.shape[:-2], out_height, out_width, dtype=x.dtype, device=x.device)
    grid = planes, triton.cdiv(out_height, ROWS), triton.cdiv(out_width, COLUMNS)
    with device_of(x):
        _blur[grid](
            x, taps.contiguous(), out, height, width, out_height, out_width, before,
            KIND=KINDS[x.dtype], ROWS=ROWS, COLUMNS=COLUMNS,
        )  # fmt: skip
    return out


def compilations(dtype: torch.dtype) -> list[Callable[[], object]]:
    given = dict(KIND=KINDS[dtype], ROWS=ROWS, COLUMNS=COLUMNS)
    return [lambda: _blur.warmup(dtype, torch.float32, dtype, *(2,) * 5, **given, grid=(1, 1, 1))]
