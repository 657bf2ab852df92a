"""Frame sources made of another one: a part of it, or another size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .errors import InputError
from .frames import FrameSource, place, placement


class SlicedSource(FrameSource):
    """Frames ``start`` up to ``stop`` of another source (``stop`` None: to its end)."""

    def __init__(self, source: FrameSource, start: int = 0, stop: int | None = None):
        stop = len(source) if stop is None else stop
        if not 0 <= start < stop <= len(source):
            raise InputError(f"frames {start} to {stop} were asked of a clip of {len(source)}: choose a part of it.")
        self._source, self._start, self._stop = source, start, stop
        self.kind, self.width, self.height, self.fps = source.kind, source.width, source.height, source.fps
        self.picture = source.picture
        if source.start_seconds is not None:
            self.start_seconds = source.start_seconds + start / float(source.fps)

    def __len__(self) -> int:
        return self._stop - self._start

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self._source.read(self._start + start, self._start + stop)

    def is_black(self) -> bool | None:
        return self._source.is_black() or None  # a part of what is not may be

    def is_finite(self) -> bool | None:
        return self._source.is_finite() or None

    def fingerprint(self) -> str:
        return f"slice:{self._start}:{self._stop}:{self._source.fingerprint()}"

    def close(self) -> None:
        self._source.close()


class ResizedSource(FrameSource):
    """Another source at ``width`` x ``height``, its aspect ratio kept: :func:`.frames.placement` says how.

    Masks are scaled with nearest neighbour, so that a hard mask stays hard; around them is 0.
    """

    def __init__(self, source: FrameSource, width: int, height: int, fit: str = "fill"):
        if width < 1 or height < 1:
            raise InputError(f"the size is {width}x{height}: both sides must be at least 1.")
        self._source = source
        self.kind, self.width, self.height, self.fps = source.kind, int(width), int(height), source.fps
        self._where = left, top, new_width, new_height = placement(source.width, source.height, width, height, fit)
        x, y, shown_width, shown_height = source.picture or (0, 0, source.width, source.height)
        across, down = new_width / source.width, new_height / source.height
        self.picture = (left + x * across, top + y * down, shown_width * across, shown_height * down)
        self.start_seconds = source.start_seconds

    def __len__(self) -> int:
        return len(self._source)

    def _read(self, start: int, stop: int) -> np.ndarray:
        frames = self._source.read(start, stop)
        if frames.shape[1:3] == (self.height, self.width):
            return frames
        interpolation = 0 if self.kind == "mask" else None  # cv2.INTER_NEAREST
        out = np.empty((stop - start, self.height, self.width, *frames.shape[3:]), frames.dtype)
        for at, frame in enumerate(frames):
            place(np.ascontiguousarray(frame), self._where, self.width, self.height, interpolation, out[at])
        return out

    def is_black(self) -> bool | None:
        return self._source.is_black()

    def is_finite(self) -> bool | None:
        return self._source.is_finite()

    def fingerprint(self) -> str:
        return f"resize:{self.width}x{self.height}:{self._where}:{self._source.fingerprint()}"

    def close(self) -> None:
        self._source.close()


class RepeatedSource(FrameSource):
    """One picture or mask that stands for each of ``count`` frames."""

    def __init__(self, source: FrameSource, count: int, fps: Fraction | None = None):
        if len(source) != 1:
            raise InputError(f"one frame was expected to stand for {count}, but there are {len(source)}.")
        self._source, self._count = source, int(count)
        self.kind, self.width, self.height, self.fps = source.kind, source.width, source.height, fps or source.fps
        self.picture = source.picture

    def __len__(self) -> int:
        return self._count

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.repeat(self._source.read(0, 1), stop - start, axis=0)

    def is_black(self) -> bool | None:
        return self._source.is_black()

    def is_finite(self) -> bool | None:
        return self._source.is_finite()

    def fingerprint(self) -> str:
        return f"repeat:{self._count}:{self._source.fingerprint()}"

    def close(self) -> None:
        self._source.close()


def lasting(source: FrameSource, frames: FrameSource) -> FrameSource:
    """A source for a clip of ``frames``: a single picture or mask stands for every frame, anything else stays."""
    return source if len(source) != 1 or len(frames) == 1 else RepeatedSource(source, len(frames), frames.fps)
