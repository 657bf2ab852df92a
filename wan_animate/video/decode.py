"""Random access to a video's frames, and conversion to RGB."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from fractions import Fraction
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from .. import workers
from ..errors import InputError
from .deinterlace import Deinterlacer
from .display import Turn, orientation, pixel_shape, turned
from .hdr import mapping
from .index import ClipFile, ClipIndex, video_stream

# SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT; PyAV 16 has no names for the last two. By default swscale
# upsamples chroma with nearest neighbour: up to 2.3 pixel values off and 1.1 too dark on average, which accumulates
# over segments. With these flags it is within half a pixel value of the exact formula.
EXACT = 0x2 | 0x40000 | 0x2000
# ITU-T H.273 code points.
_UNSPECIFIED, _BT2020, _FULL_RANGE = 2, 9, 2
_UNKNOWN_MATRICES = {8: "YCgCo", 11: "Y'D'zD'x", 12: "chromaticity-derived YCbCr", 13: "chromaticity-derived YCbCr",
                     14: "ICtCp", 15: "IPT-C2 (Dolby Vision)", 16: "YCgCo-Re", 17: "YCgCo-Ro"}  # fmt: skip
# Segments overlap by the previous frames, so the most recent frames are cached.
_KEPT_FRAMES = 12
_KEPT_BYTES = 40 << 20
# Pixels that FFmpeg's threads work on: each holds two frames, and it starts one a core, up to 16: of 4K 400 MB.
_PIXELS_AT_ONCE = 4 * 3840 * 2160
# Pixels that are converted at once, in threads: a frame of 4K takes 60 MB meanwhile.
_CONVERTED_AT_ONCE = 2 * 3840 * 2160
# Decoding this many frames forward is cheaper than a seek.
_STEP_OVER = 8
_TAIL = 2


def to_rgb(
    frame: av.VideoFrame,
    reformatter: VideoReformatter | None = None,
    out: np.ndarray | None = None,
    turn: Turn | None = None,
) -> np.ndarray:
    """A decoded frame as upright SDR BT.709 RGB (:mod:`.hdr`), uint8 ``[H, W, 3]``; pixels stay non-square.

    Untagged video is BT.709 from 1280 wide or above 576 high, else BT.601, as in players.

    Args:
        reformatter: to reuse, one per thread.
        turn: :func:`.display.orientation` if known.
    """
    turn = orientation(frame) if turn is None else turn
    tone = mapping(frame)
    if tone is not None:
        return tone.apply(*as_coded(frame, reformatter, turn), out)
    reformatter = reformatter or VideoReformatter()
    options = _options(frame)
    if frame.format.is_rgb:
        image = reformatter.reformat(frame, format="rgb24", **options).to_ndarray()
    else:
        # Same values as rgb24 in less than half the time: swscale is vectorized for planar output only.
        planar = reformatter.reformat(frame, format="gbrp", **options)
        image = _packed(planar, np.uint8, None if any(turn) else out)
    image = turned(image, turn, out)
    if out is None or image is out:
        return image
    out[:] = image
    return out


def as_coded(
    frame: av.VideoFrame, reformatter: VideoReformatter | None = None, turn: Turn | None = None
) -> tuple[np.ndarray, float]:
    """(upright RGB without tone mapping, uint16 ``[H, W, 3]``; its value of 1.0), for :class:`.hdr.Mapping`."""
    planar = (reformatter or VideoReformatter()).reformat(frame, format="gbrp16le", **_options(frame))
    # swscale widens by shifting: white is 255 * 256 from limited range, (2^depth - 1) << (16 - depth) from full range.
    full = frame.format.is_rgb or frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    depth = min(max(part.bits for part in frame.format.components), 16)
    white = float((1 << depth) - 1 << 16 - depth) if full else 255.0 * 256
    return turned(_packed(planar, np.uint16), orientation(frame) if turn is None else turn), white


def _options(frame: av.VideoFrame) -> dict[str, Any]:
    # as many threads as there are frames at once; of large ones, which are few, each has several
    threads = max(1, workers.COUNT // _at_once(frame)) if workers.COUNT > 1 else 0
    options: dict[str, Any] = {"interpolation": EXACT, "threads": threads}
    if frame.format.is_rgb:
        return options
    if frame.colorspace == _UNSPECIFIED:
        tone = mapping(frame)
        if tone is not None and tone.primaries == "BT.2020":
            frame.colorspace = _BT2020  # PyAV 17 has no such src_colorspace
        else:
            options["src_colorspace"] = "itu709" if frame.width >= 1280 or frame.height > 576 else "itu601"
    elif unknown := _UNKNOWN_MATRICES.get(int(frame.colorspace)):
        raise InputError(
            f"the video's colours are coded as {unknown}, which FFmpeg's scaler cannot read: export it again as "
            "ordinary H.264 in BT.709."
        )
    return options


def _at_once(frame: av.VideoFrame) -> int:
    return max(1, _CONVERTED_AT_ONCE // (frame.width * frame.height))


def _packed(planar: av.VideoFrame, kind: type, out: np.ndarray | None = None) -> np.ndarray:
    size, planes = np.dtype(kind).itemsize, cast(Any, planar.planes)
    channels: list[np.ndarray] = [
        np.frombuffer(plane, kind).reshape(-1, plane.line_size // size)[: planar.height, : planar.width]
        for plane in planes
    ]
    green, blue, red = channels
    return cv2.merge([red, green, blue], out)


class ClipDecoder:
    """Decodes frames of a clip by number.

    Sequential reading decodes each frame once; going back seeks. Timestamps identify frames, wherever a seek lands.

    Args:
        convert: (deinterlaced frame, array to write to or None) -> image.

    Attributes:
        pixel_shape: pixel aspect ratio, set by :meth:`frame`.
        decoded: frames decoded so far.
    """

    def __init__(
        self, file: ClipFile, index: ClipIndex, convert: Callable[[av.VideoFrame, np.ndarray | None], np.ndarray]
    ) -> None:
        self._file, self._index, self._convert = file, index, convert
        self._recent: deque[tuple[int, av.VideoFrame]] = deque(maxlen=_KEPT_FRAMES)
        self._container: InputContainer | None = None
        self._stream: av.VideoStream | None = None
        self._frames: Iterator[Any] | None = None
        self._at = -1  # number of the frame decoded last
        self._last: av.VideoFrame | None = None
        self.pixel_shape = Fraction(1)
        self._interlaced = False  # whether any frame so far was
        self._fields = threading.local()
        self.decoded = 0

    def get(self, number: int) -> np.ndarray:
        """Frame ``number``, converted. Raises InputError."""
        return self._convert_shown(*self._shown(number), None)

    def frame(self, number: int) -> av.VideoFrame:
        """As :meth:`get`, without conversion."""
        frame = self._frame(number)
        if self._stream is not None:
            self.pixel_shape = pixel_shape(self._stream)
        return frame

    def read(self, numbers: Sequence[int], out: np.ndarray) -> None:
        """:meth:`get` into ``out`` ``[n, H, W, 3]``; converts in threads while decoding."""
        converting: deque[Future] = deque()
        again: list[tuple[int, int]] = []  # (index of a repeated frame, index of its first occurrence)
        try:
            for at, number in enumerate(numbers):
                if at and number == numbers[at - 1]:
                    again.append((at, again[-1][1] if again and again[-1][0] == at - 1 else at - 1))
                    continue
                shown = self._shown(number)
                while len(converting) >= min(workers.COUNT + 1, _at_once(shown[1])):
                    converting.popleft().result()
                converting.append(workers.submit(self._convert_shown, *shown, out[at]))
            while converting:
                converting.popleft().result()
        finally:
            wait(converting)  # no thread writes to ``out`` after an error
        for at, first in again:
            out[at] = out[first]

    def _convert_shown(
        self, before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None, out: np.ndarray | None
    ) -> np.ndarray:
        if frame.interlaced_frame:
            if not hasattr(self._fields, "own"):
                self._fields.own = Deinterlacer()
            frame = self._fields.own(before, frame, after)
        return self._convert(frame, out)

    def _shown(self, number: int) -> tuple[av.VideoFrame | None, av.VideoFrame, av.VideoFrame | None]:
        """(before, frame, after); the neighbours only if it is interlaced."""
        before = self._neighbour(number - 1) if self._interlaced else None
        frame = self._frame(number)
        if not frame.interlaced_frame:
            return None, frame, None
        if not self._interlaced:
            self._interlaced = True
            before = self._neighbour(number - 1)
        return before, frame, self._neighbour(number + 1)

    def _neighbour(self, number: int) -> av.VideoFrame | None:
        if not 0 <= number < len(self._index):
            return None
        try:
            return self._frame(number)
        except InputError:  # damaged, but only a neighbour
            return None

    def _frame(self, number: int) -> av.VideoFrame:
        """Cached as decoded: 4:2:0 is half the size of RGB."""
        for kept, frame in self._recent:
            if kept == number:
                return frame
        frame = self._find(number)
        self._recent.append((number, frame))
        size = 3 * frame.width * frame.height // 2  # assumes 8-bit 4:2:0; asking the planes is slow
        while len(self._recent) > 3 and size * len(self._recent) > _KEPT_BYTES:
            self._recent.popleft()
        return frame

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = self._stream = self._frames = self._last = None
        self._recent.clear()
        self._fields = threading.local()

    def _find(self, number: int) -> av.VideoFrame:
        if number == self._at and self._last is not None:
            return self._last
        at = self._next() if self._ahead(number) else None
        if at is None:
            at = self._seek(number)
        while at is not None and at < number:
            at = self._next()
        if at == number and self._last is not None:
            return self._last
        if number >= len(self._index) - _TAIL and self._last is not None and self._at < number:
            return self._last  # the encoder never flushed the end: hold the picture, as players do
        self.close()
        seconds = self._index.times[number]
        raise InputError(
            f"{self._file.name}: frame {number} (at {seconds:.2f} s) of {len(self._index)} cannot be decoded; the file "
            f"is damaged there: download or export it again, or set start and limit so that the frame is left out."
        )

    def _ahead(self, number: int) -> bool:
        if self._frames is None or number <= self._at:
            return False
        if self._index.stamps is None or number - self._at <= _STEP_OVER:
            return True
        return not self._key_before(number) > self._at

    def _key_before(self, number: int) -> int:
        at = int(np.searchsorted(self._index.keys, number, side="right")) - 1
        return int(self._index.keys[at]) if at >= 0 else 0

    def _seek(self, number: int) -> int | None:
        """Seeks to or before ``number``; returns the frame decoded there."""
        if self._index.stamps is not None:
            key = self._key_before(number)
            # Containers seek by decoding time and may land one keyframe too late.
            for _ in range(3):
                if key == 0:
                    break
                container = self._open(restart=False)
                try:
                    container.seek(int(self._index.stamps[key]), stream=self._stream)
                except av.error.FFmpegError:
                    break
                self._begin(container)
                at = self._next()
                if at is not None and at <= number:
                    return at
                key = self._key_before(key - 1)
        self._begin(self._open(restart=True))
        return self._next()

    def _open(self, restart: bool) -> InputContainer:
        if self._container is not None and not restart:
            return self._container
        if self._container is not None:
            self._container.close()  # raw streams cannot seek back
        self._container = self._file.open()
        self._stream = video_stream(self._container, self._file.name)
        self._stream.thread_type = "AUTO"
        codec = self._stream.codec_context
        most = max(2, _PIXELS_AT_ONCE // max(codec.width * codec.height, 1))
        if most <= (os.cpu_count() or 1):
            codec.thread_count = most
        return self._container

    def _begin(self, container: InputContainer) -> None:
        self._frames = container.decode(self._stream)
        self._at, self._last = -1, None

    def _next(self) -> int | None:
        failures = 0
        while self._container is not None and self._frames is not None:
            try:
                frame = next(self._frames)
            except (StopIteration, EOFError):
                self._frames = None
                return None
            except av.error.FFmpegError:
                failures += 1
                if failures > 500:
                    return None
                self._frames = self._container.decode(self._stream)  # continues after the damaged packet
                continue
            self.decoded += 1
            number = self._number(frame)
            if number is not None:
                self._at, self._last = number, frame
                return number
        return None

    def _number(self, frame: av.VideoFrame) -> int | None:
        if self._index.stamps is None:
            return self._at + 1
        if frame.pts is None:
            return None
        at = int(np.searchsorted(self._index.stamps, frame.pts))
        return at if at < len(self._index.stamps) and self._index.stamps[at] == frame.pts else None
