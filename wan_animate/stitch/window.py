"""CropWindow: where the window around the character lies in every frame of a clip, and the size it is sampled at."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ..errors import InputError
from ..shots import shots_of
from ..video.frames import FrameSource


@dataclass(frozen=True, eq=False)
class CropWindow:
    """The window of every frame.

    Attributes:
        places: float64 ``[T, 4]``: left, top, width, height in pixels of the source frames, inside them; of the shape
            of ``size``, or the whole frame.
        source_size: width and height of the source frames.
        size: width and height that the window is sampled at, divisible by 16.
        fps: of the source frames.
        cuts: first frames of new shots; the window may jump there.

    Raises:
        InputError: wrong shapes, or a window that leaves its frame.
    """

    places: np.ndarray
    source_size: tuple[int, int]
    size: tuple[int, int]
    fps: Fraction = Fraction(30)
    cuts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        places = np.asarray(self.places, np.float64)
        if places.ndim != 2 or places.shape[1] != 4 or len(places) == 0 or not np.isfinite(places).all():
            raise InputError(f"crop window: places must be [frames, 4] numbers, but their shape is {places.shape}.")
        right, bottom = (places[:, :2] + places[:, 2:]).max(axis=0)
        if places.min() < 0 or right > self.source_size[0] or bottom > self.source_size[1]:
            raise InputError(
                f"crop window: it leaves the {self.source_size[0]}x{self.source_size[1]} frames; make it again with "
                "Crop to Character."
            )
        if min(places[:, 2:].min(), *self.size) < 1 or self.size[0] % 16 or self.size[1] % 16:
            raise InputError(f"crop window: it is sampled at {self.size}, but both sides must be divisible by 16.")
        for name, value in (
            ("places", places),
            ("source_size", tuple(int(side) for side in self.source_size)),
            ("size", tuple(int(side) for side in self.size)),
            ("fps", Fraction(self.fps).limit_denominator(100_000)),
            ("cuts", tuple(int(cut) for cut in self.cuts)),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shots(self) -> list[tuple[int, int]]:
        """(start, stop) of every shot."""
        return shots_of(self.cuts, len(self))

    @property
    def scale(self) -> float:
        """Sampled pixels for each source pixel, in the median frame."""
        return self.size[1] / float(np.median(self.places[:, 3]))

    @property
    def share(self) -> float:
        """The window's area over the frame's, on average."""
        return float(self.places[:, 2:].prod(axis=1).mean()) / (self.source_size[0] * self.source_size[1])

    @property
    def speed(self) -> float:
        """The largest motion of an edge between two frames of a shot, in source pixels."""
        edges = np.concatenate([self.places[:, :2], self.places[:, :2] + self.places[:, 2:]], axis=1)
        return max(float(np.abs(np.diff(edges[start:stop], axis=0)).max(initial=0.0)) for start, stop in self.shots)

    @property
    def standing(self) -> float:
        """Share of the frames in which the window is where it was in the frame before, cuts aside."""
        still = np.abs(np.diff(self.places, axis=0)).max(axis=1, initial=0.0) < 1 / 32
        return (float(still.sum()) + len(self.shots)) / len(self)

    def part(self, start: int, stop: int) -> CropWindow:
        """Frames ``start`` to ``stop`` (exclusive)."""
        cuts = tuple(cut - start for cut in self.cuts if start < cut < stop)
        return replace(self, places=self.places[start:stop], cuts=cuts)

    def check(self, source: FrameSource) -> None:
        """Raises InputError unless the window belongs to these frames by size and count."""
        if (source.width, source.height) != self.source_size:
            width, height = self.source_size
            raise InputError(
                f"the window was made for frames of {width}x{height}, and these are {source.width}x{source.height}: "
                "connect the frames that Crop to Character was given."
            )
        if len(source) != len(self):
            raise InputError(
                f"the window has {len(self)} frames and the video {len(source)}: connect the frames that Crop to "
                "Character was given."
            )

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(np.ascontiguousarray(self.places).data, digest_size=16)
        return f"window:{self.source_size}:{self.size}:{digest.hexdigest()}"
