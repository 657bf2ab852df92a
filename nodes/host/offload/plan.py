"""Which blocks stay on the card and which are copied there in every step: arithmetic, no tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

GB = 10**9
TOLERANCE = 1.03


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's weights.

    Attributes:
        blocks: of each transformer block.
        fusers: of the face block that follows it, 0 where there is none.
        rest: of everything else.
    """

    blocks: tuple[int, ...]
    fusers: tuple[int, ...]
    rest: int

    def unit(self, index: int) -> int:
        return self.blocks[index] + self.fusers[index]

    @property
    def total(self) -> int:
        return sum(self.blocks) + sum(self.fusers)


def spread(count: int, total: int) -> frozenset[int]:
    """``count`` of ``total`` blocks, as far apart as they go: the more lies between two, the more time has a copy."""
    count = max(0, min(count, total))
    return frozenset((k + 1) * total // count - 1 for k in range(count)) if count else frozenset()


def slots(streamed: frozenset[int]) -> int:
    """Places on the card that blocks are copied to: two where a block follows another, so that one is filled while
    the other is in use; one where a block that stays lies between."""
    if not streamed:
        return 0
    return 2 if any(index + 1 in streamed for index in streamed) else 1


def slot_bytes(sizes: Sizes, streamed: frozenset[int]) -> int:
    if not streamed:
        return 0
    block = max(sizes.blocks[index] for index in streamed)
    return slots(streamed) * block + max(sizes.fusers[index] for index in streamed)


def kept_bytes(sizes: Sizes, streamed: frozenset[int]) -> int:
    """Of the blocks that stay on the card."""
    return sum(sizes.unit(index) for index in range(len(sizes.blocks)) if index not in streamed)


def card_bytes(sizes: Sizes, streamed: frozenset[int]) -> int:
    return kept_bytes(sizes, streamed) + slot_bytes(sizes, streamed)


def fitting(sizes: Sizes, room: float, least: int = 0) -> frozenset[int] | None:
    """The fewest blocks to copy in every step so that the others and the slots take at most ``room`` bytes.

    Args:
        least: copy at least so many.

    Returns:
        The blocks to copy, or None if not even copying all of them takes so little.
    """
    total = len(sizes.blocks)
    for count in range(min(least, total), total + 1):
        streamed = spread(count, total)
        if card_bytes(sizes, streamed) <= room:
            return streamed
    return None


def gigabytes(size: float) -> str:
    return f"{size / GB:.1f} GB"


def up(size: float) -> str:
    """In gigabytes, never less than it is."""
    return f"{math.ceil(size / GB * 10) / 10:.1f} GB"
