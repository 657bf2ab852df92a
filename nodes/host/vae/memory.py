"""How much memory the fast Wan VAE takes, and how many frames at once fit into what is free.

Counted in frames at full size and the network's narrowest width, ``H * W * dim`` numbers: what the layers remember of
the frames before, and what is alive while a chunk of n of them is worked on.
"""

from __future__ import annotations

REMEMBERED = {"encode": 20, "decode": 33}
ALIVE = {"encode": 5.2, "decode": 7.2}
AT_ONCE = 2 * 720 * 1280 * 96
"""Numbers of a layer worked on at once where memory allows: 2 frames of 1280x720, 4 of 832x480. More is no faster."""
WEIGHTS = 160_000_000  # the run's own copy of one half of the weights, in half precision


def needed(direction: str, height: int, width: int, dim: int, item_bytes: int, budget: int = AT_ONCE) -> int:
    """Bytes for ``"encode"`` or ``"decode"`` of frames of a size in pixels, beside the weights and the clip itself."""
    frame = height * width * dim
    at_once = max(1, budget // frame)
    return int((REMEMBERED[direction] + ALIVE[direction] * at_once) * frame * item_bytes) + WEIGHTS


def budget_for(direction: str, height: int, width: int, dim: int, item_bytes: int, free: int) -> int | None:
    """The most numbers at once that fit into ``free`` bytes; None if not even single frames do."""
    budget = AT_ONCE
    while needed(direction, height, width, dim, item_bytes, budget) > free:
        if budget <= height * width * dim:
            return None
        budget //= 2
    return budget


def tile_for(direction: str, height: int, width: int, dim: int, item_bytes: int, free: int) -> int:
    """The side in pixels (a multiple of 64) of the largest square tile that fits into ``free`` bytes, 128 at least."""
    side = max(height, width) // 64 * 64
    while side > 128 and budget_for(direction, min(side, height), min(side, width), dim, item_bytes, free) is None:
        side -= 64
    return max(side, 128)
