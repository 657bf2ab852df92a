"""The kernel of :mod:`.gluon_attention`, in Triton's Gluon, for compute capability 9.0.

A block has 192 query rows of one head. One warp copies tiles of 128 keys and values to shared memory (TMA, two stages
each); three warpgroups multiply, 64 rows each: while one weighs its scores, the others keep the tensor cores busy. The
roles of warps, and weights that go from the accumulator's registers to the second product, are FlashAttention-3's (Shah
et al. 2024); that outputs are rescaled only when they must be is FlashAttention-4's.

Here rows are not searched for their largest score either, which saves a sixth of a tile's instructions. Weights are
powers of 2 of how far a score is above its row's reference, at first the largest score of the first tile. A row whose
weights in a tile add up to more than LARGE moves its reference up (:func:`_weigh_fast`). Weights above 2^127 overflow
float32: then the row's sum is not finite, and the block computes itself again in the usual way (:func:`_weigh`).
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

WIDTH = gl.constexpr(128)  # of a head
ROWS = gl.constexpr(64)  # queries of a warpgroup
GROUPS = gl.constexpr(3)  # warpgroups that multiply
KEYS = gl.constexpr(128)  # of a tile
STAGES = gl.constexpr(2)
CONSUMER, PRODUCER = gl.constexpr(160), gl.constexpr(24)  # registers of a thread: 3 * 128 * 160 + 128 * 24 of 65,536

LARGE = gl.constexpr(4096.0)  # sum of a tile's weights (float16 ends at 65,504)
BEHIND = gl.constexpr(4.0)  # log2 of what the sum is brought down to
AHEAD = gl.constexpr(8.0)  # log2 of the largest weight before a reference moves, in the usual way


def _scaling(count: int) -> tuple[str, str]:
    """PTX, and its operands: ``count`` accumulators of two rows in turn by pairs, times the rows' factors.

    Nothing is multiplied where both factors are 1 in the whole warp.
    """
    first, second = f"${2 * count}", f"${2 * count + 2}"
    products = " ".join(f"mul.f32 ${at}, ${at}, {second if at // 2 % 2 else first};" for at in range(count))
    text = (
        f"{{ .reg .pred p, any; setp.neu.f32 p, {first}, 0f3F800000; setp.neu.or.f32 p, {second}, 0f3F800000, p; "
        f"vote.sync.any.pred any, p, -1; @!any bra DONE; {products} DONE: }}"
    )
    return text, ",".join(["=f"] * count + [str(at) for at in range(count)] + ["f"] * count)


ACCUMULATORS = gl.constexpr(64)  # of a thread: ROWS * KEYS / 128 for the scores, ROWS * WIDTH / 128 for the outputs
SCALING, SCALING_OPERANDS = (gl.constexpr(text) for text in _scaling(64))


@gluon.jit
def _exp2(x: gl.tensor) -> gl.tensor:
    return gl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=gl.float32, is_pure=True, pack=1)


@gluon.jit
def _log2(x: gl.tensor) -> gl.tensor:
    return gl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=gl.float32, is_pure=True, pack=1)


@gluon.jit
def _scale_rows(x: gl.tensor, factor: gl.tensor) -> gl.tensor:
    layout: gl.constexpr = x.type.layout
    factors = gl.full(x.shape, 0.0, gl.float32, layout) + gl.convert_layout(factor, gl.SliceLayout(1, layout))[:, None]
    return gl.inline_asm_elementwise(
        SCALING, SCALING_OPERANDS, [x, factors], dtype=gl.float32, is_pure=False, pack=ACCUMULATORS
    )


@gluon.jit
def _next(stage: gl.tensor, phase: gl.tensor) -> gl.tensor:
    end = stage == STAGES - 1
    return gl.where(end, 0, stage + 1), gl.where(end, phase ^ 1, phase)


@gluon.jit
def _copy(
    source: gl.tensor, ring: gl.tensor, key: gl.tensor, column: gl.tensor, stage: gl.tensor, phase: gl.tensor
) -> None:
    tiles, full, empty = ring
    mbarrier.wait(empty.index(stage), phase ^ 1)
    mbarrier.expect(full.index(stage), KEYS * WIDTH * 2)
    tma.async_copy_global_to_shared(source, [key, column], full.index(stage), tiles.index(stage))


@gluon.jit
def _copy_all(
    k: gl.tensor, v: gl.tensor, k_ring: gl.tensor, v_ring: gl.tensor,
    column: gl.tensor, tiles: gl.tensor, stage: gl.tensor, phase: gl.tensor,
) -> gl.tensor:  # fmt: skip
    """The last tile comes first: it alone may go past the end, and is masked before the loop."""
    for tile in range(tiles):
        key = (tiles - 1 - tile) * KEYS
        _copy(k, k_ring, key, column, stage, phase)
        _copy(v, v_ring, key, column, stage, phase)
        stage, phase = _next(stage, phase)
    return stage, phase


@gluon.jit
def _any(flags: gl.tensor, WARPS: gl.constexpr) -> gl.tensor:
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [WARPS], [0])
    found = flags.index(0).load(layout)
    for group in gl.static_range(1, GROUPS):
        found = found | flags.index(group).load(layout)
    return gl.max(found, 0)


@gluon.jit
def _produce(q: gl.tensor, k: gl.tensor, v: gl.tensor, shared: gl.tensor, place: gl.tensor) -> None:
    queries, k_ring, v_ring, flags, ready, decided = shared
    row, column, tiles = place
    mbarrier.expect(ready, GROUPS * ROWS * WIDTH * 2)
    for group in gl.static_range(GROUPS):
        tma.async_copy_global_to_shared(q, [row + group * ROWS, column], ready, queries.index(group))
    zero = gl.to_tensor(0)
    stage, phase = _copy_all(k, v, k_ring, v_ring, column, tiles, zero, zero)
    mbarrier.wait(decided, 0)
    if _any(flags, 1) != 0:
        _copy_all(k, v, k_ring, v_ring, column, tiles, stage, phase)


@gluon.jit
def _weigh_fast(s: gl.tensor, m: gl.tensor, l: gl.tensor, scale: gl.tensor) -> gl.tensor:  # noqa: E741 as the papers name it
    """Weights 2^(s * scale - m), the reference m, their sum l, and the factor by which earlier ones are to be scaled.

    m moves only where a row's weights became large, and by what they add up to: no row is searched for its largest s.
    """
    p = _exp2(s * scale - m[:, None])
    added = gl.sum(p, 1)
    moved = gl.where(added > LARGE, m + _log2(added) - BEHIND, m)
    factor = _exp2(m - moved)
    return _scale_rows(p, factor), moved, (l + added) * factor, factor


@gluon.jit
def _weigh(s: gl.tensor, m: gl.tensor, l: gl.tensor, scale: gl.tensor) -> gl.tensor:  # noqa: E741
    """As :func:`_weigh_fast`; m is at most AHEAD below a row's largest s * scale."""
    largest = gl.max(s, 1) * scale
    moved = gl.where(largest > m + AHEAD, largest, m)
    factor = _exp2(m - moved)
    p = _exp2(s * scale - moved[:, None])
    return p, moved, l * factor + gl.sum(p, 1), factor


@gluon.jit
def _attend(
    q: gl.tensor, k_ring: gl.tensor, v_ring: gl.tensor, tiles: gl.tensor, keys: gl.tensor, scale: gl.tensor,
    stage: gl.tensor, phase: gl.tensor, FAST: gl.constexpr, dtype: gl.constexpr,
) -> gl.tensor:  # fmt: skip
    """(outputs times their sums, sums, stage, phase)"""
    ks, k_full, k_empty = k_ring
    vs, v_full, v_empty = v_ring
    s_layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    o_layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, WIDTH, 16])
    p_layout: gl.constexpr = gl.DotOperandLayout(0, o_layout, 2)
    zeros = gl.full([ROWS, KEYS], 0.0, gl.float32, s_layout)
    o = gl.full([ROWS, WIDTH], 0.0, gl.float32, o_layout)

    mbarrier.wait(k_full.index(stage), phase)
    s = warpgroup_mma(q, ks.index(stage).permute((1, 0)), zeros, use_acc=False, is_async=True)
    s = warpgroup_mma_wait(0, deps=[s])
    mbarrier.arrive(k_empty.index(stage), count=1)
    columns = (tiles - 1) * KEYS + gl.arange(0, KEYS, gl.SliceLayout(0, s_layout))
    s = gl.where((columns < keys)[None, :], s, float("-inf"))
    m = gl.max(s, 1) * scale
    s = _exp2(s * scale - m[:, None])
    l = gl.sum(s, 1)  # noqa: E741
    p = gl.convert_layout(s.to(dtype), p_layout)

    for _ in range(tiles - 1):
        v_stage, v_phase = stage, phase
        stage, phase = _next(stage, phase)
        mbarrier.wait(v_full.index(v_stage), v_phase)
        o = warpgroup_mma(p, vs.index(v_stage), o, is_async=True)
        mbarrier.wait(k_full.index(stage), phase)
        o = warpgroup_mma_wait(0, deps=[o])
        mbarrier.arrive(v_empty.index(v_stage), count=1)
        s = warpgroup_mma(q, ks.index(stage).permute((1, 0)), zeros, use_acc=False, is_async=True)
        s = warpgroup_mma_wait(0, deps=[s])
        mbarrier.arrive(k_empty.index(stage), count=1)
        if FAST:
            s, m, l, factor = _weigh_fast(s, m, l, scale)  # noqa: E741
        else:
            s, m, l, factor = _weigh(s, m, l, scale)  # noqa: E741
        p = gl.convert_layout(s.to(dtype), p_layout)
        o = _scale_rows(o, factor)

    mbarrier.wait(v_full.index(stage), phase)
    o = warpgroup_mma(p, vs.index(stage), o, is_async=True)
    o = warpgroup_mma_wait(0, deps=[o])
    mbarrier.arrive(v_empty.index(stage), count=1)
    stage, phase = _next(stage, phase)
    return o, l, stage, phase


@gluon.jit
def _consume(
    out: gl.tensor, shared: gl.tensor, place: gl.tensor, keys: gl.tensor, scale: gl.tensor,
    GROUP: gl.constexpr, dtype: gl.constexpr,
) -> None:  # fmt: skip
    queries, k_ring, v_ring, flags, ready, decided = shared
    row, column, tiles = place
    q = queries.index(GROUP)
    zero = gl.to_tensor(0)
    mbarrier.wait(ready, 0)
    o, l, stage, phase = _attend(q, k_ring, v_ring, tiles, keys, scale, zero, zero, True, dtype)  # noqa: E741
    overflown = gl.max(gl.where(l < float("inf"), 0, 1), 0)
    flags.index(GROUP).store(gl.full([1], overflown, gl.int32, gl.BlockedLayout([1], [32], [4], [0])))
    mbarrier.arrive(decided, count=1)
    mbarrier.wait(decided, 0)
    if _any(flags, 4) != 0:  # the copies are shared: all groups again
        o, l, stage, phase = _attend(q, k_ring, v_ring, tiles, keys, scale, stage, phase, False, dtype)  # noqa: E741
    o_rows: gl.constexpr = gl.SliceLayout(1, o.type.layout)
    o = o * gl.convert_layout(1.0 / l, o_rows)[:, None]
    q.store(o.to(dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(out, [row + GROUP * ROWS, column], q)
    tma.store_wait(0)


@gluon.jit
def _barriers(COUNT: gl.constexpr, ARRIVALS: gl.constexpr) -> gl.tensor:
    barriers = gl.allocate_shared_memory(gl.int64, [COUNT, 1], mbarrier.MBarrierLayout())
    for at in gl.static_range(COUNT):
        mbarrier.init(barriers.index(at), count=ARRIVALS)
    return barriers


@gluon.jit(do_not_specialize=["keys"])
def attention(q: gl.tensor, k: gl.tensor, v: gl.tensor, out: gl.tensor, keys: gl.tensor, scale: gl.tensor) -> None:
    """One batch entry, on a grid of (blocks of GROUPS * ROWS queries, heads).

    Args:
        q, k, v, out: descriptors of ``[tokens, heads * WIDTH]``, in tiles of ROWS or KEYS tokens.
        keys: tokens of k and v, at least 1.
        scale: of the products, times log2(e).
    """
    dtype: gl.constexpr = q.dtype
    queries = gl.allocate_shared_memory(dtype, [GROUPS, ROWS, WIDTH], q.layout)
    ks = gl.allocate_shared_memory(dtype, [STAGES, KEYS, WIDTH], k.layout)
    vs = gl.allocate_shared_memory(dtype, [STAGES, KEYS, WIDTH], v.layout)
    flags = gl.allocate_shared_memory(gl.int32, [GROUPS, 1], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    ready = _barriers(1, 1).index(0)
    decided = _barriers(1, GROUPS).index(0)
    k_ring = (ks, _barriers(STAGES, 1), _barriers(STAGES, GROUPS))
    v_ring = (vs, _barriers(STAGES, 1), _barriers(STAGES, GROUPS))
    fence_async_shared()
    tiles = gl.cdiv(keys, KEYS)
    place = (gl.program_id(0) * (ROWS * GROUPS), gl.program_id(1) * WIDTH, tiles)
    shared = (queries, k_ring, v_ring, flags, ready, decided)
    gl.warp_specialize(
        [
            (_consume, (out, shared, place, keys, scale, 0, dtype)),
            (_consume, (out, shared, place, keys, scale, 1, dtype)),
            (_consume, (out, shared, place, keys, scale, 2, dtype)),
            (_produce, (q, k, v, shared, place)),
        ],
        [4, 4, 1],
        [CONSUMER, CONSUMER, PRODUCER],
    )
