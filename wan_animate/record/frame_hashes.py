"""Hashes of a clip's lossless frames, whole and by segment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIZE = 16  # bytes
UNKNOWN = "0" * 2 * SIZE


def _new() -> Any:
    return hashlib.blake2b(digest_size=SIZE)


@dataclass
class FrameHashes:
    """BLAKE2b of uint8 RGB pixels in reading order.

    Attributes:
        segments: hexadecimal, of each finished segment.
    """

    segments: list[str] = field(default_factory=list)
    _whole: Any = field(default_factory=_new, repr=False)
    _segment: Any = field(default_factory=_new, repr=False)

    def add(self, frames: np.ndarray) -> None:
        """Frames, uint8 ``[n, H, W, 3]``."""
        data = np.ascontiguousarray(frames).data
        self._whole.update(data)
        self._segment.update(data)

    def end_segment(self) -> None:
        self.segments.append(self._segment.hexdigest())
        self._segment = _new()

    @property
    def whole(self) -> str:
        return self._whole.hexdigest()
