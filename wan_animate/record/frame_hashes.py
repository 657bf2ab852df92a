"""Hashes of a clip's lossless frames, whole and by segment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..video.frames import FrameSource, as_uint8

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


def clip_hashes(clip: FrameSource, segments: Iterable[int]) -> FrameHashes:
    """Of a clip that is read through; ``segments``: the number of frames of each."""
    hashes, start = FrameHashes(), 0
    for count in segments:
        for _, _, frames in clip.batches(clip.chunk, start, start + count):
            hashes.add(as_uint8(frames))
        hashes.end_segment()
        start += count
    return hashes
