"""Clips for the tests, made with PyAV. Every frame carries its number as light and dark blocks that survive coding."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

BITS = 10
LONG_GOP = {"g": "250", "bf": "3", "sc_threshold": "0", "preset": "veryfast"}


def numbered_frame(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """uint8 ``[H, W, 3]``: the upper half holds ``number`` in binary, the lower half a texture that moves."""
    image = np.empty((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        image[: height // 2, edges[bit] : edges[bit + 1]] = 225 if number >> bit & 1 else 30
    ramp = (np.arange(width) * 3 + number * 5) % 200 + 20
    image[height // 2 :] = ramp[None, :, None]
    image[height // 2 :, :, 2] = 90
    return image


def frame_number(image: np.ndarray) -> int:
    """What :func:`numbered_frame` wrote, read back from an upright image of any size."""
    height, width = image.shape[:2]
    edges = np.linspace(0, width, BITS + 1)
    row = image[height // 8 : height * 3 // 8].mean(axis=(0, 2))
    return sum(int(row[int((edges[b] + edges[b + 1]) / 2)] > 128) << b for b in range(BITS))


def numbers(frames: np.ndarray) -> list[int]:
    """:func:`frame_number` of each."""
    return [frame_number(frame) for frame in frames]


def write_clip(
    path,
    count: int = 60,
    rate: Fraction | int = 30,
    codec: str = "libx264",
    options: dict | None = None,
    width: int = 160,
    height: int = 96,
    stamps: list[int] | None = None,
    time_base: Fraction | None = None,
    rotation: float | None = None,
    faststart: bool = False,
    tone: float | None = None,
    frame=numbered_frame,
    format: str | None = None,
    pix_fmt: str = "yuv420p",
):
    """Write a clip; ``stamps`` (in ``time_base``) make its rate variable, ``tone`` (in Hz) adds a sound."""
    rate = Fraction(rate)
    with av.open(str(path), "w", format=format, options={"movflags": "+faststart"} if faststart else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = dict(LONG_GOP if options is None and codec == "libx264" else options or {})
        if time_base:
            stream.codec_context.time_base = time_base
        sound = container.add_stream("aac", rate=48000, layout="mono") if tone else None
        for i in range(count):
            picture = av.VideoFrame.from_ndarray(frame(i, width, height), format="rgb24")
            picture.pts, picture.time_base = (stamps[i] if stamps else i), (time_base or 1 / rate)
            container.mux(stream.encode(picture))
            if sound:
                first, last = (round(48000 * at / rate) for at in (i, i + 1))
                wave = 0.5 * np.sin(2 * np.pi * tone * np.arange(first, last) / 48000)[None]
                piece = av.AudioFrame.from_ndarray(wave.astype(np.float32), format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 48000, first, Fraction(1, 48000)
                container.mux(sound.encode(piece))
        container.mux(stream.encode(None))
        if sound:
            container.mux(sound.encode(None))
    if rotation is not None:
        turn_track(path, rotation)
    return path


def turn_track(path, degrees: float) -> None:
    """Give an mp4's picture a display matrix, counter-clockwise, as phones write it (ISO 14496-12, tkhd)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    cos, sin = (round(part(np.radians(degrees))) << 16 for part in (np.cos, np.sin))
    matrix = [cos, -sin, 0, sin, cos, 0, 0, 0, 0x40000000]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)


def cut_file(path, target, share: float):
    """The first ``share`` of a file's bytes: what a download that stopped leaves behind."""
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target
