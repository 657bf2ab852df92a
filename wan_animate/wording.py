"""Numbers as messages say them."""

from __future__ import annotations

import numpy as np


def frame_ranges(flags: np.ndarray, limit: int = 6) -> str:
    """True frames as text: ``3, 10-14, 20``; after ``limit`` ranges the rest is only counted."""
    at = np.flatnonzero(flags)
    groups = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups if len(group)]
    if len(texts) > limit:
        texts = [*texts[:limit], f"and {len(texts) - limit} more ranges"]
    return ", ".join(texts)
