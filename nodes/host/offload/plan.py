"""Which blocks stay on the card and which are copied there in every step: arithmetic, no tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

GB = 10**9
TOLERANCE = 1.03
HOW = ("fit", "blocks")


@dataclass(frozen=True)
class Settings:
    """What Offload Animate Blocks is asked for.

    Attributes:
        how: "blocks": ``blocks`` of them; "fit": as many as it takes to stay within ``gigabytes``.
        blocks: how many of the transformer's blocks are copied in every step.
        gigabytes: what torch may have allocated on the card while sampling, in 10**9 bytes.
        pinned: lock the copied blocks' host memory, so that copies run beside computing.
    """

    how: str = "fit"
    blocks: int = 40
    gigabytes: float = 12.0
    pinned: bool = True


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

    def block(self, index: int) -> int:
        return self.blocks[index] + self.fusers[index]

    @property
    def total(self) -> int:
        return sum(self.blocks) + sum(self.fusers)


def spread(count: int, total: int) -> frozenset[int]:
    """``count`` of ``total`` blocks, as far apart as they go: the more lies between two, the more time has a copy."""
    count = max(0, min(count, total))
    return frozenset((k + 1) * total // count - 1 for k in range(count)) if count else frozenset()


def slots(copied: frozenset[int]) -> int:
    """Places on the card that blocks are copied to: two where a block follows another, so that one is filled while
    the other is in use; one where a block that stays lies between."""
    if not copied:
        return 0
    return 2 if any(index + 1 in copied for index in copied) else 1


def slot_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    if not copied:
        return 0
    block = max(sizes.blocks[index] for index in copied)
    return slots(copied) * block + max(sizes.fusers[index] for index in copied)


def resident_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    """Of the blocks that stay on the card."""
    return sum(sizes.block(index) for index in range(len(sizes.blocks)) if index not in copied)


def card_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    return resident_bytes(sizes, copied) + slot_bytes(sizes, copied)


def fitting(sizes: Sizes, available: float, least: int = 0) -> frozenset[int] | None:
    """The fewest blocks to copy in every step so that the others and the slots take at most ``available`` bytes.

    Args:
        least: copy at least so many.

    Returns:
        The blocks to copy, or None if not even copying all of them takes so little.
    """
    total = len(sizes.blocks)
    for count in range(min(least, total), total + 1):
        copied = spread(count, total)
        if card_bytes(sizes, copied) <= available:
            return copied
    return None


def gigabytes(size: float) -> str:
    return f"{size / GB:.1f} GB"


def round_up(size: float) -> str:
    """In gigabytes, never less than it is."""
    return f"{math.ceil(size / GB * 10) / 10:.1f} GB"
