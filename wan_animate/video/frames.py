"""Frame sources: what travels between the stages in place of a video held in memory.

A frame source knows its length, size and rate, and reads the frames of one segment when asked. Nothing here holds a
clip; memory is bounded by what one :meth:`FrameSource.read` returns.

Work done ahead of its consumer, in a thread of its own: decoding while the networks run, stage behind stage.

FFmpeg, OpenCV, numpy and onnxruntime let go of the interpreter while they work, so threads are enough.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch

from ..errors import InputError
from ..finite import is_finite
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


Item = TypeVar("Item")


def ahead(source: Iterable[Item], depth: int = 1, name: str = "ahead") -> Iterator[Item]:
    """The items of ``source``, made in a background thread up to ``depth`` + 1 ahead of where they are used.

    ``source`` may itself be such an iterator; a chain of generators, each wrapped so, is a pipeline. The thread starts
    with the first item asked for. When the consumer stops early (an error, Cancel, ``close()``) it ends after the item
    it is at, closes ``source`` and is joined: nothing runs on. An error of ``source`` is raised here, after the items
    that came before it.

    Args:
        source: what to iterate over; used by the thread alone.
        depth: finished items that may wait, at least 1.
        name: of the thread.
    """
    waiting: queue.Queue = queue.Queue(max(depth, 1))
    stop = threading.Event()

    def work() -> None:
        ending: tuple = ("end", None)
        try:
            for item in source:
                waiting.put(("item", item))
                del item
                if stop.is_set():
                    break
        except BaseException as error:  # the host's Cancel is no Exception; whatever it is belongs to the consumer
            ending = ("error", error)
        finally:
            try:
                if hasattr(source, "close") and not isinstance(source, FrameSource):
                    source.close()
            except BaseException as error:
                ending = ("error", error)
            waiting.put(ending)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value
    finally:
        stop.set()
        while thread.is_alive():  # it may be waiting for room
            try:
                waiting.get(timeout=0.02)
            except queue.Empty:
                pass
        thread.join()


def read_ahead(
    frames: FrameSource, batch: int, depth: int = 2, ranges: Iterable[tuple[int, int]] | None = None
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Frames read in the background, in order.

    At most ``depth`` + 2 batches exist at a time (waiting, being read, being used). Close the iterator, or use it up,
    before the source is read by anybody else.

    Args:
        frames: what to read.
        batch: frames a time, at least 1; the last batch of a range may be shorter.
        depth: batches that may wait.
        ranges: ``(start, stop)`` parts to read in place of the whole clip.

    Yields:
        start, stop and the frames between, uint8 ``[n, H, W, 3]`` (``[n, H, W]`` for masks).
    """

    def read() -> Iterator[tuple[int, int, np.ndarray]]:
        for first, last in [(0, len(frames))] if ranges is None else ranges:
            for start in range(first, last, batch):
                stop = min(start + batch, last)
                yield start, stop, read_uint8(frames, start, stop)

    return ahead(read(), depth, "read ahead")
