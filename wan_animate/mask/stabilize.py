"""Mask flicker removed without lag."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 0.04  # of the frame's height: the most an outline moves from one frame to the next
SAME_SHOT = 0.2  # lowest intersection over union of neighbours within a shot


def stabilize_masks(masks: np.ndarray, start: int, stop: int, window: int) -> np.ndarray:
    """Masks ``start`` to ``stop`` without what appears or disappears for a moment; uint8 ``[N, H, W]`` of 0 and 1.

    A pixel is kept if most of the ``window`` masks on either side have one nearby (within 4% of the height per frame,
    for fast limbs), and filled if most on both sides have it. Neighbours end at a cut: two masks that hardly overlap.
    """
    linked = [_overlap(mask, following) >= SAME_SHOT for mask, following in zip(masks[:-1], masks[1:], strict=True)]
    reach = REACH * masks.shape[1]
    stabilized = np.empty((stop - start, *masks.shape[1:]), np.uint8)
    for index in range(start, stop):
        before = _reachable(range(index - 1, max(index - window, 0) - 1, -1), linked, 0)
        after = _reachable(range(index + 1, min(index + window, len(masks) - 1) + 1), linked, -1)
        stabilized[index - start] = _stabilized(masks, index, before, after, reach)
    return stabilized


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def _reachable(indices: range, linked: list[bool], link: int) -> list[int]:
    """``indices`` up to a break; ``linked[i + link]`` joins mask i to its nearer neighbour."""
    found = []
    for index in indices:
        if not linked[index + link]:
            break
        found.append(index)
    return found


def _stabilized(masks: np.ndarray, index: int, before: list[int], after: list[int], reach: float) -> np.ndarray:
    mask, others = masks[index], [*before, *after]
    if not others:
        return mask
    near = np.zeros(mask.shape, np.uint8)
    for other in others:
        side = 2 * max(round(reach * abs(other - index)), 1) + 1
        near += cv2.dilate(masks[other], np.ones((side, side), np.uint8))
    kept = mask & (2 * near >= len(others))
    if before and after:
        earlier, later = masks[before].sum(axis=0, dtype=np.uint8), masks[after].sum(axis=0, dtype=np.uint8)
        kept |= (2 * (earlier + later) > len(others)) & (earlier > 0) & (later > 0)
    return kept
