"""Frame sources made from others: resized, repeated or resampled in time."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np

from ..errors import InputError
from .frames import FrameSource
from .resample import area_size, as_rate, cut_note, fill_size, place, placement, sample_frames


class DerivedSource(FrameSource):
    """Base: length, size, rate, place in its clip and, where the size stays, scale of the first source; ``close``
    closes all."""

    def __init__(self, source: FrameSource, *others: FrameSource) -> None:
        self.source = source
        self.width, self.height, self.fps = source.width, source.height, source.fps
        self.part_of, self.notes = source.part_of, source.notes
        self._others = others

    @property
    def chunk(self) -> int:
        return min(super().chunk, *(source.chunk for source in (self.source, *self._others)))

    @property
    def by_network(self) -> bool:
        return any(source.by_network for source in (self.source, *self._others))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def native_scale(self) -> float | None:
        known = super().native_scale
        same = (self.width, self.height) == (self.source.width, self.source.height)
        return self.source.native_scale if known is None and same else known

    def close(self) -> None:
        for source in (self.source, *self._others):
            source.close()


class ResizedSource(DerivedSource):
    """Resized by :func:`.resample.placement`; masks with nearest neighbour."""

    def __init__(self, source: FrameSource, width: int, height: int, fit: str = "fill"):
        if width < 1 or height < 1:
            raise InputError(f"the size is {width}x{height}: both sides must be at least 1.")
        super().__init__(source)
        self.kind, self.width, self.height = source.kind, int(width), int(height)
        self._where = left, top, new_width, new_height = placement(source.width, source.height, width, height, fit)
        x, y, shown_width, shown_height = source.picture or (0, 0, source.width, source.height)
        across, down = new_width / source.width, new_height / source.height
        self.picture = (left + x * across, top + y * down, shown_width * across, shown_height * down)
        self.native_size = source.native_size
        self.start_seconds = source.start_seconds

    @property
    def native_scale(self) -> float:
        """As of :class:`.frames.FrameSource`; where it is unknown of the source, of the source's pixels."""
        return (self.source.native_scale or 1.0) * self._where[2] / self.source.width

    def _read(self, start: int, stop: int) -> np.ndarray:
        frames = self.source.read(start, stop)
        if frames.shape[1:3] == (self.height, self.width):
            return frames
        interpolation = 0 if self.kind == "mask" else None  # cv2.INTER_NEAREST
        out = np.empty((stop - start, self.height, self.width, *frames.shape[3:]), frames.dtype)
        for at, frame in enumerate(frames):
            place(np.ascontiguousarray(frame), self._where, self.width, self.height, interpolation, out[at])
        return out

    def is_black(self) -> bool | None:
        return self.source.is_black()

    def is_finite(self) -> bool | None:
        return self.source.is_finite()

    def fingerprint(self) -> str:
        return f"resize:{self.width}x{self.height}:{self._where}:{self.source.fingerprint()}"


class PartSource(DerivedSource):
    """Frames ``start`` to ``stop`` (exclusive) of a source."""

    def __init__(self, source: FrameSource, start: int, stop: int):
        super().__init__(source)
        self.kind, self.picture, self._start, self._stop = source.kind, source.picture, start, stop
        if source.start_seconds is not None:
            self.start_seconds = source.start_seconds + start / float(source.fps)
        if source.part_of is not None:
            self.part_of = source.part_of[0] + start, source.part_of[1]

    def __len__(self) -> int:
        return self._stop - self._start

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self.source.read(self._start + start, self._start + stop)

    def fingerprint(self) -> str:
        return f"part:{self._start}:{self._stop}:{self.source.fingerprint()}"


class RepeatedSource(DerivedSource):
    """A single frame ``count`` times."""

    def __init__(self, source: FrameSource, count: int, fps: Fraction | None = None):
        if len(source) != 1:
            raise InputError(f"one frame was expected to stand for {count}, but there are {len(source)}.")
        super().__init__(source)
        self.kind, self.fps, self._count, self.part_of = source.kind, fps or source.fps, int(count), None
        self.picture, self.native_size = source.picture, source.native_size

    def __len__(self) -> int:
        return self._count

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.repeat(self.source.read(0, 1), stop - start, axis=0)

    def is_black(self) -> bool | None:
        return self.source.is_black()

    def is_finite(self) -> bool | None:
        return self.source.is_finite()

    def fingerprint(self) -> str:
        return f"repeat:{self._count}:{self.source.fingerprint()}"


def lasting(source: FrameSource, frames: FrameSource) -> FrameSource:
    """``source``; a single frame is repeated to the length of ``frames``."""
    return source if len(source) != 1 or len(frames) == 1 else RepeatedSource(source, len(frames), frames.fps)


class SampledSource(DerivedSource):
    """Resampled to another frame rate; arguments as of :class:`.source.VideoSource`.

    Raises:
        InputError: ``start`` is past the end.
    """

    def __init__(self, source: FrameSource, fps: Fraction | float | int = 30, start: int = 0, limit: int = 0):
        super().__init__(source)
        self.kind, self.picture, self.native_size = source.kind, source.picture, source.native_size
        self.part_of = None
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
        return np.concatenate([self.source.read(number, number + 1) for number in self._numbers[start:stop].tolist()])

    def fingerprint(self) -> str:
        numbers = hashlib.blake2b(self._numbers.tobytes(), digest_size=8).hexdigest()
        return f"sampled:{numbers}:{len(self)}:{self.fps}:{self.source.fingerprint()}"


def at_area(source: FrameSource, max_area: int, fit: str = "fill") -> FrameSource:
    """Resized to ``max_area`` as by :class:`.source.VideoSource`."""
    size = (fill_size if fit == "fill" else area_size)(source.width, source.height, max_area)
    if size == (source.width, source.height):
        return source
    resized = ResizedSource(source, *size, fit)
    note = cut_note("the video", (source.width, source.height), size, fit)
    resized.notes = [*source.notes, *([note] if note else [])]
    return resized


def cut_audio(audio: dict | None, start_seconds: float, duration_seconds: float) -> dict | None:
    """A range of ComfyUI's AUDIO; None without sound in it."""
    if audio is None:
        return None
    rate = int(audio["sample_rate"])
    first = round(start_seconds * rate)
    waveform = audio["waveform"][..., first : first + round(duration_seconds * rate)]
    return {"waveform": waveform, "sample_rate": rate} if waveform.shape[-1] else None
