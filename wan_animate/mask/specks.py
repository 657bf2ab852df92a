"""Small stray pieces of masks."""

from __future__ import annotations

import cv2
import numpy as np

from .track import MaskTrack, pack

SPECK = 0.01  # of the largest piece's area; a hand behind a desk's edge is larger
READ_AT_ONCE = 8


def without_specks(masks: MaskTrack) -> MaskTrack:
    """Drops pieces below a hundredth of the largest: Shape Mask fills the bounding box of all."""
    packed = list(masks.packed)
    for start in range(0, len(packed), READ_AT_ONCE):
        for at, mask in enumerate(masks.read(start, min(start + READ_AT_ONCE, len(packed))), start):
            _, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            areas = statistics[1:, cv2.CC_STAT_AREA]
            small = areas < SPECK * areas.max(initial=0)
            if small.any():
                packed[at] = pack(np.concatenate([[0], ~small]).astype(np.uint8)[pieces])
    return MaskTrack(tuple(packed), masks.shape, masks.fps)
