"""Frame sources: what travels between the stages in place of a video held in memory.

A frame source knows its length, size and rate, and reads the frames of one segment when asked. Nothing here holds a
clip; memory is bounded by what one :meth:`FrameSource.read` returns.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import cv2
import numpy as np
import torch

from .errors import InputError
from .finite import is_finite
from .picture import over_background

_at_hand = threading.local()


class FrameSource(ABC):
    """A clip that is read a few frames at a time.

    Attributes:
        width, height: size of every frame in pixels.
        fps: frames a second as a :class:`fractions.Fraction`.
        kind: ``"image"`` (``read`` gives ``[n, H, W, 3]`` RGB) or ``"mask"`` (``read`` gives ``[n, H, W]``,
            0 = background, full scale = foreground).
        picture: (left, top, width, height) in the frame's pixels of the whole picture that the frames show, as
            :func:`placement` gives it: what a pose found in the clip itself is brought to the frames by. None where
            nobody knows.
        start_seconds: where in the video frame 0 lies, or None where that is not known.
    """

    kind: str = "image"
    width: int
    height: int
    fps: Fraction = Fraction(30)
    picture: tuple[float, float, float, float] | None = None
    start_seconds: float | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def _read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` up to ``stop``; the range has been checked. uint8 0..255 or float32 0..1."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that is equal for two sources exactly when they give the same frames."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` up to (not including) ``stop``.

        Returns:
            ``[n, H, W, 3]`` RGB for images, ``[n, H, W]`` for masks; uint8 in 0..255 or float32 in 0..1, the same
            for every call on one source.

        Raises:
            IndexError: the range is empty or leaves the clip.
            InputError: the frames cannot be read (the file was cut off or removed).
        """
        if not 0 <= start < stop <= len(self):
            raise IndexError(f"frames {start}..{stop} asked of a clip of {len(self)}")
        read: dict | None = getattr(_at_hand, "read", None)
        if read is None:
            return self._read(start, stop)
        key = (id(self), start, stop)
        if key not in read:
            read[key] = (self, self._read(start, stop))  # with the source, so that no other one gets its id
        return read[key][1]

    def is_black(self) -> bool | None:
        """Whether every frame is black (a mask: below half of full scale); None where only reading them would tell."""
        return None

    def is_finite(self) -> bool | None:
        """Whether every value is a number; None where only reading the frames would tell."""
        return None

    def close(self) -> None:  # noqa: B027  many sources hold nothing open
        """Let go of files and decoders. The source opens them again when it is read."""


@contextmanager
def reading_once() -> Iterator[None]:
    """Within the block, and in this thread, a source that is asked again for the same frames gives out the same array.

    Sources are made of each other: face crops and background of one driving video, background and mask of one mask.
    All arrays are held until the block ends, so it is for a few frames at a time.
    """
    before = getattr(_at_hand, "read", None)
    _at_hand.read = {}
    try:
        yield
    finally:
        _at_hand.read = before


def read_float(source: FrameSource, start: int, stop: int) -> torch.Tensor:
    """Frames as float32 in 0..1, ``[n, H, W, 3]`` (images) or ``[n, H, W]`` (masks); uint8 is divided by 255."""
    return as_float(source.read(start, stop))


def as_float(frames: np.ndarray) -> torch.Tensor:
    """Frames as a source gives them (uint8 0..255 or float32 0..1) as float32 in 0..1; uint8 is divided by 255."""
    if frames.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(frames)).float().div_(255.0)
    return torch.from_numpy(np.ascontiguousarray(frames))


def as_unit_float(frames: torch.Tensor) -> torch.Tensor:
    """A tensor of uint8 levels or of floats in 0..1 as floats in 0..1, with the same bits on every device."""
    if frames.dtype != torch.uint8:
        return frames
    # by a tensor: divided by a number, CUDA multiplies by the number's inverse, which rounds otherwise
    return frames.float().div_(torch.tensor(255.0, device=frames.device))


def read_uint8(source: FrameSource, start: int, stop: int) -> np.ndarray:
    """Frames as uint8 0..255, ``[n, H, W, 3]`` (images) or ``[n, H, W]`` (masks); floats are rounded to nearest."""
    frames = source.read(start, stop)
    if frames.dtype == np.uint8:
        return frames
    return np.clip(frames * 255.0 + 0.5, 0, 255).astype(np.uint8)


class TensorSource(FrameSource):
    """Frames that are already in memory (a host's IMAGE or MASK), given out unchanged.

    Args:
        frames: ``[T, H, W, 3 or 4]`` images (what is transparent becomes black) or ``[T, H, W]`` masks; float in 0..1
            or uint8.
        fps: frames a second.
    """

    def __init__(self, frames: torch.Tensor | np.ndarray, fps: Fraction | float | int = 30):
        if isinstance(frames, torch.Tensor):
            frames = frames.detach().to("cpu")
            frames = (frames if frames.dtype == torch.uint8 else frames.float()).numpy()
        if frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[-1] not in (3, 4)):
            raise InputError(
                f"frames must be [T, H, W, 3] images or [T, H, W] masks, but their shape is {list(frames.shape)}."
            )
        if frames.shape[0] == 0:
            raise InputError("the clip has no frames: connect at least one image.")
        self.kind = "image" if frames.ndim == 4 else "mask"
        self._frames = frames
        self.height, self.width = frames.shape[1:3]
        self.fps = Fraction(fps).limit_denominator(100_000)
        self._digest: str | None = None

    def is_black(self) -> bool:
        least = (0.5 if self.kind == "mask" else 1 / 255) * (255 if self._frames.dtype == np.uint8 else 1)
        return not any((frame >= least).any() for frame in self._frames)

    def is_finite(self) -> bool:
        return all(is_finite(torch.from_numpy(np.ascontiguousarray(frame))) for frame in self._frames)

    def __len__(self) -> int:
        return self._frames.shape[0]

    def _read(self, start: int, stop: int) -> np.ndarray:
        frames = self._frames[start:stop]
        if self.kind == "mask" or frames.shape[-1] == 3:
            return frames
        whole = 255.0 if frames.dtype == np.uint8 else 1.0
        shown = over_background(torch.from_numpy(np.ascontiguousarray(frames)).float() / whole) * whole
        return (shown.round() if whole > 1 else shown).numpy().astype(frames.dtype)

    def fingerprint(self) -> str:
        if self._digest is None:  # several sources may be made of this one
            digest = hashlib.blake2b(digest_size=16)
            for frame in self._frames:
                digest.update(np.ascontiguousarray(frame).data)
            self._digest = digest.hexdigest()
        return f"tensor:{self._frames.shape}:{self._frames.dtype}:{self.fps}:{self._digest}"


def reflected_index(index: int, length: int) -> int:
    """Where frame ``index`` of an endless back-and-forth playing of ``length`` frames lies: 0 1 2 3 2 1 0 1 ..."""
    if length == 1:
        return 0
    index %= 2 * (length - 1)
    return index if index < length else 2 * (length - 1) - index


def read_reflected(source: FrameSource, start: int, stop: int) -> np.ndarray:
    """As :meth:`FrameSource.read`, but past the end the clip plays back and forth (upstream pads the last segment so:
    ``wan/animate.py: inputs_padding``). Every frame is read once, forwards."""
    length = len(source)
    if stop <= length:
        return source.read(start, stop)
    at = np.array([reflected_index(index, length) for index in range(start, stop)])
    first = int(at.min())
    return source.read(first, int(at.max()) + 1)[at - first]


FITS = ("fill", "pad")
# Sides divisible by 16 and a clip's own ratio differ by a few hundredths. More than this is another shape, and cutting
# it down would take a head or the feet away.
_MOST_CUT = 0.1


def placement(
    src_width: float, src_height: float, width: int, height: int, fit: str = "fill"
) -> tuple[int, int, int, int]:
    """Where a picture of one size lies in a frame of another: (left, top, width, height) in the frame's pixels.

    Args:
        fit: ``"fill"`` scales the picture to cover the frame and lets what hangs over be cut, so left or top may be
            negative; a picture that would lose more than a tenth is letterboxed all the same. ``"pad"`` letterboxes:
            the whole picture, centred, as upstream's ``padding_resize`` (``wan/animate.py`` and
            ``preprocess/utils.py``): sizes and offsets round down.

    Raises:
        InputError: ``fit`` is neither.
    """
    if fit not in FITS:
        raise InputError(f"fit is {fit!r}, but it must be one of {', '.join(FITS)}.")
    if fit == "fill" and cut_share(src_width, src_height, width, height) <= _MOST_CUT:
        scale = max(width / src_width, height / src_height)
        new_width, new_height = max(round(src_width * scale), width), max(round(src_height * scale), height)
        return -((new_width - width) // 2), -((new_height - height) // 2), new_width, new_height
    if src_height / src_width > height / width:
        new_width, new_height = max(int(height / src_height * src_width), 1), height
    else:
        new_width, new_height = width, max(int(width / src_width * src_height), 1)
    return (width - new_width) // 2, (height - new_height) // 2, new_width, new_height


def cut_share(src_width: float, src_height: float, width: int, height: int) -> float:
    """The share of a picture that is lost when it is scaled to cover ``width`` x ``height``."""
    ratio = (src_width * height) / (src_height * width)
    return 1 - min(ratio, 1 / ratio)


def place(
    image: np.ndarray,
    where: tuple[int, int, int, int],
    width: int,
    height: int,
    interpolation: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Scale an image to where :func:`placement` puts it in a frame of ``width`` x ``height``; black around it.

    ``interpolation`` defaults to area when the image shrinks and bilinear when it grows. The result is in ``out`` where
    that is given (C-contiguous, of the right size and type).
    """
    left, top, new_width, new_height = where
    src_height, src_width = image.shape[:2]
    if (src_height, src_width) == (height, width) and where == (0, 0, width, height):
        if out is None:
            return image
        out[:] = image
        return out
    if interpolation is None:
        interpolation = cv2.INTER_AREA if width * height < src_width * src_height else cv2.INTER_LINEAR
    if out is None:
        out = np.empty((height, width, *image.shape[2:]), image.dtype)
    if new_width < width or new_height < height:
        out[:] = 0
    scaled = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    seen = scaled[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
    top, left = max(top, 0), max(left, 0)
    out[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return out


def letterbox(
    image: np.ndarray, width: int, height: int, interpolation: int | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Scale an image to fit ``width`` x ``height``, keep its aspect ratio, centre it on black: :func:`placement` with
    ``"pad"``, then :func:`place`."""
    where = placement(image.shape[1], image.shape[0], width, height, "pad")
    return place(image, where, width, height, interpolation, out)
