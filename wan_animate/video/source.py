"""Video files as frame sources."""

from __future__ import annotations

import copy
import hashlib
import math
import threading
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ..buffers import BufferPool
from ..errors import InputError
from ..limits import MOST_FRAMES, MOST_PIXELS, RATES
from .decode import ClipDecoder, as_coded, to_rgb
from .display import orientation, shown_size
from .frames import FrameSource
from .hdr import mapping
from .index import ClipFile, Report, VideoFile, index_clip
from .notes import conversion_notes
from .opened import opened
from .resample import (
    area_size,
    as_rate,
    cut_note,
    fill_size,
    place,
    placement,
    sample_count,
    sample_frames,
)
from .unchanged import Unchanged

MOST_LINES = 1152
"""Of interlaced video: no standard has more."""
KEYS_LOOKED_AT = 6


class VideoSource(FrameSource):
    """Frames of a video file, RGB uint8, decoded on reading.

    Handles variable frame rates, rotation, mirroring, non-square pixels, interlacing, and HDR (:mod:`.hdr`). Opening
    indexes the file and decodes one frame; up to 1152 lines a few more, to say whether some are interlaced.

    Args:
        fps: output frames per second; 0 keeps every frame, at the average rate.
        max_area: resize to this many pixels, sides divisible by 16: :func:`.resample.fill_size` or
            :func:`.resample.area_size`, by ``fit``.
        size: exact ``(width, height)``; excludes ``max_area``.
        start: first frame, counted at ``fps``.
        limit: maximum number of frames; 0 for all.
        trim: ``(start, duration)`` in seconds, applied first; duration 0 is to the end.
        fit: as of :func:`.resample.placement`.
        report: of reading the file's index.

    Attributes:
        native_fps: average rate.
        start_seconds: time of frame 0 in the file.

    Raises:
        InputError: the file or an argument is unusable.
    """

    kind = "image"
    native_size: tuple[int, int]

    def __init__(
        self,
        file: VideoFile,
        fps: Fraction | float | int = 30,
        max_area: int | None = None,
        size: tuple[int, int] | None = None,
        start: int = 0,
        limit: int = 0,
        trim: tuple[float, float] | None = None,
        fit: str = "fill",
        report: Report | None = None,
    ) -> None:
        if fps < 0 or not math.isfinite(fps):
            raise InputError(f"fps is {fps}: give a rate above 0, or 0 for the clip's own.")
        if start < 0:
            raise InputError(f"start is {start}: the first frame is 0.")
        if limit < 0:
            raise InputError(f"limit is {limit}: give the number of frames, or 0 for all.")
        if max_area and size:
            raise InputError("a size and an area were both given for the video: choose one of them.")
        if size and (size[0] < 1 or size[1] < 1):
            raise InputError(f"the video's size is {size[0]}x{size[1]}: both sides must be at least 1.")
        if max(max_area or 0, size[0] * size[1] if size else 0) > MOST_PIXELS:
            raise InputError(
                f"a video is read with at most {MOST_PIXELS // 10**6} million pixels: give a smaller size."
            )
        self._file = file if isinstance(file, ClipFile) else ClipFile(file)
        self._unchanged = Unchanged(self._file)
        self._lock = threading.RLock()
        self._reformatters = threading.local()
        self._buffers = BufferPool()
        self._index = index_clip(self._file, report)
        self._decoder = ClipDecoder(self._file, self._index, self._convert)
        self._numbers = self._choose(as_rate(fps), start, limit, trim)
        self._fit = fit
        frame = self._decoder.frame(0 if self._index.stamps is None else int(self._numbers[0]))
        self._shape = self._decoder.pixel_shape
        self._rotation, self._turn = frame.rotation, orientation(frame)
        self.native_size = shown_size(frame, self._shape, self._turn)
        if size:
            self.width, self.height = int(size[0]), int(size[1])
        elif max_area:
            self.width, self.height = (fill_size if fit == "fill" else area_size)(*self.native_size, max_area)
        else:
            self.width, self.height = self.native_size
        self.picture = placement(*self.native_size, self.width, self.height, fit)
        self._convert(frame)  # raises here, not in the first read
        self._conversions = self._converted(frame)
        cut = cut_note(self._file.name, self.native_size, (self.width, self.height), fit)
        self.notes = [*self._conversions, *([cut] if cut else [])]
        self._decoder.close()  # a source may be read much later, or never
        self._digest: str | None = None

    def full_size(self) -> VideoSource:
        """The same frames at :attr:`native_size`."""
        if (self.width, self.height) == self.native_size:
            return self
        other = self.apart()
        other.width, other.height = self.native_size
        other.picture = placement(*self.native_size, *self.native_size, self._fit)
        other.notes = self._conversions
        return other

    def apart(self) -> VideoSource:
        """The same frames with a decoder of its own: reading one does not seek in the other."""
        other = copy.copy(self)
        other._lock, other._reformatters, other._buffers = threading.RLock(), threading.local(), BufferPool()
        other._decoder = ClipDecoder(other._file, other._index, other._convert)
        return other

    @property
    def decoded(self) -> int:
        return self._decoder.decoded

    def _converted(self, frame: av.VideoFrame) -> list[str]:
        tone = mapping(frame)
        self._mapped, self._deinterlaced = str(tone) if tone is not None else "", bool(frame.interlaced_frame)
        stored = frame.width, frame.height
        interlaced = self._deinterlaced or (frame.height <= MOST_LINES and self._interlaced_later())
        return conversion_notes(self._file.name, tone, interlaced, stored, self.native_size, self._shape)

    def _interlaced_later(self) -> bool:
        """Whether one of :data:`KEYS_LOOKED_AT` key frames of the part is interlaced; with no key frame but its first,
        one of its first second."""
        first, last = int(self._numbers[0]), int(self._numbers[-1])
        keys = self._index.keys[(self._index.keys > first) & (self._index.keys <= last)]
        if self._index.stamps is None or not len(keys):
            looked = np.arange(first + 1, min(first + math.ceil(self.native_fps), last) + 1)
        else:
            looked = keys[np.unique(np.linspace(0, len(keys) - 1, KEYS_LOOKED_AT).round().astype(int))]
        for number in looked.tolist():
            try:
                if self._decoder.frame(number).interlaced_frame:
                    return True
            except InputError:  # damaged: said where it is read
                pass
        return False

    def _choose(self, fps: Fraction, start: int, limit: int, trim: tuple[float, float] | None) -> np.ndarray:
        """Source frame numbers, int64 ``[T]``; sets fps, native_fps and start_seconds."""
        name, index = self._file.name, self._index
        self.native_fps = index.rate
        low, high, begin, end = 0, len(index), 0.0, index.duration
        if trim and (trim[0] or trim[1]):
            if trim[0] < 0 or trim[1] < 0:
                raise InputError(f"the trim of {name} is {trim[0]:g} s for {trim[1]:g} s: neither may be negative.")
            begin = float(trim[0])
            end = min(begin + trim[1], end) if trim[1] else end
            half_tick = 1e-4  # keeps a frame at the very cut
            low = int(np.searchsorted(index.times, begin - half_tick))
            high = int(np.searchsorted(index.times, end - half_tick)) if trim[1] and end < index.duration else high
            if low >= high:
                raise InputError(
                    f"the trim of {name} starts at {begin:g} s, past its end at {index.duration:.2f} s: trim less."
                )
        times = index.times[low:high] - index.times[low]
        duration = end - float(index.times[low])
        self.fps = fps or index.rate
        if not RATES[0] <= self.fps <= RATES[1]:
            raise InputError(
                f"{name} is read at {float(self.fps):.3g} frames a second, where {RATES[0]:g} to {RATES[1]:g} are "
                "possible: give another fps."
            )
        count = sample_count(times, index.rate, index.constant, duration, fps) if fps else high - low
        self._refuse_truncated(count, start, limit, high)
        if start >= count:
            raise InputError(
                f"start is frame {start}, but {name} has {count} frames at {float(self.fps):g} fps: start earlier."
            )
        stop = min(start + limit, count) if limit else count
        if stop - start > MOST_FRAMES:
            raise InputError(
                f"{name} claims to last {duration / 3600:.3g} hours, {stop - start:,} frames at {float(self.fps):g} "
                f"fps, and at most {MOST_FRAMES:,} are read: set limit, or export it again if that is wrong."
            )
        self.start_seconds = float(index.times[low]) + start / float(self.fps)
        if not fps:
            return np.arange(low + start, low + stop, dtype=np.int64)
        return low + sample_frames(times, index.rate, index.constant, duration, fps, start, stop)

    def _refuse_truncated(self, count: int, start: int, limit: int, high: int) -> None:
        index = self._index
        if not index.expected or high < len(index) or (limit and start + limit <= count):
            return  # complete, at least in the requested part
        readable = f"{len(index)} of about {index.expected} frames ({index.duration:.1f} s)"
        keep = f"set limit to {count - start} or less" if count > start else "choose a part before that"
        raise InputError(
            f"{self._file.name} is cut off: {readable} can be read; download or export it again, or {keep}."
        )

    def _convert(self, frame: av.VideoFrame, out: np.ndarray | None = None) -> np.ndarray:
        if not hasattr(self._reformatters, "own"):
            self._reformatters.own = VideoReformatter()
        reformatter = self._reformatters.own
        turn = self._turn if frame.rotation == self._rotation else orientation(frame)
        shown = shown_size(frame, self._shape, turn)
        if shown == (self.width, self.height) and set(shown) == {frame.width, frame.height}:
            return to_rgb(frame, reformatter, out, turn)
        where = placement(*shown, self.width, self.height, self._fit)
        tone = mapping(frame)
        if tone is None:
            return place(to_rgb(frame, reformatter, None, turn), where, self.width, self.height, out=out)
        coded, white = as_coded(frame, reformatter, turn)
        # Resized first: tone mapping costs time per pixel.
        return tone.apply(place(coded, where, self.width, self.height), white, out)

    def __len__(self) -> int:
        return len(self._numbers)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = self._buffers.array((stop - start, self.height, self.width, 3), np.uint8)
        with self._lock:
            opened(self)
            self._decoder.read(self._numbers[start:stop].tolist(), out)
            self._unchanged.check(self._digest)
        return out

    def file_digest(self) -> str:
        """Hash of the file's content, read once. Raises InputError where it is not the file that was opened."""
        if self._digest is None:
            digest = self._file.digest()
            self._unchanged.check()
            self._digest = digest
        return self._digest

    def fingerprint(self) -> str:
        digest = self.file_digest()
        numbers = hashlib.blake2b(self._numbers.tobytes(), digest_size=8).hexdigest()
        conversion = f"{self.picture}:{self.native_size}:{self._mapped}:{self._deinterlaced}"
        return f"video:{digest}:{numbers}:{len(self)}:{self.width}x{self.height}:{self.fps}:{conversion}"

    def close(self) -> None:
        with self._lock:
            self._decoder.close()
            self._buffers.clear()
