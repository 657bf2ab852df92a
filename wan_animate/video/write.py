"""Frames to an H.264 mp4."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc

from ..errors import InputError
from ..files import replacing
from ..log import get_logger
from .audio import fit_audio
from .decode import EXACT
from .frames import FrameSource, as_uint8
from .h264 import first_encoder, large_picture_options, thread_type
from .sound import SoundTrack
from .tags import replace_tag

log = get_logger(__name__)

_BT709 = 1
_CHUNK = 8
_REORDER = 2  # frames that x264 decodes ahead of their time, at most: B-frames of two levels
# Enough to encode faster than any GPU samples.
ENCODER_THREADS = min(12, os.cpu_count() or 1)


def write_video(
    path: str | os.PathLike,
    source: FrameSource,
    audio: dict | None = None,
    fps: Fraction | float | None = None,
    crf: float = 17,
    progress: Callable[[int, int], None] | None = None,
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes H.264 (yuv420p, BT.709, limited range) in a faststart mp4, atomically, a few frames at a time.

    Args:
        source: images with even sides.
        audio: ComfyUI's AUDIO, cut or padded with silence to the video's length.
        fps: the source's if None.
        crf: x264 quality, 0..51; 17 is visually lossless.
        progress: called with (frames written, total).
        metadata: container tags, such as ComfyUI's workflow.

    Raises:
        InputError: folder not writable or full, odd sides, masks, or PyAV without H.264.
    """
    if source.kind != "image":
        raise InputError("a video is written from images, and this is a mask: convert it to images first.")

    rate = fps if fps is not None else source.fps
    chunks = (as_uint8(frames) for _, _, frames in source.batches(_CHUNK))
    write_parts(path, [chunks], (source.width, source.height), len(source), rate, audio, crf, progress, metadata)


def write_parts(
    path: str | os.PathLike,
    parts: Iterable[Iterable[np.ndarray]],
    size: tuple[int, int],
    count: int,
    fps: Fraction | float,
    audio: dict | None = None,
    crf: float = 17,
    progress: Callable[[int, int], None] | None = None,
    metadata: dict[str, str] | None = None,
    final: Callable[[], dict[str, str]] | None = None,
    audio_start: float = 0.0,
) -> None:
    """:func:`write_video` from parts that come one after another, each of chunks, uint8 ``[n, H, W, 3]``.

    x264 begins a part with a key frame and encodes it to its end before the next is asked for (one of a single frame
    with the next). One encoder for all keeps about 50 frames back, to look ahead: these would be encoded after the
    last part, when somebody waits for the file.

    Args:
        size: width and height.
        count: frames in all.
        final: gives tags of ``metadata`` as they are after the last frame.
        audio_start: second of ``audio`` at which the video begins.
    """
    rate = Fraction(fps).limit_denominator(100_000)
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"the video's size is {size[0]}x{size[1]}: H.264 needs even sides.")
    if rate <= 0:
        raise InputError(f"the video's rate is {float(rate):g} fps: it must be above 0.")
    sound = fit_audio(audio, float(count / rate), audio_start) if audio is not None else None
    with replacing(path, "the video", "free space there and run it again") as temporary:
        _write(temporary, parts, size, count, sound, rate, crf, progress, metadata or {})
        for name, text in (final() if final is not None else {}).items():
            if not replace_tag(temporary, (metadata or {})[name], text):  # the video itself is whole
                log.warning("the video's tag %s stays as it was before the last frame", name)


def _write(
    temporary: str,
    parts: Iterable[Iterable[np.ndarray]],
    size: tuple[int, int],
    count: int,
    sound: tuple[np.ndarray, int] | None,
    rate: Fraction,
    crf: float,
    progress: Callable[[int, int], None] | None,
    metadata: dict[str, str],
) -> None:
    options = {
        "movflags": "+faststart+use_metadata_tags",  # mp4 drops unknown tags without use_metadata_tags
        "movie_timescale": str(rate.numerator * -(-10_000 // rate.numerator)),  # makes the duration exact
    }
    with av.open(temporary, "w", format="mp4", options=options) as container:
        for name, text in metadata.items():
            container.metadata[name] = text
        picture = _picture_stream(container, size, rate, crf)
        track = SoundTrack(container, *sound) if sound is not None else None
        encoders = _Encoders(container, picture, rate)
        at = 0
        for chunks in parts:
            encoders.begin()
            for images in chunks:
                for image in images:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                    frame = frame.reformat(
                        format="yuv420p", interpolation=EXACT, dst_colorspace="itu709", dst_color_range=ColorRange.MPEG
                    )
                    frame.pts, frame.time_base = at, 1 / rate
                    encoders.encode(frame)
                    at += 1
                    del image, frame
                del images  # while the next are made
                if track is not None:
                    track.write_to(float(at / rate))
                if progress is not None:
                    progress(at, count)
            encoders.end()
        encoders.finish()
        if track is not None:
            track.finish()


class _Encoders:
    """One after another on a stream, each for a part; one for all where the codec is not x264.

    The stream's own is opened for the file's header only: an encoder that was emptied takes no more frames.
    """

    def __init__(self, container: OutputContainer, stream: av.VideoStream, rate: Fraction) -> None:
        self._container, self._stream, self._rate = container, stream, rate
        self._apart = stream.codec_context.name == "libx264"
        self._settings = {name: str(text) for name, text in stream.options.items()}  # opening takes them away
        container.start_encoding()
        self._encoder: av.VideoCodecContext | None = None if self._apart else stream.codec_context
        self._given = self._muxed = 0  # frames of this encoder, packets of all

    def begin(self) -> None:
        """The next part."""
        if self._encoder is None:
            self._encoder, self._given = self._another(), 0

    def encode(self, frame: av.VideoFrame) -> None:
        assert self._encoder is not None
        self._given += 1
        self._mux(self._encoder.encode(frame))

    def end(self) -> None:
        """All frames of a part go into the file. One of a single frame is joined to the next: H.264 wants two pictures
        of its kind (IDR) in a row to have different numbers, and every encoder begins with the same."""
        if self._apart and self._given > 1:
            self.finish()

    def finish(self) -> None:
        """All frames of the encoder go into the file."""
        if self._encoder is not None:
            self._mux(self._encoder.encode(None))
            self._encoder = None

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.stream = self._stream
            if self._apart:
                packet.dts = self._muxed - _REORDER  # an encoder of few frames begins later than one of many
            self._muxed += 1
            self._container.mux(packet)

    def _another(self) -> av.VideoCodecContext:
        """With the settings of the stream's own.

        Raises:
            RuntimeError: its frames do not go with the file's header.
        """
        first = self._stream.codec_context
        encoder = cast(av.VideoCodecContext, av.CodecContext.create(first.name, "w"))
        encoder.width, encoder.height, encoder.pix_fmt = first.width, first.height, first.pix_fmt
        encoder.time_base, encoder.framerate = 1 / self._rate, self._rate
        encoder.color_primaries, encoder.color_trc = first.color_primaries, first.color_trc
        encoder.colorspace, encoder.color_range = first.colorspace, first.color_range
        encoder.options, encoder.flags = dict(self._settings), first.flags
        encoder.thread_type, encoder.thread_count = first.thread_type, first.thread_count
        if first.bit_rate:
            encoder.bit_rate = first.bit_rate
        encoder.open()
        if encoder.extradata != first.extradata:
            raise RuntimeError("x264 gave two headers for the same settings: the video's parts would not go together")
        return encoder


def _picture_stream(container: OutputContainer, size: tuple[int, int], rate: Fraction, crf: float) -> av.VideoStream:
    codec = first_encoder()
    if codec is None:
        raise InputError("this PyAV cannot encode H.264: install the one from PyPI (pip install av).")
    stream = cast(av.VideoStream, container.add_stream(codec, rate=rate))
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.time_base = 1 / rate
    stream.color_primaries = ColorPrimaries.BT709
    stream.color_trc = ColorTrc.BT709
    stream.colorspace = _BT709
    stream.color_range = ColorRange.MPEG
    if codec == "libx264":
        stream.options = {"crf": str(crf), "preset": "medium", **large_picture_options(size)}
        # PyAV's default, slice threading, hardly uses more than one core for small pictures.
        stream.codec_context.thread_type = thread_type(size)
        stream.codec_context.thread_count = ENCODER_THREADS
    else:
        stream.bit_rate = max(2_000_000, int(size[0] * size[1] * float(rate) * 0.2))
    return stream
