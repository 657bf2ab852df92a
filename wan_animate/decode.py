"""Frames of a clip by number, decoded one after the other.

The decoder stays open and remembers where it is: reading on decodes each frame once. Going back seeks to the keyframe
before the wanted frame; frames are told by their timestamps, so a seek can land anywhere and the answer is the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from . import workers
from .clip import ClipFile, ClipIndex, video_stream
from .errors import InputError

# Without these swscale takes a fast path with nearest-neighbour chroma that is up to 2.3 levels off, 1.1 too dark on
# average: a drift that a chain of segments would add up. With them it is within half a level of the exact formula.
# libswscale's SWS_BILINEAR, SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT by number: PyAV 16 has no names for the last two.
EXACT = 0x2 | 0x40000 | 0x2000
_UNSPECIFIED = 2
# Segments overlap by a few frames (guidance): the last ones given out stay at hand, in number and in bytes bounded.
_KEPT_FRAMES = 12
_KEPT_BYTES = 64 << 20
# Decoding this many frames forward is cheaper than a seek.
_STEP_OVER = 8
_TAIL = 2


def to_rgb(
    frame: av.VideoFrame, reformatter: VideoReformatter | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """A decoded frame as upright RGB, uint8 ``[H, W, 3]``, in ``out`` where that is given.

    ``reformatter`` is kept by whoever converts many frames, one for each thread: setting one up takes as long as
    converting a quarter of a frame.

    The frame's own matrix and range tags are followed. Untagged video is taken as players take it: BT.709 when it is HD
    (1280 wide or over 576 high), BT.601 below. The display matrix's rotation is applied.
    """
    reformatter = reformatter or VideoReformatter()
    options = {"interpolation": EXACT, "threads": 1 if workers.COUNT > 1 else 0}  # several frames at once, or one
    turns = _quarter_turns(frame)
    if frame.format.is_rgb:
        image = reformatter.reformat(frame, format="rgb24", **options).to_ndarray()
    else:
        if frame.colorspace == _UNSPECIFIED:
            options["src_colorspace"] = "itu709" if frame.width >= 1280 or frame.height > 576 else "itu601"
        # The same numbers as packed RGB, but swscale has vector code for planes alone: less than half the time.
        planar = reformatter.reformat(frame, format="gbrp", **options)
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
            for plane in planar.planes
        )
        image = cv2.merge([red, green, blue], None if turns else out)
    if turns:
        image = np.ascontiguousarray(np.rot90(image, turns))
    if out is None or image is out:
        return image
    out[:] = image
    return out


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of what :func:`to_rgb` makes of it; within one stream it can change."""
    return (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Counter-clockwise, 0..3."""
    return round(frame.rotation / 90) % 4


class ClipDecoder:
    """Gives frame ``i`` of an indexed clip.

    After a seek the frames that come before the keyframe lean on pictures that were not decoded; they are passed over,
    as the frame that was asked for is the keyframe or lies behind it.

    Args:
        file, index: the clip.
        convert: what to make of a decoded frame, in the array it is given unless that is None.
    """

    def __init__(
        self, file: ClipFile, index: ClipIndex, convert: Callable[[av.VideoFrame, np.ndarray | None], np.ndarray]
    ):
        self._file, self._index, self._convert = file, index, convert
        self._recent: deque[tuple[int, av.VideoFrame]] = deque(maxlen=_KEPT_FRAMES)
        self._container = self._stream = self._frames = None
        self._at = -1  # number of the frame decoded last
        self._last: av.VideoFrame | None = None
        self.decoded = 0  # frames decoded since opening: how the tests see that nothing is decoded twice

    def get(self, number: int) -> np.ndarray:
        """Frame ``number``, converted.

        Raises:
            InputError: the frame cannot be decoded, or the file is gone.
        """
        return self._convert(self._frame(number), None)

    def read(self, numbers: Sequence[int], out: np.ndarray) -> None:
        """Frames ``numbers`` into ``out`` ``[n, H, W, 3]``: while one is converted the next are decoded.

        Raises:
            InputError: as :meth:`get`.
        """
        converting: deque[Future] = deque()
        again: list[tuple[int, int]] = []  # a frame shown several times, and where it was first
        try:
            for at, number in enumerate(numbers):
                if at and number == numbers[at - 1]:
                    again.append((at, again[-1][1] if again and again[-1][0] == at - 1 else at - 1))
                    continue
                converting.append(workers.submit(self._convert, self._frame(number), out[at]))
                if len(converting) > workers.COUNT:
                    converting.popleft().result()
            while converting:
                converting.popleft().result()
        finally:
            wait(converting)  # nothing writes into ``out`` after an error
        for at, first in again:
            out[at] = out[first]

    def _frame(self, number: int) -> av.VideoFrame:
        """Frame ``number`` as decoded; the last few are kept so, half the size of their pictures."""
        for kept, frame in self._recent:
            if kept == number:
                return frame
        frame = self._find(number)
        self._recent.append((number, frame))
        size = 3 * frame.width * frame.height // 2  # of most; asking the planes takes longer than all else here
        while len(self._recent) > 2 and size * len(self._recent) > _KEPT_BYTES:
            self._recent.popleft()
        return frame

    def close(self) -> None:
        """Let go of the file and of every frame."""
        if self._container is not None:
            self._container.close()
        self._container = self._stream = self._frames = self._last = None
        self._recent.clear()

    def _find(self, number: int) -> av.VideoFrame:
        if number == self._at and self._last is not None:
            return self._last
        at = self._next(number) if self._ahead(number) else None
        if at is None:
            at = self._seek(number)
        while at is not None and at < number:
            at = self._next(number)
        if at == number:
            return self._last
        if number >= len(self._index) - _TAIL and self._last is not None and self._at < number:
            return self._last  # the very end was never flushed: hold the picture, as players do
        self.close()
        seconds = self._index.times[number]
        raise InputError(
            f"{self._file.name}: frame {number} (at {seconds:.2f} s) of {len(self._index)} cannot be decoded; the file "
            f"is damaged there: download or export it again, or set start and limit so that the frame is left out."
        )

    def _ahead(self, number: int) -> bool:
        """Whether decoding on from here is the way to ``number``."""
        if self._frames is None or number <= self._at:
            return False
        if self._index.stamps is None or number - self._at <= _STEP_OVER:
            return True
        return not self._key_before(number) > self._at

    def _key_before(self, number: int) -> int:
        at = int(np.searchsorted(self._index.keys, number, side="right")) - 1
        return int(self._index.keys[at]) if at >= 0 else 0

    def _seek(self, number: int) -> int | None:
        """Place the decoder at or before ``number`` and decode one frame; returns that frame's number."""
        if self._index.stamps is not None:
            key = self._key_before(number)
            # A container seeks by decoding time, and can land a keyframe too late where keyframes lie close together.
            for _ in range(3):
                if key == 0:
                    break
                self._open(restart=False)
                try:
                    self._container.seek(int(self._index.stamps[key]), stream=self._stream)
                except av.error.FFmpegError:
                    break
                self._begin()
                at = self._next(number)
                if at is not None and at <= number:
                    return at
                key = self._key_before(key - 1)
        self._open(restart=True)
        self._begin()
        return self._next(number)

    def _open(self, restart: bool) -> None:
        if self._container is not None and not restart:
            return
        if self._container is not None:
            self._container.close()  # a raw stream cannot be rewound; opening again always can
        self._container = self._file.open()
        self._stream = video_stream(self._container, self._file.name)
        self._stream.thread_type = "AUTO"

    def _begin(self) -> None:
        self._frames = self._container.decode(self._stream)
        self._at, self._last = -1, None

    def _next(self, wanted: int) -> int | None:
        """Decode on until the next frame that counts; its number, None at the end."""
        failures = 0
        while True:
            try:
                frame = next(self._frames)
            except (StopIteration, EOFError):
                self._frames = None
                return None
            except av.error.FFmpegError:
                failures += 1
                if failures > 500:
                    return None
                self._frames = self._container.decode(self._stream)  # goes on at the packet after the bad one
                continue
            self.decoded += 1
            number = self._number(frame)
            if number is not None:
                self._at, self._last = number, frame
                return number

    def _number(self, frame: av.VideoFrame) -> int | None:
        if self._index.stamps is None:
            return self._at + 1
        if frame.pts is None:
            return None
        at = int(np.searchsorted(self._index.stamps, frame.pts))
        return at if at < len(self._index.stamps) and self._index.stamps[at] == frame.pts else None
