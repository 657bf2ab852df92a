"""Frame numbers and times in messages."""

from __future__ import annotations

import re

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


NOTHING_KEPT = (
    "nothing of the scene is kept there. Take mode animate if a new scene is wanted, else a mask of the person alone "
    "(Segment Character; if black is the character, invert it)"
)


def white_all_over(where: str) -> str:
    """What is wrong with frames of replace without any of the scene; :data:`NOTHING_KEPT` says what to do."""
    return f"the character mask is white all over in {where}"


def nothing_kept(where: str) -> str:
    """A warning of :func:`white_all_over`."""
    return f"{white_all_over(where)}: {NOTHING_KEPT}."


def duration(seconds: float) -> str:
    """``40 s``, ``4 min 20 s``, ``2 h 5 min``."""
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def size_text(size: float) -> str:
    """``1.2 GB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def parse_size(text: str) -> int | None:
    """Bytes of ``100GB``; None for what is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    if found is None:
        return None
    unit = found[2] if found[2] in UNITS else found[2] + "B"
    return int(float(found[1]) * UNITS[unit])
