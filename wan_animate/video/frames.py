"""Frame sources, read a few frames at a time, and prefetching in a thread."""

from __future__ import annotations

import hashlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch

from .. import workers
from ..errors import InputError
from ..finite import is_finite
from .picture import over_background

_cache = threading.local()
_AT_ONCE, _BYTES_AT_ONCE = 8, 47 << 20
_BLOCK = 1 << 17  # numbers
_SHARED = 1 << 24  # numbers from which several threads round them


class FrameSource(ABC):
    """A clip that is read a few frames at a time.

    Attributes:
        width, height: in pixels.
        fps: frames per second.
        kind: ``"image"`` (RGB ``[n, H, W, 3]``) or ``"mask"`` (``[n, H, W]``, 0 = background).
        picture: (left, top, width, height) of the original picture in the frame (:func:`.resample.placement`), None if
            unknown.
        native_size: (width, height) of the original picture, upright and with square pixels, None if unknown.
        start_seconds: time of frame 0 in the video file, None if unknown.
        tags: what an mp4 of these very frames says of how they were made; None if unknown.
        part_of: number of frame 0 in the clip that these frames are of, and how many that has; None if unknown.
        notes: sentences on what the video was converted from and to, beyond size and rate.
    """

    kind: str = "image"
    width: int
    height: int
    fps: Fraction = Fraction(30)
    picture: tuple[float, float, float, float] | None = None
    native_size: tuple[int, int] | None = None
    start_seconds: float | None = None
    tags: dict[str, str] | None = None
    part_of: tuple[int, int] | None = None
    notes: Sequence[str] = ()

    @property
    def chunk(self) -> int:
        """Frames to read at once where all are wanted: 8, fewer of large ones (one of 4K)."""
        return max(1, min(_AT_ONCE, _BYTES_AT_ONCE // (3 * self.width * self.height)))

    @property
    def by_network(self) -> bool:
        """Whether reading runs a host's network, and so belongs into the thread that runs those."""
        return False

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @abstractmethod
    def _read(self, start: int, stop: int) -> np.ndarray:
        """:meth:`read` for a checked range."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Equal for two sources exactly when their frames are equal."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``start`` to ``stop`` (exclusive), uint8 0..255 or float32 0..1.

        Raises:
            IndexError: empty range, or outside the clip.
            InputError: the frames cannot be read.
        """
        if not 0 <= start < stop <= len(self):
            raise IndexError(f"frames {start}..{stop} asked of a clip of {len(self)}")
        read: dict | None = getattr(_cache, "read", None)
        if read is None:
            return self._read(start, stop)
        key = (id(self), start, stop)
        if key not in read:
            read[key] = (self, self._read(start, stop))  # keeps the source alive, so that its id is not reused
        return read[key][1]

    def batches(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, np.ndarray]]:
        """(start, stop, frames) of up to ``size`` frames."""
        end = len(self) if stop is None else stop
        for first in range(start, end, size):
            last = min(first + size, end)
            yield first, last, self.read(first, last)

    @property
    def native_scale(self) -> float | None:
        """Pixels of a frame for each pixel of the original picture, across; None if unknown."""
        return None if self.picture is None or self.native_size is None else self.picture[2] / self.native_size[0]

    def is_black(self) -> bool | None:
        """Whether every frame is black (a mask: below half); None if unknown without reading."""
        return None

    def is_finite(self) -> bool | None:
        """Whether all values are finite; None if unknown without reading."""
        return None

    def close(self) -> None:  # noqa: B027  many sources have nothing to close
        """Closes files and decoders; reading opens them again."""


@contextmanager
def reading_once() -> Iterator[None]:
    """Caches ranges read in this block and thread, for sources that share one."""
    before = getattr(_cache, "read", None)
    _cache.read = {}
    try:
        yield
    finally:
        _cache.read = before


def read_float(source: FrameSource, start: int, stop: int) -> torch.Tensor:
    """:meth:`FrameSource.read` as float32 0..1."""
    return as_float(source.read(start, stop))


def as_float(frames: np.ndarray) -> torch.Tensor:
    """Frames as float32 0..1."""
    if frames.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(frames)).float().div_(255.0)
    return torch.from_numpy(np.ascontiguousarray(frames))


def as_unit_float(frames: torch.Tensor) -> torch.Tensor:
    """uint8 to floats 0..1, bit-identical on every device; floats unchanged."""
    if frames.dtype != torch.uint8:
        return frames
    # A tensor as divisor: for a Python number CUDA multiplies by the reciprocal, which rounds differently.
    return frames.float().div_(torch.tensor(255.0, device=frames.device))


def read_uint8(source: FrameSource, start: int, stop: int) -> np.ndarray:
    return as_uint8(source.read(start, stop))


def as_uint8(frames: np.ndarray) -> np.ndarray:
    """Frames as uint8, rounded."""
    if frames.dtype == np.uint8:
        return frames
    if frames.dtype != np.float32:
        return np.clip(frames * 255.0 + 0.5, 0, 255).astype(np.uint8)
    out = np.empty(frames.shape, np.uint8)
    if frames.size < _SHARED:
        _round(frames, out)
    else:
        workers.each(_round, frames, out)
    return out


def _round(frames: np.ndarray, out: np.ndarray) -> None:
    """In blocks that stay in a core's cache: fresh memory for every step costs ten times as much."""
    held = np.empty(min(_BLOCK, frames.size), np.float32)
    for block, made in _blocks(frames, out):
        scaled = held[: block.size].reshape(block.shape)
        np.multiply(block, 255.0, out=scaled)
        scaled += 0.5
        made[...] = np.clip(scaled, 0, 255, out=scaled)


def _blocks(frames: np.ndarray, out: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of two arrays of one shape, up to :data:`_BLOCK` numbers each, in any memory order without a copy."""
    count = _BLOCK // frames[0].size if frames.size > _BLOCK else max(len(frames), 1)
    if count == 0:
        for one, made in zip(frames, out):
            yield from _blocks(one, made)
        return
    for start in range(0, len(frames), count):
        yield frames[start : start + count], out[start : start + count]


class TensorSource(FrameSource):
    """Frames in memory: images ``[T, H, W, 3 or 4]`` (alpha composited over black) or masks ``[T, H, W]``; uint8 or
    float 0..1.
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
        if self._digest is None:  # several derived sources may ask
            digest = hashlib.blake2b(digest_size=16)
            for frame in self._frames:
                digest.update(np.ascontiguousarray(frame).data)
            self._digest = digest.hexdigest()
        return f"tensor:{self._frames.shape}:{self._frames.dtype}:{self.fps}:{self._digest}"


def reflected_index(index: int, length: int) -> int:
    """Frame number at ``index`` of back and forth playback: 0 1 2 3 2 1 0 1 ..."""
    if length == 1:
        return 0
    index %= 2 * (length - 1)
    return index if index < length else 2 * (length - 1) - index


def read_reflected(source: FrameSource, start: int, stop: int, shot: tuple[int, int] | None = None) -> np.ndarray:
    """:meth:`FrameSource.read`, past the end of the ``shot`` (first, stop; None: the clip) by :func:`reflected_index`
    (upstream's ``inputs_padding``). Reads frames once, in order.
    """
    begin, end = shot or (0, len(source))
    if stop <= end:
        return source.read(start, stop)
    at = np.array([begin + reflected_index(index - begin, end - begin) for index in range(start, stop)])
    first = int(at.min())
    return source.read(first, int(at.max()) + 1)[at - first]


Item = TypeVar("Item")
_TICK = 0.25  # seconds


def ahead(
    source: Iterable[Item], depth: int = 1, name: str = "ahead", tick: Callable[[], None] | None = None
) -> Generator[Item, None, None]:
    """Iterates in a background thread, up to ``depth`` + 1 items ahead.

    The thread starts with the first ``next``. If the consumer stops early, it finishes its item, closes ``source`` and
    is joined. Errors follow the items before them. ``tick`` is called while the consumer waits; it may raise.
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
        except BaseException as error:  # ComfyUI's interrupt does not derive from Exception
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
            try:
                kind, value = waiting.get(timeout=None if tick is None else _TICK)
            except queue.Empty:
                if tick is not None:
                    tick()
                continue
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
            del value
    finally:
        stop.set()
        while thread.is_alive():  # it may be blocked by a full queue
            try:
                waiting.get(timeout=0.02)
            except queue.Empty:
                pass
        thread.join()


def read_ahead(
    frames: FrameSource, batch: int, depth: int = 2, ranges: Iterable[tuple[int, int]] | None = None
) -> Generator[tuple[int, int, np.ndarray], None, None]:
    """:meth:`FrameSource.batches` as uint8, of the clip or ``(start, stop)`` ranges, in a background thread.

    At most ``depth`` + 2 batches exist. Exhaust or close it before reading the source elsewhere.
    """

    def read() -> Iterator[tuple[int, int, np.ndarray]]:
        for first, last in [(0, len(frames))] if ranges is None else ranges:
            for start, stop, part in frames.batches(batch, first, last):
                yield start, stop, as_uint8(part)
                del part  # before the next is read

    return ahead(read(), depth, "read ahead")
