"""Masks from images."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..video.derived import DerivedSource
from ..video.frames import FrameSource

CHANNELS = ("red", "green", "blue", "luma")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as image editors turn colour to grey


class MaskFromImages(DerivedSource):
    """One channel of images as masks of the same dtype; white is character."""

    kind = "mask"

    def __init__(self, source: FrameSource, channel: str = "red"):
        if channel not in CHANNELS:
            raise InputError(f"mask: channel is {channel!r}, but it must be one of {', '.join(CHANNELS)}.")
        if source.kind != "image":
            raise InputError("mask: the input already is a clip of masks; connect it directly.")
        super().__init__(source)
        self.channel = channel

    def _read(self, start: int, stop: int) -> np.ndarray:
        frames = self.source.read(start, stop)
        if self.channel != "luma":
            return frames[..., CHANNELS.index(self.channel)]
        # Not cv2.cvtColor: its fixed-point weights put 22,043 of the 16.8 million colours one pixel value off, 136 of
        # them across the middle, so the masks of a half-finished job would change under the same key.
        grey = frames @ LUMA
        return np.rint(grey).astype(np.uint8) if frames.dtype == np.uint8 else grey

    def is_black(self) -> bool | None:
        return self.source.is_black() or None  # a single channel may be black

    def fingerprint(self) -> str:
        return f"channel:{self.channel}:{self.source.fingerprint()}"
