"""Index of a video's packets (timestamps, keyframes, truncation), without decoding."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import av
import numpy as np
from av.container import InputContainer

from ..errors import InputError

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
        try:
            return av.open(self.path if self._data is None else io.BytesIO(self._data), "r", **_TAGS)
        except PermissionError:
            raise InputError(f"{self.name} may not be read: check its permissions.") from None
        except FileNotFoundError:
            raise InputError(f"{self.name} is gone from {self.path}: it was there when the run began.") from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(
                f"{self.name} cannot be opened as a video ({_reason(error)}): it is another kind of file, or was cut "
                "off before its index was written; download or export it again, or name a video (mp4, mov, mkv, webm)."
            ) from None

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


_Packet: TypeAlias = tuple["int | None", "int | None", int, bool, bool]  # pts, dts, duration, key, shown


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
        return stream
    sound = " (it has sound only)" if container.streams.audio else ""
    raise InputError(f"{name} has no pictures in it{sound}: name a video file.")


def index_clip(file: ClipFile) -> ClipIndex:
    """Raises InputError without a video stream or frames; truncation is no error, see ``expected``."""
    with file.open() as container:
        stream = video_stream(container, file.name)
        packets: list[_Packet] = []
        ends: dict[int, int] = {}
        bases = {s.index: s.time_base or Fraction(1) for s in container.streams}
        hidden_frames = stream.codec_context.name.startswith("vp8") or stream.codec_context.name == "libvpx"
        try:
            for packet in container.demux():
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
                    packets.append((packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, shown))
        except av.error.FFmpegError:
            pass  # truncated: keep what was read
        if not any(packet[-1] for packet in packets):
            raise InputError(f"{file.name} has no frames in it: download or export it again.")
        return _lay_out(container, stream, packets, ends, bases)


def _lay_out(
    container: InputContainer,
    stream: av.VideoStream,
    packets: list[_Packet],
    ends: dict[int, int],
    bases: dict[int, Fraction],
) -> ClipIndex:
    base = bases[stream.index]
    shown = [packet for packet in packets if packet[-1]]
    average = stream.average_rate or stream.guessed_rate
    nominal = average if average and average > 0 else Fraction(30)
    no_clock = container.format.name in _NO_CLOCK
    if no_clock and stream.guessed_rate and not any(dts is not None for _, dts, *_ in shown):
        nominal = stream.guessed_rate  # from a raw stream's header; average_rate is FFmpeg's default then
    stamps = [stamp for pts, dts, *_ in shown if (stamp := pts if pts is not None else dts) is not None]
    stamps_array: np.ndarray | None = None
    order: Sequence[int] = range(len(shown))
    if no_clock or len(stamps) < len(shown):
        times = np.arange(len(shown)) / float(nominal)
        rate, constant, duration = Fraction(nominal), True, len(shown) / float(nominal)
    else:
        order = sorted(order, key=lambda i: stamps[i])
        stamps_array = np.array([stamps[i] for i in order], np.int64)
        ticks = stamps_array - stamps_array[0]
        times = ticks * float(base)
        last = shown[order[-1]][2] or (int(np.median(np.diff(ticks))) if len(ticks) > 1 else 0)
        rate, constant = _rate(ticks, base, nominal, last, stream.guessed_rate)
        duration = len(ticks) / float(rate) if constant else float((int(ticks[-1]) + last) * base)
        if len(np.unique(stamps_array)) < len(stamps_array) or any(pts is None for pts, *_ in shown):
            stamps_array = None  # not unique: count frames instead
    keys = np.array([at for at, i in enumerate(order) if shown[i][3]], np.int64)
    expected = _expected(container, stream, packets, ends, bases, rate)
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
    return (len(ticks) / (span * base)).limit_denominator(100_000), False


def _expected(
    container: InputContainer,
    stream: av.VideoStream,
    packets: list[_Packet],
    ends: dict[int, int],
    bases: dict[int, Fraction],
    rate: Fraction,
) -> int:
    if stream.frames:
        return stream.frames if stream.frames - len(packets) > _FORGIVEN_FRAMES else 0
    if not container.duration or container.format.name in _NO_CLOCK:
        return 0
    # Matroska stores only a duration, that of the longest stream.
    begin = float(container.start_time or 0) / av.time_base
    end = max((float(ends[index] * bases[index]) for index in ends), default=0.0)
    short = container.duration / av.time_base - (end - begin)
    if short <= max(0.5, (_FORGIVEN_FRAMES + 1) / float(rate)):
        return 0
    return round(container.duration / av.time_base * rate)
