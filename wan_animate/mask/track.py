"""The masks of a clip, one bit a pixel, deflated."""

from __future__ import annotations

import hashlib
import itertools
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from ..errors import InputError
from ..limits import MOST_PIXELS, RATES
from ..npz import load_npz, save_npz
from ..schema import FrameNumber, Schema, Side, read_values
from ..video.frames import FrameSource


def binary(mask: np.ndarray) -> np.ndarray:
    """uint8 0..255 or float 0..1 -> uint8 0/1, threshold half."""
    return (mask >= (128 if mask.dtype == np.uint8 else 0.5)).view(np.uint8)


_EMPTIEST = 1000  # times that masks of nobody are packed


class _Saved(Schema):
    """What :meth:`MaskTrack.save` writes beside the masks."""

    shape: tuple[FrameNumber, Side, Side]
    fps: tuple[Annotated[float, Field(gt=0, le=RATES[1])]] = (30.0,)
    fps_ratio: tuple[int, Annotated[int, Field(ge=1)]] | None = None


@dataclass(frozen=True, eq=False)
class MaskTrack:
    """Binary masks of a clip, about 2 kB a frame at 1280x720."""

    packed: tuple[bytes, ...]  # for each frame, the deflated bits of numpy.packbits
    shape: tuple[int, ...]  # T, height, width
    fps: Fraction = Fraction(30)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", tuple(self.packed))
        object.__setattr__(self, "shape", tuple(int(side) for side in self.shape))
        object.__setattr__(self, "fps", Fraction(self.fps).limit_denominator(100_000))
        if len(self.shape) != 3 or self.shape[0] != len(self.packed) or min(self.shape) < 1:
            raise InputError(f"mask track: {len(self.packed)} frames do not fit the shape {list(self.shape)}.")
        if self.shape[1] * self.shape[2] > MOST_PIXELS or not RATES[0] <= self.fps <= RATES[1]:
            raise InputError(
                f"mask track: it has frames of {self.shape[2]}x{self.shape[1]} at {float(self.fps):g} a second, which "
                "no clip has; segment the clip again."
            )

    def __len__(self) -> int:
        return len(self.packed)

    @classmethod
    def from_source(cls, source: FrameSource, progress: Callable[[int, int], None] | None = None) -> MaskTrack:
        """Reads a mask source. Raises InputError for images."""
        if source.kind != "mask":
            raise InputError(
                "mask: it is a clip of images; turn it into masks first (Image to Mask, or one colour channel)."
            )
        packed: list[bytes] = []
        for _, stop, masks in source.batches(8):
            packed += [pack(binary(mask)) for mask in masks]
            if progress is not None:
                progress(stop, len(source))
        return cls(tuple(packed), (len(packed), source.height, source.width), source.fps)

    @classmethod
    def from_bits(cls, bits: np.ndarray, shape: tuple[int, ...], fps: Fraction = Fraction(30)) -> MaskTrack:
        """From ``numpy.packbits`` rows, uint8 ``[T, ceil(H*W/8)]``."""
        shape = tuple(int(side) for side in shape)
        if bits.dtype != np.uint8 or bits.shape != (shape[0], -(-shape[1] * shape[2] // 8)):
            raise InputError(
                f"mask track: packed bits of shape {list(bits.shape)} do not fit frames of shape {list(shape)}."
            )
        return cls(tuple(zlib.compress(row.tobytes(), 1) for row in bits), shape, fps)

    def read(self, start: int, stop: int) -> np.ndarray:
        """uint8 ``[stop - start, H, W]`` of 0 and 1."""
        _, height, width = self.shape
        out = np.empty((stop - start, height, width), np.uint8)
        for row, data in zip(out, self.packed[start:stop], strict=True):
            bits = _inflated(data, -(-height * width // 8))
            row[:] = np.unpackbits(bits, count=height * width).reshape(height, width)
        return out

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for data in self.packed:
            digest.update(data)
        return f"mask:{self.shape}:{self.fps}:{digest.hexdigest()}"

    def save(self, path: str | os.PathLike) -> None:
        """Writes an ``.npz``. Raises InputError."""
        ends = np.cumsum([len(data) for data in self.packed])
        arrays: dict[str, np.ndarray] = {
            "deflated": np.frombuffer(b"".join(self.packed), np.uint8),
            "ends": ends.astype(np.int64),
            "shape": np.array(self.shape, np.int64),
            "fps_ratio": np.array([self.fps.numerator, self.fps.denominator], np.int64),
        }
        save_npz(path, arrays, "mask track")

    @classmethod
    def load(cls, path: str | os.PathLike) -> MaskTrack:
        """Reads :meth:`save`'s file, or ``packed`` bits ``[T, ceil(H*W/8)]`` and ``shape``. Raises InputError."""
        others = ("fps_ratio", "fps", "packed", "deflated", "ends")
        arrays = load_npz(path, ("shape",), "mask track", others, packed=_EMPTIEST)
        small = {name: tuple(arrays[name].ravel().tolist()) for name in ("shape", "fps_ratio", "fps") if name in arrays}
        saved = read_values(small, _Saved, f"mask track {os.fspath(path)}", "save it again")
        fps = Fraction(*saved.fps_ratio) if saved.fps_ratio is not None else Fraction(*saved.fps)
        shape = saved.shape
        if "packed" in arrays:
            return cls.from_bits(arrays["packed"], shape, fps)
        if "deflated" not in arrays or "ends" not in arrays:
            raise InputError(f"mask track: {path} has no masks in it; save it again.")
        data, ends = arrays["deflated"].tobytes(), [0, *arrays["ends"].ravel().tolist()]
        return cls(tuple(data[start:stop] for start, stop in itertools.pairwise(ends)), shape, fps)


def _inflated(data: bytes, count: int) -> np.ndarray:
    """``count`` bytes of bits, and no more. Raises InputError."""
    try:
        bits = zlib.decompressobj().decompress(data, count)
    except zlib.error:
        bits = b""
    if len(bits) < count:
        raise InputError("mask track: the masks of a frame are damaged; segment the clip again.")
    return np.frombuffer(bits, np.uint8)


def pack(mask: np.ndarray) -> bytes:
    """uint8 ``[H, W]`` of 0 and 1 -> one item of :attr:`MaskTrack.packed`."""
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def overlay(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask tinted and outlined on a frame, uint8 ``[H, W, 3]``."""
    inside = binary(mask)
    tinted = np.where(inside[..., None] > 0, frame // 2 + np.array([20, 110, 40], np.uint8), frame)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(tinted), outlines, -1, (255, 255, 255), max(frame.shape[0] // 400, 1))


class MaskTrackSource(FrameSource):
    """Masks as frames (uint8, 0 or 255), optionally resized (nearest)."""

    kind = "mask"

    def __init__(self, track: MaskTrack, fps: Fraction | float | None = None, width: int = 0, height: int = 0):
        self.track = track
        self.width, self.height = width or track.shape[2], height or track.shape[1]
        self.fps = Fraction(fps or track.fps).limit_denominator(100_000)

    def __len__(self) -> int:
        return len(self.track)

    def _read(self, start: int, stop: int) -> np.ndarray:
        masks = self.track.read(start, stop)
        masks *= 255
        if masks.shape[1:] == (self.height, self.width):
            return masks
        size = (self.width, self.height)
        return np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT) for mask in masks])

    def is_black(self) -> bool:
        empty = pack(np.zeros(self.track.shape[1:], np.uint8))
        return all(bits == empty or not any(zlib.decompress(bits)) for bits in self.track.packed)

    def fingerprint(self) -> str:
        return f"masks:{self.width}x{self.height}:{self.fps}:{self.track.fingerprint()}"
