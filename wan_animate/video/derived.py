"""Frame sources made of another one: a part of it, or another size.

A clip that is already in memory (a host's video made of tensors), at another rate and size, with its sound.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np

from ..errors import InputError
from .frames import FrameSource
from .resample import area_size, as_rate, fill_size, place, placement, sample_frames


class ResizedSource(FrameSource):
    """Another source at ``width`` x ``height``, its aspect ratio kept: :func:`.resample.placement` says how.

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


class SampledSource(FrameSource):
    """Another source at another rate: frames are left out or repeated, by the rule of :class:`.source.VideoSource`.

    Args:
        source: the clip, its frames evenly spaced.
        fps: frames a second to give; 0 keeps the clip's.
        start: first frame, counted at ``fps``.
        limit: how many frames at most; 0 for all.

    Raises:
        InputError: ``start`` lies behind the end.
    """

    def __init__(self, source: FrameSource, fps: Fraction | float | int = 30, start: int = 0, limit: int = 0):
        self._source = source
        self.kind, self.width, self.height = source.kind, source.width, source.height
        self.picture = source.picture
        self.fps = as_rate(fps) if fps else source.fps
        count = len(source)
        numbers = sample_frames(
            np.arange(count) / float(source.fps), source.fps, True, float(count / source.fps), self.fps
        )
        if start >= len(numbers):
            raise InputError(
                f"start is frame {start}, but the video has {len(numbers)} frames at {float(self.fps):g} fps: "
                "start earlier."
            )
        self._numbers = numbers[start : start + limit] if limit else numbers[start:]
        self.start_seconds = start / float(self.fps)

    def __len__(self) -> int:
        return len(self._numbers)

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.concatenate([self._source.read(number, number + 1) for number in self._numbers[start:stop].tolist()])

    def fingerprint(self) -> str:
        numbers = hashlib.blake2b(self._numbers.tobytes(), digest_size=8).hexdigest()
        return f"sampled:{numbers}:{len(self)}:{self.fps}:{self._source.fingerprint()}"

    def close(self) -> None:
        self._source.close()


def at_area(source: FrameSource, max_area: int, fit: str = "fill") -> FrameSource:
    """The source scaled to ``max_area`` pixels with sides divisible by 16, as :class:`.source.VideoSource` does it."""
    size = (fill_size if fit == "fill" else area_size)(source.width, source.height, max_area)
    return source if size == (source.width, source.height) else ResizedSource(source, *size, fit)


def cut_audio(audio: dict | None, start_seconds: float, duration_seconds: float) -> dict | None:
    """A stretch of sound held in memory: ``waveform`` ``[1, C, N]`` and ``sample_rate``; None where there is none."""
    if audio is None:
        return None
    rate = int(audio["sample_rate"])
    first = round(start_seconds * rate)
    waveform = audio["waveform"][..., first : first + round(duration_seconds * rate)]
    return {"waveform": waveform, "sample_rate": rate} if waveform.shape[-1] else None
