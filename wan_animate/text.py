"""Frame numbers in messages."""

from __future__ import annotations

import numpy as np


def frame_ranges(flags: np.ndarray, limit: int = 6) -> str:
    """True frames as ``3, 10-14, 20``; only counts ranges after ``limit``."""
    at = np.flatnonzero(flags)
    groups = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups if len(group)]
    if len(texts) > limit:
        texts = [*texts[:limit], f"and {len(texts) - limit} more ranges"]
    return ", ".join(texts)


def found_too_little(found: np.ndarray) -> str | None:
    """A warning if a body was found in less than half of bool ``[T]``."""
    if 2 * found.sum() >= len(found):
        return None
    where = f"in {found.sum()} of {len(found)} frames ({frame_ranges(found)})" if found.any() else "in no frame"
    return (
        f"a body was found {where}; the others have no skeleton, and no mask from it. Choose a part of the video that "
        "shows the person (start, limit), or another person."
    )
