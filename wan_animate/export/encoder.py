"""The encoder that works here, found by opening it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from ..errors import InputError
from ..log import get_logger
from ..video.decode import EXACT
from ..video.h264 import large_picture_options, thread_type
from .codecs import Codec, Encoder

log = get_logger(__name__)

ENCODERS = ("auto", "software", "hardware")
# ITU-T H.273 code points
_RGB, _BT709, _SRGB = 0, 1, 13
_THREADS = min(8, os.cpu_count() or 1)
_WORKS: dict[tuple, bool] = {}
_asking = threading.Lock()


def choose_encoder(
    codec: Codec, choice: str, quality: str, size: tuple[int, int], rate: Fraction, full: bool = False
) -> Encoder:
    """The first of the codec's encoders that takes such frames here.

    Args:
        choice: ``"auto"`` and ``"hardware"`` take hardware where it works, else software.

    Raises:
        InputError: none does.
    """
    for encoder in codec.encoders:
        if (not encoder.hardware or choice != "software") and works(encoder, quality, size, rate, full):
            return encoder
    raise InputError(
        f"this PyAV cannot encode {codec.title} ({codec.encoders[-1].name}): install the one from PyPI (pip install "
        "av)."
    )


def works(encoder: Encoder, quality: str, size: tuple[int, int], rate: Fraction, full: bool = False) -> bool:
    """Whether an encoder takes such frames here. A hardware one has encoded a frame, once in this process."""
    if encoder.name not in av.codecs_available:
        return False
    if not encoder.hardware:
        return True
    asked = (encoder.name, quality, size, rate, full)
    with _asking:
        if asked not in _WORKS:
            _WORKS[asked] = _encodes(encoder, quality, size, rate, full)
        return _WORKS[asked]


def _encodes(encoder: Encoder, quality: str, size: tuple[int, int], rate: Fraction, full: bool) -> bool:
    try:
        context = cast(av.VideoCodecContext, av.CodecContext.create(encoder.name, "w", device_of(encoder)))
        set_up(context, encoder, quality, size, rate, full)
        black = np.zeros((size[1], size[0], 3), np.uint8)
        packets = [*context.encode(as_frame(black, encoder.pixels, full)), *context.encode(None)]
    except Exception as error:  # drivers and builds of FFmpeg fail in many ways, none of which may stop a clip
        log.debug("%s does not work here: %s", encoder.name, error)
        return False
    return any(packet.size for packet in packets)


def device_of(encoder: Encoder) -> HWAccel | None:
    """The device that an encoder's frames are uploaded to; None for one that takes them from RAM."""
    return HWAccel(encoder.device) if encoder.device else None


def set_up(
    context: av.VideoCodecContext,
    encoder: Encoder,
    quality: str,
    size: tuple[int, int],
    rate: Fraction,
    full: bool = False,
    without: tuple[str, ...] = (),
    count: int | None = None,
) -> None:
    """Size, rate, options (but those named in ``without``), threads and colour tags of a codec context or stream for
    ``count`` frames."""
    context.width, context.height, context.pix_fmt = *size, encoder.pixels
    context.time_base, context.framerate = 1 / rate, rate
    context.color_primaries = ColorPrimaries.BT709
    if is_rgb(encoder.pixels):
        context.color_trc, context.colorspace, context.color_range = _SRGB, _RGB, ColorRange.JPEG  # type: ignore[assignment]
    else:
        context.color_trc, context.colorspace = ColorTrc.BT709, _BT709
        context.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    options: Mapping[str, str] = encoder.settings(quality)
    context.options = {name: value for name, value in options.items() if name not in without}
    if encoder.name == "libx264":
        context.options |= large_picture_options(size)
    if encoder.name == "libx265":
        pools = f"{encoder.options['x265-params']}:pools={_THREADS}:frame-threads={min(_THREADS, 3)}"
        if count is not None and count < 3:  # of two frames one in fifty got a decoding time after its own
            pools += ":bframes=0"
        context.options |= {"x265-params": pools}
    if encoder.name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors alone
        context.options |= {"svtav1-params": f"lp={_THREADS}"}
    if not encoder.hardware:
        context.thread_count = _THREADS
        context.thread_type = {"libx264": thread_type(size), "png": "FRAME"}.get(encoder.name, "SLICE")


def as_frame(
    image: np.ndarray, pixels: str, full: bool = False, reformatter: VideoReformatter | None = None
) -> av.VideoFrame:
    """An image, uint8 RGB ``[H, W, 3]``, in a pixel format; YUV by BT.709."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    if pixels == "rgb24":
        return frame
    reformatter = reformatter or VideoReformatter()
    if is_rgb(pixels):
        return reformatter.reformat(frame, format=pixels)
    out = reformatter.reformat(
        frame,
        format=pixels,
        interpolation=EXACT,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
    )
    out.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    out.color_primaries, out.color_trc = ColorPrimaries.BT709, ColorTrc.BT709  # ProRes takes them from the frame
    return out


def is_rgb(pixels: str) -> bool:
    return pixels in ("rgb24", "bgr0", "bgra", "pal8")
