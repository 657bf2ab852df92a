"""Taking the flicker out of masks without lag: each is compared with those before and after it."""

from __future__ import annotations

import cv2
import numpy as np

REACH = 0.04  # of the frame's height: how far an outline may move from one frame to the next
SAME_SHOT = 0.2  # overlap (intersection over union) of neighbours below which they show different things


def stabilize_masks(masks: np.ndarray, start: int, stop: int, window: int) -> np.ndarray:
    """Masks without what appears or disappears for a moment.

    A pixel stays only if most of the ``window`` masks before and after have one near it (within 4% of the height for
    every frame between them, so that quick limbs stay whole); it is filled if most of them have it, some before and
    some after. Neighbours count up to where two masks in a row hardly overlap: a cut, or a frame without a mask.

    Args:
        masks: uint8 ``[N, H, W]`` of 0 and 1.
        start, stop: the masks to steady; the others are there to be compared with.
        window: how many on either side count.

    Returns:
        uint8 ``[stop - start, H, W]`` of 0 and 1.
    """
    linked = [_overlap(one, other) >= SAME_SHOT for one, other in zip(masks[:-1], masks[1:], strict=True)]
    reach = REACH * masks.shape[1]
    steadied = np.empty((stop - start, *masks.shape[1:]), np.uint8)
    for index in range(start, stop):
        before = _reachable(range(index - 1, max(index - window, 0) - 1, -1), linked, 0)
        after = _reachable(range(index + 1, min(index + window, len(masks) - 1) + 1), linked, -1)
        steadied[index - start] = _steadied(masks, index, before, after, reach)
    return steadied


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0


def _reachable(indices: range, linked: list[bool], link: int) -> list[int]:
    """The first of ``indices`` up to a break; ``linked[i + link]`` joins mask i to the one on the near side."""
    found = []
    for index in indices:
        if not linked[index + link]:
            break
        found.append(index)
    return found


def _steadied(masks: np.ndarray, index: int, before: list[int], after: list[int], reach: float) -> np.ndarray:
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
