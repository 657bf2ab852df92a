"""Memory of the fast Wan VAE in units of ``H * W * dim`` elements."""

from __future__ import annotations

REMEMBERED = {"encode": 20, "decode": 33}
ALIVE = {"encode": 5.2, "decode": 7.2}
AT_ONCE = 2 * 720 * 1280 * 96
"""Elements of a layer at once where memory allows: 2 frames of 1280x720, 4 of 832x480. More is no faster."""
WEIGHTS = 160_000_000  # the run's own copy of one half of the weights, in half precision


def needed(direction: str, height: int, width: int, dim: int, item_bytes: int, budget: int = AT_ONCE) -> int:
    """Bytes to "encode" or "decode" frames of a size in pixels."""
    frame = height * width * dim
    at_once = max(1, budget // frame)
    return int((REMEMBERED[direction] + ALIVE[direction] * at_once) * frame * item_bytes) + WEIGHTS


def budget_for(direction: str, height: int, width: int, dim: int, item_bytes: int, free: int) -> int | None:
    """The most elements at once that fit in ``free`` bytes; None: no frame does."""
    budget = AT_ONCE
    while needed(direction, height, width, dim, item_bytes, budget) > free:
        if budget <= height * width * dim:
            return None
        budget //= 2
    return budget


def tile_for(direction: str, height: int, width: int, dim: int, item_bytes: int, free: int) -> int:
    """Side in pixels (multiple of 64, at least 128) of the largest tile that fits."""
    side = max(height, width) // 64 * 64
    while side > 128 and budget_for(direction, min(side, height), min(side, width), dim, item_bytes, free) is None:
        side -= 64
    return max(side, 128)
