"""Which blocks are copied in every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

GB = 10**9
TOLERANCE = 1.03
HOW = ("fit", "blocks")


@dataclass(frozen=True)
class Settings:
    """Inputs of Offload Animate Blocks.

    Attributes:
        how: "blocks" copies ``blocks`` in every step, "fit" as few as ``gigabytes`` allows.
        gigabytes: limit of torch's allocations, in 10**9 bytes.
        pinned: pin host memory, for asynchronous copies.
    """

    how: str = "fit"
    blocks: int = 40
    gigabytes: float = 12.0
    pinned: bool = True


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's weights.

    Attributes:
        fusers: of the face block after each block, or 0.
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
    """Evenly spaced, to leave time between copies."""
    count = max(0, min(count, total))
    return frozenset((k + 1) * total // count - 1 for k in range(count)) if count else frozenset()


def slots(copied: frozenset[int]) -> int:
    """Buffers on the device: two if adjacent blocks are copied, else one."""
    if not copied:
        return 0
    return 2 if any(index + 1 in copied for index in copied) else 1


def slot_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    if not copied:
        return 0
    block = max(sizes.blocks[index] for index in copied)
    return slots(copied) * block + max(sizes.fusers[index] for index in copied)


def resident_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    return sum(sizes.block(index) for index in range(len(sizes.blocks)) if index not in copied)


def card_bytes(sizes: Sizes, copied: frozenset[int]) -> int:
    return resident_bytes(sizes, copied) + slot_bytes(sizes, copied)


def fitting(sizes: Sizes, available: float, least: int = 0) -> frozenset[int] | None:
    """The fewest blocks, at least ``least``, to copy so that ``available`` bytes suffice; else None."""
    total = len(sizes.blocks)
    for count in range(min(least, total), total + 1):
        copied = spread(count, total)
        if card_bytes(sizes, copied) <= available:
            return copied
    return None


def gigabytes(size: float) -> str:
    return f"{size / GB:.1f} GB"


def round_up(size: float) -> str:
    return f"{math.ceil(size / GB * 10) / 10:.1f} GB"
