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
from .sound import SoundTrack
from .tags import replace_tag

log = get_logger(__name__)

_BT709 = 1
_CHUNK = 8
_LARGE = 1920 * 1088
# Enough to encode faster than any GPU samples.
ENCODER_THREADS = min(8, os.cpu_count() or 1)


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
    write_frames(path, chunks, (source.width, source.height), len(source), rate, audio, crf, progress, metadata)


def write_frames(
    path: str | os.PathLike,
    chunks: Iterable[np.ndarray],
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
    """:func:`write_video` from chunks, uint8 ``[n, H, W, 3]``; ``size`` is (width, height), the sound from second
    ``audio_start`` on. ``final`` gives tags of ``metadata`` as they are after the last frame."""
    rate = Fraction(fps).limit_denominator(100_000)
    if size[0] % 2 or size[1] % 2:
        raise InputError(f"the video's size is {size[0]}x{size[1]}: H.264 needs even sides.")
    if rate <= 0:
        raise InputError(f"the video's rate is {float(rate):g} fps: it must be above 0.")
    sound = fit_audio(audio, float(count / rate), audio_start) if audio is not None else None
    with replacing(path, "the video", "free space there and run it again") as temporary:
        _write(temporary, chunks, size, count, sound, rate, crf, progress, metadata or {})
        for name, text in (final() if final is not None else {}).items():
            if not replace_tag(temporary, (metadata or {})[name], text):  # the video itself is whole
                log.warning("the video's tag %s stays as it was before the last frame", name)


def _write(
    temporary: str,
    chunks: Iterable[np.ndarray],
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
        at = 0
        for images in chunks:
            for image in images:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame = frame.reformat(
                    format="yuv420p", interpolation=EXACT, dst_colorspace="itu709", dst_color_range=ColorRange.MPEG
                )
                frame.pts, frame.time_base = at, 1 / rate
                container.mux(picture.encode(frame))
                at += 1
            if track is not None:
                track.write_to(float(at / rate))
            if progress is not None:
                progress(at, count)
        container.mux(picture.encode(None))
        if track is not None:
            track.finish()


def _picture_stream(container: OutputContainer, size: tuple[int, int], rate: Fraction, crf: float) -> av.VideoStream:
    codec = next((name for name in ("libx264", "libopenh264", "h264") if _can_encode(name)), None)
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
        stream.options = {"crf": str(crf), "preset": "medium"}
        large = size[0] * size[1] > _LARGE
        if large:
            # by default some 50 frames are in work, 1.5 GB of 4K; more lookahead gains nothing at this quality
            stream.options["x264-params"] = "sync-lookahead=0:rc-lookahead=1:ref=1:bframes=1"
        # PyAV's default, slice threading, hardly uses more than one core.
        stream.codec_context.thread_type = "FRAME"
        stream.codec_context.thread_count = min(ENCODER_THREADS, 2) if large else ENCODER_THREADS
    else:
        stream.bit_rate = max(2_000_000, int(size[0] * size[1] * float(rate) * 0.2))
    return stream


def _can_encode(name: str) -> bool:
    try:
        return av.Codec(name, "w").is_encoder
    except ValueError:
        return False
