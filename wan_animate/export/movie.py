"""Pictures and sound to mp4, mov, Matroska, GIF, WebP, or numbered PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter

from ..video.sound import SoundTrack
from ..workers import normal_scheduling
from .codecs import Codec, Encoder
from .encoder import as_frame, device_of, set_up
from .palette import Palette

_PALETTE = ("colors", "dither")


class HardwareFailed(Exception):
    """A card's encoder that stopped: another program took its last session, or its driver failed."""


@contextmanager
def _failing(encoder: Encoder) -> Iterator[None]:
    """Raises HardwareFailed for any error of a card's encoder."""
    try:
        yield
    except Exception as error:
        if not encoder.hardware:
            raise
        raise HardwareFailed(f"{encoder.name} stopped ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


class Movie:
    """A file, written as frames come; for ``with``.

    Args:
        path: the file; of PNG pictures a pattern with ``%06d``.
        size: (width, height).
        sound: (float32 ``[C, N]``, sample rate).
        tags: names and texts.
        count: of frames, where it is known.

    Raises:
        HardwareFailed: a card's encoder does not open, or stops.
    """

    def __init__(
        self,
        path: str,
        codec: Codec,
        encoder: Encoder,
        quality: str,
        size: tuple[int, int],
        rate: Fraction,
        full: bool = False,
        sound: tuple[np.ndarray, int] | None = None,
        tags: dict[str, str] | None = None,
        count: int | None = None,
    ) -> None:
        self._rate, self._encoder, self._full, self._at = rate, encoder, full, 0
        self._reformatter = VideoReformatter()
        self._container: OutputContainer = av.open(
            path, "w", format=codec.container, options=_container_options(codec, rate)
        )
        try:
            if codec.tags:
                self._container.metadata.update(tags or {})
            # PyAV 17 has no such argument; there works() has refused these encoders
            device: dict[str, Any] = {"hwaccel": device_of(encoder)} if encoder.device else {}
            with _failing(encoder):
                stream = self._container.add_stream(encoder.name, rate=rate, **device)
            self._stream = cast(av.VideoStream, stream)
            set_up(self._stream.codec_context, encoder, quality, size, rate, full, _PALETTE, count)
            options = encoder.settings(quality)
            self._palette = Palette(size, rate, *(options[name] for name in _PALETTE)) if codec.name == "gif" else None
            if codec.name == "webp":
                self._stream.codec_context.time_base = Fraction(1, 1000)
            if codec.name == "h265":
                self._stream.codec_context.codec_tag = "hvc1"  # what QuickTime plays
            self._sound = None
            if sound is not None:
                self._sound = SoundTrack(self._container, *sound, codec=codec.sound)
        except BaseException:
            self._container.close()
            raise

    def write(self, images: np.ndarray) -> None:
        """Frames, uint8 ``[n, H, W, 3]``."""
        for image in images:
            pixels = "rgb24" if self._palette is not None else self._encoder.pixels
            frame = as_frame(image, pixels, self._full, self._reformatter)
            frame.pts, frame.time_base = self._at, 1 / self._rate
            self._encode(frame)
            self._at += 1
        if self._sound is not None:
            self._sound.write_to(float(self._at / self._rate))

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for one in [frame] if self._palette is None else self._palette.apply(frame):
            if one is not None:
                is_open = self._stream.codec_context.is_open
                with _failing(self._encoder), nullcontext() if is_open else normal_scheduling():
                    packets = self._stream.encode(one)
                self._container.mux(packets)

    def finish(self) -> None:
        self._encode(None)
        with _failing(self._encoder):
            packets = self._stream.encode(None)
        self._container.mux(packets)
        if self._sound is not None:
            self._sound.finish()

    def __enter__(self) -> Movie:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self._container.close()


def _container_options(codec: Codec, rate: Fraction) -> dict[str, str]:
    if codec.container == "image2":
        return {"start_number": "0"}
    if codec.container in ("mp4", "mov"):
        return {
            "movflags": "+faststart+use_metadata_tags",  # unknown tags are dropped without use_metadata_tags
            "movie_timescale": str(rate.numerator * -(-10_000 // rate.numerator)),  # makes the duration exact
        }
    return {"loop": "0"} if codec.container in ("gif", "webp") else {}
