"""Index of a video's packets (timestamps, keyframes, truncation), without decoding."""

from __future__ import annotations

import hashlib
import io
import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import av
import numpy as np
from av.container import InputContainer

from ..errors import InputError
from ..limits import MOST_FRAMES, MOST_PIXELS
from .formats import (
    CONTAINER_OPTIONS,
    HEAD_BYTES,
    OPEN_SECONDS,
    READ_SECONDS,
    STREAM_OPTIONS,
    names_others,
)

VideoFile: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | ClipFile"

# Tags need not be UTF-8. PyAV from version 19 on handles that without this argument, and rejects it.
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
# Packet times of these are missing or in decoding order.
_NO_CLOCK = {"avi", "h264", "hevc", "m4v", "mpegvideo", "mpeg1video", "mpeg2video", "obu", "vvc", "rawvideo"}
_STANDARD_RATES = [Fraction(n) for n in (30, 25, 24, 60, 50, 15, 12, 10, 20, 48, 120)]
_STANDARD_RATES += [Fraction(n, 1001) for n in (30000, 24000, 60000)]
# A header may count a frame or two that the encoder never flushed.
_FORGIVEN_FRAMES = 2


class ClipFile:
    """A video on disk or in memory; of a file object the whole content, its position restored."""

    def __init__(self, file: str | os.PathLike[str] | bytes | BinaryIO) -> None:
        self.path: str | None = None
        self._data: bytes | None = None
        if isinstance(file, (str, os.PathLike)):
            self.path = os.fspath(file)
            self.name = f"video '{Path(self.path).name}'"
            if not self.path.strip():
                raise InputError("no video file was named: choose one.")
            if os.path.isdir(self.path):
                raise InputError(f"{self.name} is a folder ({self.path}): name a video file in it.")
            if not os.path.isfile(self.path):
                raise InputError(f"{self.name} was not found at {self.path}: check the name and the folder.")
            if os.path.getsize(self.path) == 0:
                raise InputError(f"{self.name} is empty (0 bytes): copy or download it again.")
        else:
            self.name = "the video held in memory"
            if isinstance(file, (bytes, bytearray, memoryview)):
                self._data = bytes(file)
            elif isinstance(file, io.BytesIO):
                self._data = file.getvalue()  # shared with the BytesIO, not copied
            elif hasattr(file, "read") and hasattr(file, "seek"):
                at = file.tell()
                file.seek(0)
                self._data = file.read()
                file.seek(at)
            else:
                raise InputError(f"a video must be a path or a file object, not {type(file).__name__}.")
            if not self._data:
                raise InputError(f"{self.name} is empty (0 bytes).")

    def open(self) -> InputContainer:
        """This file alone: no format and no protocol is opened that leads to another.

        Raises:
            InputError: no video, gone, or a list of other files.
        """
        try:
            self._refuse_lists()
            return av.open(
                # absolute: a name with a colon in it is no protocol then
                io.BytesIO(self._data or b"") if self.path is None else os.path.abspath(self.path),
                "r",
                options=STREAM_OPTIONS,
                container_options=CONTAINER_OPTIONS,
                timeout=(OPEN_SECONDS, READ_SECONDS),
                **_TAGS,
            )
        except InputError:
            raise
        except PermissionError:
            raise InputError(f"{self.name} may not be read: check its permissions.") from None
        except FileNotFoundError:
            raise InputError(f"{self.name} is gone from {self.path}: it was there when the run began.") from None
        except av.error.ExitError:
            raise InputError(
                f"{self.name} gave nothing in {OPEN_SECONDS:g} seconds: look at the disk, or copy the file to another."
            ) from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{self.name} cannot be opened as a video ({_reason(error)}): it is another kind of file, or was cut "
                "off before its index was written; download or export it again, or name a video (mp4, mov, mkv, webm)."
            ) from None

    def _refuse_lists(self) -> None:
        head = b"" if self._data is None else self._data[:HEAD_BYTES]
        if self.path is not None:
            with open(self.path, "rb") as file:
                head = file.read(HEAD_BYTES)
        what = names_others(head)
        if what is not None:
            raise InputError(
                f"{self.name} is {what}, which names other files, and only the file itself is read: choose one of the "
                "videos that it names."
            )

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        if self._data is not None:
            digest.update(self._data)
        elif self.path is not None:
            try:
                with open(self.path, "rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise InputError(f"{self.name} cannot be read ({error.strerror}): check the file.") from None
        return digest.hexdigest()


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")


@dataclass(frozen=True)
class ClipIndex:
    """Frames of a video stream in presentation order.

    Attributes:
        times: float64 ``[n]``, seconds from the first frame.
        stamps: int64 ``[n]``, strictly ascending pts in the stream's time base, or None.
        keys: int64, ascending keyframe numbers.
        rate: average frames per second.
        constant: frame k lies at ``k / rate``, within the time base's precision.
        duration: seconds, including the last frame's.
        expected: header's number of frames if the file is truncated, else 0.
    """

    times: np.ndarray
    stamps: np.ndarray | None
    keys: np.ndarray
    rate: Fraction
    constant: bool
    duration: float
    expected: int

    def __len__(self) -> int:
        return len(self.times)


def video_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The first video stream that is not cover art."""
    if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty", "ico"):
        kind = "text" if container.format.name == "tty" else "a still picture"
        raise InputError(f"{name} is {kind}, not a video: name a video file (mp4, mov, mkv, webm, avi, gif).")
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            continue
        if stream.codec_context is None:
            raise InputError(f"{name} is coded in a way this PyAV cannot decode: convert it to H.264.")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MOST_PIXELS:
            raise InputError(
                f"{name} is {width}x{height}, more than {MOST_PIXELS // 10**6} million pixels a frame: scale it down."
            )
        stream.codec_context.options = STREAM_OPTIONS  # a frame may be larger than the header says
        return stream
    sound = " (it has sound only)" if container.streams.audio else ""
    raise InputError(f"{name} has no pictures in it{sound}: name a video file.")


_REPORT_EVERY = 2000  # packets
_NONE = -(1 << 63)  # FFmpeg's AV_NOPTS_VALUE, for a stamp that is not there
_LONGEST = 1 << 53  # ticks; beyond, and in float64, stamps run into each other
_SLOWEST = Fraction(1, 100_000)

Report: TypeAlias = Callable[[int, int], None]
"""(bytes read, bytes in all); raises to stop the work."""


def _int64() -> array[int]:
    return array("q")


@dataclass
class _Packets:
    """Of the pictures, in the file's order: stamps (``_NONE`` without), duration, whether it is a key frame; and how
    many more there are that are not shown."""

    pts: array[int] = field(default_factory=_int64)
    dts: array[int] = field(default_factory=_int64)
    durations: array[int] = field(default_factory=_int64)
    keys: bytearray = field(default_factory=bytearray)
    hidden: int = 0

    def add(self, packet: av.Packet) -> None:
        self.pts.append(_NONE if packet.pts is None else packet.pts)
        self.dts.append(_NONE if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.keys.append(packet.is_keyframe)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def stamps(self) -> np.ndarray:
        pts, dts = np.array(self.pts, np.int64), np.array(self.dts, np.int64)
        return np.where(pts == _NONE, dts, pts)


def index_clip(file: ClipFile, report: Report | None = None) -> ClipIndex:
    """Raises InputError without a video stream or frames, or with stamps or a number of frames that no video has;
    truncation is no error, see ``expected``.
    """
    with file.open() as container:
        stream = video_stream(container, file.name)
        packets = _Packets()
        ends: dict[int, int] = {}
        bases = {s.index: s.time_base or Fraction(1) for s in container.streams}
        hidden_frames = stream.codec_context.name.startswith("vp8") or stream.codec_context.name == "libvpx"
        read, size = 0, max(container.size, 1)
        try:
            for number, packet in enumerate(container.demux()):
                if report is not None and number % _REPORT_EVERY == 0:
                    report(min(read, size), size)
                read += packet.size
                if packet.size == 0 or packet.is_corrupt:
                    continue
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None:
                    end = stamp + (packet.duration or 0)
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)
                if packet.stream_index == stream.index:
                    shown = not packet.is_discard
                    if hidden_frames and not bytes(packet)[0] & 0x10:  # VP8: show_frame, RFC 6386 section 9.1
                        shown = False
                    if shown:
                        packets.add(packet)
                    else:
                        packets.hidden += 1
                    if len(packets) + packets.hidden > MOST_FRAMES:
                        raise InputError(
                            f"{file.name} has more than {MOST_FRAMES:,} frames: cut the part out that is to be used."
                        )
        except av.error.ExitError:
            raise InputError(
                f"{file.name} gave nothing in {READ_SECONDS:g} seconds: look at the disk, or copy the file to another."
            ) from None
        except av.error.FFmpegError:
            pass  # truncated: keep what was read
        if not len(packets):
            raise InputError(f"{file.name} has no frames in it: download or export it again.")
        return _lay_out(container, stream, packets, ends, bases, file.name)


def _lay_out(
    container: InputContainer,
    stream: av.VideoStream,
    packets: _Packets,
    ends: dict[int, int],
    bases: dict[int, Fraction],
    name: str,
) -> ClipIndex:
    base, count = bases[stream.index], len(packets)
    average = stream.average_rate or stream.guessed_rate
    nominal = average if average and average > 0 else Fraction(30)
    no_clock = container.format.name in _NO_CLOCK
    if no_clock and stream.guessed_rate and all(dts == _NONE for dts in packets.dts):
        nominal = stream.guessed_rate  # from a raw stream's header; average_rate is FFmpeg's default then
    stamps = packets.stamps
    stamps_array: np.ndarray | None = None
    order = np.arange(count)
    if no_clock or (stamps == _NONE).any():
        times = np.arange(count) / float(nominal)
        rate, constant, duration = Fraction(nominal), True, count / float(nominal)
    else:
        order = np.argsort(stamps, kind="stable")
        stamps_array = stamps[order]
        if int(stamps_array[-1]) - int(stamps_array[0]) > _LONGEST:
            raise InputError(
                f"{name} says that its frames lie {(int(stamps_array[-1]) - int(stamps_array[0])) * base / 3600:.3g} "
                "hours apart, so its time stamps are damaged: export it again."
            )
        ticks = stamps_array - stamps_array[0]
        times = ticks * float(base)
        last = packets.durations[int(order[-1])] or (int(np.median(np.diff(ticks))) if count > 1 else 0)
        rate, constant = _rate(ticks, base, nominal, last, stream.guessed_rate)
        duration = count / float(rate) if constant else float((int(ticks[-1]) + last) * base)
        if len(np.unique(stamps_array)) < count or _NONE in packets.pts:
            stamps_array = None  # not unique: count frames instead
    keys = np.flatnonzero(np.frombuffer(packets.keys, np.uint8)[order]).astype(np.int64)
    expected = _expected(container, stream, count + packets.hidden, ends, bases, rate)
    return ClipIndex(times, stamps_array, keys, rate, constant, duration, expected)


def _rate(
    ticks: np.ndarray, base: Fraction, nominal: Fraction, last: int, guessed: Fraction | None
) -> tuple[Fraction, bool]:
    """(average rate, whether every frame lies at k / rate within one tick)."""
    if len(ticks) == 1:
        return Fraction(nominal), True
    counts = np.arange(len(ticks))
    for rate in [nominal, guessed, *_STANDARD_RATES]:
        if rate and np.abs(ticks - counts / float(rate * base)).max() <= 1.0 + 1e-6:
            return Fraction(rate), True
    span = int(ticks[-1]) + last
    if span <= 0:
        return Fraction(nominal), False
    return max((len(ticks) / (span * base)).limit_denominator(100_000), _SLOWEST), False


def _expected(
    container: InputContainer,
    stream: av.VideoStream,
    count: int,
    ends: dict[int, int],
    bases: dict[int, Fraction],
    rate: Fraction,
) -> int:
    if stream.frames:
        return stream.frames if stream.frames - count > _FORGIVEN_FRAMES else 0
    if not container.duration or container.format.name in _NO_CLOCK:
        return 0
    # Matroska stores only a duration, that of the longest stream.
    begin = float(container.start_time or 0) / av.time_base
    end = max((float(ends[index] * bases[index]) for index in ends), default=0.0)
    short = container.duration / av.time_base - (end - begin)
    if short <= max(0.5, (_FORGIVEN_FRAMES + 1) / float(rate)):
        return 0
    return round(container.duration / av.time_base * rate)
