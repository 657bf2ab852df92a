"""What a clip can be saved as, and with which encoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..errors import InputError

QUALITIES = ("best", "high", "medium", "small")
RANGES = ("limited", "full")
_ByQuality = dict[str, dict[str, str]]


def _qualities(**options: tuple[str, str, str, str]) -> _ByQuality:
    """Options by quality, from four values of each."""
    return {name: {key: values[at] for key, values in options.items()} for at, name in enumerate(QUALITIES)}


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg.

    Attributes:
        pixels: the pixel format that it is given.
        qualities: its options by the name of a quality.
        options: those of every quality.
        hardware: on a card, which may not be there.
        device: FFmpeg's name of the device that its frames are uploaded to; empty where it takes them from RAM.
    """

    name: str
    pixels: str
    qualities: _ByQuality = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    hardware: bool = False
    device: str = ""

    def settings(self, quality: str) -> dict[str, str]:
        return {**self.options, **self.qualities.get(quality, {})}


@dataclass(frozen=True)
class Codec:
    """A kind of file.

    Attributes:
        title: for people.
        ending: of the file; empty for a folder of pictures.
        container: FFmpeg's name of it.
        encoders: hardware first; the last is software.
        sound: FFmpeg's name of the audio codec; empty where the file holds none.
        even: (across, down) what the sides must be divisible by.
        full: can be of full range.
        tags: holds texts, such as the record of how the clip was made.
        shown: browsers show it.
        fastest: frames a second that it can show; None without a limit.
    """

    name: str
    title: str
    ending: str
    container: str
    encoders: tuple[Encoder, ...]
    sound: str = ""
    even: tuple[int, int] = (1, 1)
    full: bool = False
    tags: bool = True
    shown: bool = False
    fastest: Fraction | None = None

    @property
    def is_rgb(self) -> bool:
        return not self.encoders[-1].pixels.startswith("yuv")


def _nvenc(name: str, pixels: str, cq: tuple[str, str, str, str]) -> Encoder:
    constant = {"rc": "vbr", "b": "0", "preset": "p6", "tune": "hq"}
    return Encoder(name, pixels, _qualities(cq=cq), constant, hardware=True)


def _qsv(name: str, pixels: str, quality: tuple[str, str, str, str]) -> Encoder:
    return Encoder(name, pixels, _qualities(global_quality=quality), {"preset": "slower"}, hardware=True)


def _amf(name: str, pixels: str, qp: tuple[str, str, str, str]) -> Encoder:
    return Encoder(name, pixels, _qualities(qp_i=qp, qp_p=qp), {"rc": "cqp", "quality": "quality"}, hardware=True)


def _vaapi(name: str, pixels: str, qp: tuple[str, str, str, str]) -> Encoder:
    constant = {"rc_mode": "CQP"}
    return Encoder(name, pixels, _qualities(global_quality=qp), constant, hardware=True, device="vaapi")


def _videotoolbox(name: str, pixels: str, profile: str) -> Encoder:
    """Of a Mac: its quality goes from 1 to 100, 118 (FF_QP2LAMBDA) to a step."""
    quality = ("9440", "7670", "5900", "4720")  # 80, 65, 50, 40
    options = {"profile": profile, "flags": "+qscale"}
    return Encoder(name, pixels, _qualities(global_quality=quality), options, hardware=True)


_H264 = (
    _nvenc("h264_nvenc", "yuv420p", ("15", "20", "25", "30")),
    _qsv("h264_qsv", "nv12", ("15", "20", "25", "30")),
    _videotoolbox("h264_videotoolbox", "nv12", "high"),
    _amf("h264_amf", "yuv420p", ("15", "20", "25", "30")),
    _vaapi("h264_vaapi", "nv12", ("15", "20", "25", "30")),
    Encoder("libx264", "yuv420p", _qualities(crf=("12", "17", "22", "27")), {"preset": "medium"}),
)
_H265 = (
    _nvenc("hevc_nvenc", "p010le", ("17", "22", "27", "32")),
    _qsv("hevc_qsv", "p010le", ("17", "22", "27", "32")),
    _videotoolbox("hevc_videotoolbox", "p010le", "main10"),
    _amf("hevc_amf", "p010le", ("17", "22", "27", "32")),
    _vaapi("hevc_vaapi", "p010le", ("17", "22", "27", "32")),
    Encoder("libx265", "yuv420p10le", _qualities(crf=("14", "19", "24", "29")),
            {"preset": "medium", "x265-params": "log-level=error"}),
)  # fmt: skip
_AV1 = (
    _nvenc("av1_nvenc", "p010le", ("18", "25", "32", "40")),
    _qsv("av1_qsv", "p010le", ("18", "25", "32", "40")),
    _amf("av1_amf", "p010le", ("70", "100", "130", "160")),
    _vaapi("av1_vaapi", "p010le", ("70", "100", "130", "160")),
    Encoder("libsvtav1", "yuv420p10le", _qualities(crf=("8", "24", "32", "42"), preset=("6", "7", "8", "8"))),
)
_PRORES_422 = Encoder(
    "prores_ks", "yuv422p10le", _qualities(profile=("hq", "standard", "lt", "proxy")), {"vendor": "apl0"}
)
_PRORES_4444 = Encoder(
    "prores_ks", "yuv444p10le", _qualities(profile=("4444xq", "4444", "4444", "4444")), {"vendor": "apl0"}
)
# slices with checksums, every frame for itself: as the finished segments are kept
_FFV1 = Encoder("ffv1", "bgr0", options={"level": "3", "slicecrc": "1", "g": "1", "slices": "4"})
_PNG = Encoder("png", "rgb24", options={"compression_level": "4", "pred": "up"})
# Colours of the palette, each frame's own; the dither is read by :class:`.animation.Gif`.
_GIF = Encoder(
    "gif", "pal8", _qualities(colors=("256", "256", "128", "64"), dither=("sierra2_4a", "sierra2_4a", "bayer", "bayer"))
)
_WEBP = Encoder(
    "libwebp_anim", "bgra", _qualities(lossless=("1", "0", "0", "0"), quality=("70", "90", "75", "50")),
    {"loop": "0", "compression_level": "4"},
)  # fmt: skip

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec("h264", "H.264", ".mp4", "mp4", _H264, "aac", (2, 2), full=True, shown=True),
        Codec("h265", "H.265, 10 bits", ".mp4", "mp4", _H265, "aac", (2, 2), full=True),
        Codec("av1", "AV1, 10 bits", ".mp4", "mp4", _AV1, "aac", (2, 2), full=True, shown=True),
        Codec("prores_422", "ProRes 422", ".mov", "mov", (_PRORES_422,), "pcm_s24le", (2, 1)),
        Codec("prores_4444", "ProRes 4444", ".mov", "mov", (_PRORES_4444,), "pcm_s24le"),
        Codec("ffv1", "FFV1, lossless", ".mkv", "matroska", (_FFV1,), "flac"),
        Codec("png", "PNG pictures", "", "image2", (_PNG,), "pcm_s16le", tags=False),
        Codec("gif", "GIF", ".gif", "gif", (_GIF,), tags=False, shown=True, fastest=Fraction(50)),
        Codec("webp", "animated WebP", ".webp", "webp", (_WEBP,), tags=False, shown=True, fastest=Fraction(1000)),
    )
}


def codec_named(name: str) -> Codec:
    """Raises InputError for a name that is not there."""
    if name not in CODECS:
        raise InputError(f"the codec is {name!r}, which there is not: choose one of {', '.join(CODECS)}.")
    return CODECS[name]


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises InputError for a value that is none of ``choices``."""
    if value not in choices:
        raise InputError(f"the {what} is {value!r}, but it must be one of {', '.join(choices)}.")
