"""A clip that is already in memory (a host's video made of tensors), at another rate and size, with its sound."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np

from .adapt import ResizedSource
from .errors import InputError
from .frames import FrameSource
from .video import area_size, as_rate, fill_size, sample_frames


class SampledSource(FrameSource):
    """Another source at another rate: frames are left out or repeated, by the rule of :class:`.video.VideoSource`.

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
    """The source scaled to ``max_area`` pixels with sides divisible by 16, as :class:`.video.VideoSource` does it."""
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
