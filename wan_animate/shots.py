"""The shots that cuts divide a clip into."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise


def shots_of(cuts: Iterable[int], count: int) -> list[tuple[int, int]]:
    """(start, stop) of every shot of ``count`` frames; ``cuts``: the first frame of each later shot, ascending."""
    return list(pairwise((0, *cuts, count)))
