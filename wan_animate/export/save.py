"""A clip saved as a file, or as a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ..errors import InputError
from ..files import new_folder, replacing
from ..log import get_logger
from ..video.audio import fit_audio
from ..video.derived import cut_audio
from ..video.frames import FrameSource, as_uint8
from ..video.resample import as_rate
from ..video.sound import SoundTrack
from .codecs import CODECS, QUALITIES, RANGES, Codec, Encoder, check_choice, codec_named
from .encoder import ENCODERS, choose_encoder
from .movie import HardwareFailed, Movie

log = get_logger(__name__)

PICTURES = "%06d.png"
SOUND = "sound.wav"
_PREVIEW_SIDE = 768
_FULL_DISK = "free space there and save it again"


@dataclass(frozen=True)
class ClipFormat:
    """How a clip is saved.

    Attributes:
        codec: of :data:`.codecs.CODECS`.
        quality: of :data:`.codecs.QUALITIES`; FFV1 and PNG lose nothing at any.
        encoder: of :data:`.encoder.ENCODERS`.
        color_range: of :data:`.codecs.RANGES`; full is for H.264, H.265 and AV1.
        fps: frames a second; 0 for the frames' own.
        audio_start, audio_seconds: the part of the sound that is taken; 0 seconds for the rest. What follows is silent.
    """

    codec: str = "h264"
    quality: str = "high"
    encoder: str = "auto"
    color_range: str = "limited"
    fps: float = 0.0
    audio_start: float = 0.0
    audio_seconds: float = 0.0

    def check(self) -> Codec:
        """The codec. Raises InputError for values that do not work."""
        codec = codec_named(self.codec)
        check_choice("quality", self.quality, QUALITIES)
        check_choice("encoder", self.encoder, ENCODERS)
        check_choice("colour range", self.color_range, RANGES)
        if self.color_range == "full" and not codec.full and not codec.is_rgb:
            raise InputError(f"the colour range is full, but {codec.title} is read as limited: choose limited.")
        if not 0 <= self.fps <= 1000:
            raise InputError(f"fps is {self.fps:g}, but it must be 0 (the frames' own) to 1000.")
        if not (0 <= self.audio_start < 1e9 and 0 <= self.audio_seconds < 1e9):
            raise InputError(
                f"the sound is taken from {self.audio_start:g} s for {self.audio_seconds:g} s: neither may be negative."
            )
        return codec

    def of(self, source: FrameSource) -> tuple[Codec, tuple[int, int], Fraction]:
        """(codec, (width, height), rate) of a source's file; sides that a codec cannot hold lose a row or column.

        Raises:
            InputError: too small, too fast.
        """
        codec = self.check()
        rate = as_rate(self.fps) if self.fps else source.fps
        across, down = codec.even
        size = source.width // across * across, source.height // down * down
        if min(size) < 16:
            raise InputError(f"the clip is {source.width}x{source.height}: it must be at least 16 pixels a side.")
        if codec.fastest is not None and rate > codec.fastest:
            raise InputError(
                f"the clip has {float(rate):g} frames a second, and a {codec.title} shows at most "
                f"{float(codec.fastest):g}: choose webp, or a lower rate before it."
            )
        return codec, size, rate


@dataclass(frozen=True)
class Saved:
    """What was saved: the file or folder, its size, rate, count and encoder.

    Attributes:
        note: why software made it.
        read: sentences on what its videos were converted from (:attr:`..video.frames.FrameSource.notes`).
    """

    path: Path
    codec: Codec
    encoder: Encoder
    size: tuple[int, int]
    rate: Fraction
    count: int
    sound: bool
    note: str = ""
    read: tuple[str, ...] = ()

    def text(self) -> str:
        """For people: a line, and one for each sentence of ``read``."""
        width, height = self.size
        where = "on the card" if self.encoder.hardware else "software"
        sound = "with sound" if self.sound else "silent"
        note = f". {self.note}" if self.note else ""
        saved = (
            f"{self.path.name}: {self.codec.title} ({self.encoder.name}, {where}), {width}x{height}, {self.count} "
            f"frames at {float(self.rate):.6g} fps, {float(self.count / self.rate):.2f} s, {sound}{note}"
        )
        return "\n".join([saved, *self.read])


def save_clip(
    path: str | os.PathLike,
    source: FrameSource,
    form: ClipFormat = ClipFormat(),  # noqa: B008  frozen
    audio: dict | None = None,
    tags: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    preview: str | os.PathLike | None = None,
) -> Saved:
    """Saves a clip whole or not at all, a few frames in memory at a time.

    Args:
        path: the file, or of pictures the folder, which must not exist.
        source: images; masks become white on black.
        audio: ComfyUI's AUDIO, cut or padded with silence to the clip. Where ``source`` is a part of a clip, its own
            part of it is taken. A folder of pictures gets it as ``sound.wav``; GIF and WebP have none.
        tags: names and texts, in mp4, mov and Matroska.
        progress: called with (frames saved, total); may raise to stop.
        preview: also an H.264 mp4 of at most 768 pixels a side, from the same reading.

    Raises:
        InputError: the frames or settings do not suit the format, or it cannot be written.
    """
    codec, size, rate = form.of(source)
    full = form.color_range == "full"
    encoder = choose_encoder(codec, form.encoder, form.quality, size, rate, full)
    sound = _sound(source, form, rate, audio) if codec.sound else None
    note = _not_on_the_card(codec, size) if form.encoder == "hardware" and not encoder.hardware else ""
    plan = _Plan(source, codec, form.quality, size, rate, full, sound, tags)
    try:
        plan.write(path, encoder, preview, progress)
    except HardwareFailed as error:
        note = f"{error}, so software made it"
        log.warning("%s: %s.", Path(path).name, note)
        encoder = choose_encoder(codec, "software", form.quality, size, rate, full)
        plan.write(path, encoder, preview, progress)
    return Saved(Path(path), codec, encoder, size, rate, len(source), sound is not None, note)


@dataclass(frozen=True)
class _Plan:
    """What is written, whichever encoder does."""

    source: FrameSource
    codec: Codec
    quality: str
    size: tuple[int, int]
    rate: Fraction
    full: bool
    sound: tuple[np.ndarray, int] | None
    tags: dict[str, str] | None

    def write(
        self,
        path: str | os.PathLike,
        encoder: Encoder,
        preview: str | os.PathLike | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Raises HardwareFailed, with nothing left."""
        count = len(self.source)
        with ExitStack() as stack:
            place = replacing if self.codec.ending else new_folder
            temporary = stack.enter_context(place(path, "the clip", _FULL_DISK))
            if preview is not None:
                small = stack.enter_context(replacing(preview, "the preview", _FULL_DISK))
                shown = stack.enter_context(_Preview(small, self.size, self.rate, self.sound))
            target, track = str(temporary), self.sound
            if not self.codec.ending:
                _write_sound(Path(temporary, SOUND), self.sound)
                target, track = str(Path(temporary)).replace("%", "%%") + os.sep + PICTURES, None
            movie = Movie(
                target, self.codec, encoder, self.quality, self.size, self.rate, self.full, track, self.tags, count
            )
            stack.enter_context(movie)
            for _, stop, frames in self.source.batches(self.source.chunk):
                images = as_uint8(frames)[:, : self.size[1], : self.size[0]]
                if self.source.kind == "mask":
                    images = np.repeat(images[..., None], 3, axis=-1)
                movie.write(images)
                if preview is not None:
                    shown.write(images)
                if progress is not None:
                    progress(stop, count)


def _not_on_the_card(codec: Codec, size: tuple[int, int]) -> str:
    names = ", ".join(one.name for one in codec.encoders if one.hardware)
    if not names:
        return f"There is no hardware encoder for {codec.title}, so software made it"
    return f"No hardware encoder for {codec.title} takes {size[0]}x{size[1]} here ({names}), so software made it"


def _sound(source: FrameSource, form: ClipFormat, rate: Fraction, audio: dict | None) -> tuple[np.ndarray, int] | None:
    """Samples and their rate, exactly as long as the clip."""
    if audio is None:
        return None
    if form.audio_start or form.audio_seconds:
        audio = cut_audio(audio, form.audio_start, form.audio_seconds or 1e9)
    if audio is None:
        return None
    begins = 0.0 if source.part_of is None else float(source.part_of[0] / source.fps)
    return fit_audio(audio, float(len(source) / rate), begins)


def _write_sound(path: Path, sound: tuple[np.ndarray, int] | None) -> None:
    if sound is not None:
        with av.open(str(path), "w", format="wav") as container:
            SoundTrack(container, *sound, codec="pcm_s16le").finish()


class _Preview(Movie):
    """An H.264 mp4 that fits into 768 x 768, of frames of another size."""

    def __init__(self, path: str, size: tuple[int, int], rate: Fraction, sound: tuple[np.ndarray, int] | None) -> None:
        scale = min(_PREVIEW_SIDE / max(size), 1.0)
        width, height = (max(round(side * scale) // 2 * 2, 16) for side in size)
        self._shown = width, height
        codec = CODECS["h264"]
        super().__init__(path, codec, codec.encoders[-1], "medium", self._shown, rate, sound=sound)

    def write(self, images: np.ndarray) -> None:
        super().write(np.stack([cv2.resize(image, self._shown, interpolation=cv2.INTER_AREA) for image in images]))
