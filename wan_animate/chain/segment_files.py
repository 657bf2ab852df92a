"""Files of finished segments, lossless: intra-coded FFV1 in Matroska. Damaged ones are refused."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np

from ..errors import InputError
from ..files import replacing
from ..video.decode import ClipDecoder
from ..video.frames import FrameSource
from ..video.index import ClipFile, index_clip
from ..video.opened import opened

# level 3: slices for multithreading, with checksums; g=1: every frame is a keyframe
OPTIONS = {"level": "3", "slicecrc": "1", "g": "1", "slices": "4"}
KEPT_INDEXES = 16
CONTAINER_OPTIONS = {"fflags": "bitexact"}  # no random segment UID: equal frames give equal files


def bytes_a_pixel(frames: Iterable[np.ndarray]) -> float:
    """What a pixel takes in :func:`write_lossless`, by encoding frames, uint8 ``[H, W, 3]`` of one size."""
    written, pixels, codec = 0, 0, None
    for image in frames:
        if codec is None:
            codec = cast(av.VideoCodecContext, av.CodecContext.create("ffv1", "w"))
            codec.height, codec.width, codec.pix_fmt = *image.shape[:2], "bgr0"
            codec.time_base, codec.options = Fraction(1, 30), OPTIONS
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        written += sum(packet.size for packet in codec.encode(frame))
        pixels += image.shape[0] * image.shape[1]
    if codec is None:
        raise InputError("the size on disk was to be told without any frame.")
    return (written + sum(packet.size for packet in codec.encode(None))) / pixels


def write_lossless(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray] | np.ndarray,
    fps: Fraction | float,
    remedy: str = "",
    written: Callable[[str], None] = lambda temporary: None,
) -> int:
    """Writes RGB frames, uint8 ``[H, W, 3]``, atomically; returns their number.

    Args:
        path: usually ``.mkv``.
        remedy: as of :func:`wan_animate.files.replacing`.
        written: called with the path of the whole file, before it is renamed to ``path``.

    Raises:
        InputError: no frames, different sizes or dtypes, or not writable.
    """
    rate = Fraction(fps).limit_denominator(100_000)
    count, size, stream = 0, None, None
    with replacing(path, "the lossless segment", remedy) as temporary:
        with av.open(temporary, "w", format="matroska", options=CONTAINER_OPTIONS) as container:
            for image in frames:
                image = np.asarray(image)
                if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or (size and image.shape != size):
                    raise InputError(
                        f"frame {count} of a lossless segment is {image.dtype} {list(image.shape)}: uint8 [H, W, 3], "
                        "all of one size, is wanted."
                    )
                if stream is None:
                    size = image.shape
                    stream = container.add_stream("ffv1", rate=rate)
                    stream.height, stream.width, stream.pix_fmt = size[0], size[1], "bgr0"
                    stream.options = OPTIONS
                    stream.thread_type = "SLICE"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = count, 1 / rate
                container.mux(stream.encode(frame))
                count += 1
            if stream is None:
                raise InputError("a lossless segment was to be written without any frame in it.")
            container.mux(stream.encode(None))
        written(temporary)
    return count


class LosslessSource(FrameSource):
    """Concatenated ranges of lossless files.

    Args:
        parts: ``(path, start, stop)``; ``stop`` None is the file's end. Files after the first with a ``stop`` are
            opened on reading.

    Raises:
        InputError: a file is missing, damaged, too short or of another size; also on reading.
    """

    kind = "image"

    def __init__(self, parts: list[tuple[str | os.PathLike, int, int | None]], fps: Fraction | float):
        if not parts:
            raise InputError("there are no segments to play: none was finished.")
        self.fps = Fraction(fps).limit_denominator(100_000)
        self._lock = threading.RLock()
        self.width = self.height = 0
        self._parts: list[tuple[ClipFile, int, int]] = []
        self._decoders: OrderedDict[int, ClipDecoder] = OrderedDict()  # by part, the last used at the end
        self._begins = [0]
        for part, (path, start, stop) in enumerate(parts):
            self._parts.append((ClipFile(path), start, -1 if stop is None else stop))
            if part == 0 or stop is None:
                self._open(part)
            self._begins.append(self._begins[-1] + self._parts[part][2] - start)

    def _open(self, part: int) -> ClipDecoder:
        if part in self._decoders:
            self._decoders.move_to_end(part)
            return self._decoders[part]
        file, start, stop = self._parts[part]
        index = index_clip(file)
        stop = len(index) if stop == -1 else stop
        if index.expected or not 0 <= start < stop <= len(index):
            raise InputError(
                f"{file.name} holds {len(index)} frames and {start} to {stop} are wanted: the segment is damaged; "
                f"delete it ({file.path}) and run again."
            )
        decoder = ClipDecoder(file, index, _rgb)
        height, width = decoder.get(start).shape[:2]
        decoder.close()
        if not self.width:
            self.width, self.height = width, height
        elif (width, height) != (self.width, self.height):
            raise InputError(
                f"{file.name} is {width}x{height}, the segments before it {self.width}x{self.height}: delete it."
            )
        self._parts[part] = file, start, stop
        self._decoders[part] = decoder
        if len(self._decoders) > KEPT_INDEXES:
            self._decoders.popitem(last=False)[1].close()
        return decoder

    def __len__(self) -> int:
        return self._begins[-1]

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width, 3), np.uint8)
        with self._lock:
            opened(self)
            for at, number in enumerate(range(start, stop)):
                part = int(np.searchsorted(self._begins, number, side="right")) - 1
                if self._decoders and (last := next(reversed(self._decoders))) != part:
                    self._decoders[last].close()  # one open file at a time
                out[at] = self._open(part).get(self._parts[part][1] + number - self._begins[part])
        return out

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for file, start, stop in self._parts:
            digest.update(f"{file.digest()}:{start}:{stop};".encode())
        return f"lossless:{digest.hexdigest()}:{self.width}x{self.height}:{self.fps}"

    def close(self) -> None:
        with self._lock:
            for decoder in self._decoders.values():
                decoder.close()


def _rgb(frame: av.VideoFrame, _out: np.ndarray | None = None) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")
