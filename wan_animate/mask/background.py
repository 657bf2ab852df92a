"""The clip without its character."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..video.derived import DerivedSource, lasting
from ..video.frames import FrameSource
from .track import binary


class BackgroundSource(DerivedSource):
    """Frames with the masked area black, in their dtype. A single frame or mask repeats.

    Raises:
        InputError: lengths, sizes or kinds do not match.
    """

    kind = "image"

    def __init__(self, frames: FrameSource, mask: FrameSource):
        if frames.kind != "image" or mask.kind != "mask":
            raise InputError(
                f"background: it takes images and masks, but got {frames.kind}s and {mask.kind}s; swap or convert them."
            )
        frames, mask = lasting(frames, mask), lasting(mask, frames)
        if len(frames) != len(mask):
            raise InputError(
                f"background: there are {len(frames)} frames and {len(mask)} masks; make the mask from the same clip."
            )
        if (frames.width, frames.height) != (mask.width, mask.height):
            raise InputError(
                f"background: frames are {frames.width}x{frames.height} and masks {mask.width}x{mask.height}; "
                "resize the mask to the frames."
            )
        super().__init__(frames, mask)
        self.mask = mask

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = None
        for first, last, chunk in self.source.batches(self.chunk, start, stop):
            if out is None:
                out = np.empty((stop - start, *chunk.shape[1:]), chunk.dtype)
            keep = (1 - binary(self.mask.read(first, last)))[..., None]
            np.multiply(chunk, keep, out=out[first - start : last - start], casting="same_kind")
        assert out is not None  # start < stop
        return out

    def fingerprint(self) -> str:
        return f"background:({self.source.fingerprint()})({self.mask.fingerprint()})"
