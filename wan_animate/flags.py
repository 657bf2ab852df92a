"""Runs of flags."""

from __future__ import annotations

import numpy as np


def runs_of(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each run of True in bool ``[n]``, ascending."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
