"""Attention in eight bits, in Triton: int8 for the scores, fp8 for what they weigh.

After SageAttention 2 (arXiv 2411.10958): the mean of all keys is taken off first (the softmax does not see it), queries
have a scale a token, keys one for each block, values one a channel. What a block of keys adds is summed in float32
outside the matrix unit, whose own sums in fp8 keep 14 bits and drift over tens of thousands of keys.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from .triton_rows import on

KEYS = 128  # of a block: those that share a scale
QUERIES, WARPS, STAGES = 64, 4, 2  # what was fastest on an H100
WIDTHS = (64, 128)
RAISED = tl.constexpr(8.0)  # weights are up to 2**8, in the middle of what fp8 holds
LOG2E = 1.4426950408889634


@triton.jit
def _round(
    x,
    mean,
    out,
    scales,
    tokens,
    padded,
    heads,
    MEAN: tl.constexpr,
    EACH: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part, both = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = both // heads, both % heads
    token, at = part * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    inside = (token < tokens)[:, None] & (at < D)[None, :]
    place = (batch * tokens + token)[:, None] * (heads * D) + head * D + at[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if MEAN:
        value = tl.where(inside, value - tl.load(mean + both * D + at)[None, :], 0.0)
    if EACH:
        scale = tl.maximum(tl.max(tl.abs(value), axis=1), 1e-9) / 127.0
        tl.store(scales + both * padded + token, scale)
        value /= scale[:, None]
    else:
        scale = tl.maximum(tl.max(tl.abs(value)), 1e-9) / 127.0
        tl.store(scales + both * (padded // BLOCK) + part, scale)
        value /= scale
    place = (both * padded + token)[:, None] * D + at[None, :]
    tl.store(out + place, tl.floor(value + 0.5).to(tl.int8))


@triton.jit
def _turn(x, scales, out, tokens, padded, heads, D: tl.constexpr, BLOCK: tl.constexpr):
    part, both = tl.program_id(0), tl.program_id(1).to(tl.int64)
    batch, head = both // heads, both % heads
    token, at = part * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    inside = (token < tokens)[:, None] & (at < D)[None, :]
    place = (batch * tokens + token)[:, None] * (heads * D) + head * D + at[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value /= tl.load(scales + both * D + at)[None, :]
    place = (both * D + at)[:, None] * padded + token[None, :]
    tl.store(out + place, tl.trans(value).to(tl.float8e4nv))


@triton.jit
def _attend(
    queries, keys, values, out, query_scales, key_scales, value_scales,
    tokens, padded, seen, seen_padded, heads, factor,
    FULL: tl.constexpr, KIND: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    first, both = tl.program_id(0) * BM, tl.program_id(1)
    base = both * seen_padded
    row = first + tl.arange(0, BM)
    q = queries.load([both * padded + first, 0])
    scale = tl.load(query_scales + both * padded + row) * factor
    largest = tl.full([BM], -1.0e30, tl.float32)
    weight = tl.zeros([BM], tl.float32)
    sums = tl.zeros([BM, D], tl.float32)
    for start in range(0, FULL, BN):
        k = keys.load([base + start, 0])
        by = scale * tl.load(key_scales + (base + start) // BN)
        score = tl.dot(q, k.T).to(tl.float32)
        now = tl.maximum(largest, tl.max(score, 1) * by)
        p = tl.math.exp2(score * by[:, None] - (now - RAISED)[:, None])
        less = tl.math.exp2(largest - now)
        weight = weight * less + tl.sum(p, 1)
        v = values.load([both * D, start])
        sums = sums * less[:, None] + tl.dot(p.to(tl.float8e4nv), v.T)
        largest = now
    if FULL < seen:  # the last block is not full
        k = keys.load([base + FULL, 0])
        by = scale * tl.load(key_scales + (base + FULL) // BN)
        score = tl.dot(q, k.T).to(tl.float32)
        score = tl.where((FULL + tl.arange(0, BN) < seen)[None, :], score * by[:, None], -1.0e30)
        now = tl.maximum(largest, tl.max(score, 1))
        p = tl.math.exp2(score - (now - RAISED)[:, None])
        less = tl.math.exp2(largest - now)
        weight = weight * less + tl.sum(p, 1)
        v = values.load([both * D, FULL])
        sums = sums * less[:, None] + tl.dot(p.to(tl.float8e4nv), v.T)
    at = tl.arange(0, D)
    sums = sums / weight[:, None] * tl.load(value_scales + both * D + at)[None, :]
    batch, head = (both // heads).to(tl.int64), both % heads
    place = (batch * tokens + row)[:, None] * (heads * D) + head * D + at[None, :]
    tl.store(out + place, sums.to(KIND), mask=(row < tokens)[:, None] & (at < D)[None, :])


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention over [batch, tokens, heads * width] in bfloat16 or float16; width 64 or 128."""
    batch, tokens, columns = q.shape
    seen, width = k.shape[1], columns // heads
    if width not in WIDTHS or q.dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"a head is {width} wide in {q.dtype}")
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    padded, seen_padded = -(-tokens // KEYS) * KEYS, -(-seen // KEYS) * KEYS
    every = batch * heads

    def empty(*shape, dtype=torch.float32):
        return torch.empty(shape, dtype=dtype, device=q.device)

    mean = k.mean(1, dtype=torch.float32)
    largest = torch.linalg.vector_norm(v, torch.inf, dim=1, dtype=torch.float32)
    value_scales = largest.clamp_(min=1e-9) / 448
    queries, query_scales = empty(every * padded, width, dtype=torch.int8), empty(every * padded)
    keys, key_scales = empty(every * seen_padded, width, dtype=torch.int8), empty(every * seen_padded // KEYS)
    values = empty(every * width, seen_padded, dtype=torch.float8_e4m3fn)
    out = torch.empty_like(q)
    with on(q):
        about = {"D": width, "BLOCK": KEYS, "num_warps": 8}
        grid, seen_grid = (padded // KEYS, every), (seen_padded // KEYS, every)
        _round[grid](q, mean, queries, query_scales, tokens, padded, heads, MEAN=False, EACH=True, **about)
        _round[seen_grid](k, mean, keys, key_scales, seen, seen_padded, heads, MEAN=True, EACH=False, **about)
        _turn[seen_grid](v, value_scales, values, seen, seen_padded, heads, **about)
        _attend[(triton.cdiv(tokens, QUERIES), every)](
            TensorDescriptor.from_tensor(queries, [QUERIES, width]),
            TensorDescriptor.from_tensor(keys, [KEYS, width]),
            TensorDescriptor.from_tensor(values, [width, KEYS]),
            out, query_scales, key_scales, value_scales,
            tokens, padded, seen, seen_padded, heads, width**-0.5 * LOG2E, FULL=seen // KEYS * KEYS,
            KIND=tl.bfloat16 if q.dtype == torch.bfloat16 else tl.float16,
            D=width, BM=QUERIES, BN=KEYS, num_warps=WARPS, num_stages=STAGES,
        )  # fmt: skip
    return out
