"""Host memory: buffers that are reused, and what is freed given back to the system."""

from __future__ import annotations

import ctypes
import math
import sys
import weakref
from collections import deque
from functools import cache, partial
from typing import Any

import numpy as np

_M_MMAP_THRESHOLD = -3  # malloc.h
_MAPPED = 4 << 20


@cache
def _glibc() -> Any:
    """The C library where it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "malloc_trim") else None


@cache
def map_large_buffers() -> None:
    """From now on malloc maps buffers of 4 MB and more, which go back to the system when they are freed.

    By default glibc raises that limit to 32 MB by itself; then the frames of a segment lie in the threads' heaps, whose
    holes it keeps: a clip of 600 frames at 480x272 took 990 MB in place of 560.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED)


def give_back() -> None:
    """Return the heaps' free pages to the system; milliseconds."""
    if (library := _glibc()) is not None:
        library.malloc_trim(ctypes.c_size_t(0))


class BufferPool:
    """Arrays whose memory is reused once they and all their views are garbage collected: page faults of fresh memory
    can cost more than the computation.

    Args:
        keep: number of free buffers to keep.
        pinned: page-locked memory, for fast copies by CUDA.
    """

    def __init__(self, keep: int = 2, pinned: bool = False) -> None:
        self._keep, self._pinned = keep, pinned
        self._free: deque[memoryview] = deque()
        self._lent: dict[int, weakref.ref] = {}

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def in_use(self) -> int:
        return len(self._lent)

    def array(self, shape: tuple[int, ...], dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Uninitialized."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        piece = self._take(size)
        # NumPy keeps ``whole`` as the base of all its views, as its own base is not an array.
        whole = np.frombuffer(piece, np.uint8, size)
        held = weakref.ref(whole, partial(self._give_back, piece))
        self._lent[id(held)] = held
        return whole.view(dtype).reshape(shape)

    def clear(self) -> None:
        self._free.clear()

    def _take(self, size: int) -> memoryview:
        while True:  # other threads may empty the deque
            try:
                piece = self._free.popleft()
            except IndexError:
                return self._new(size)
            if size <= len(piece) <= 4 * size:
                return piece

    def _new(self, size: int) -> memoryview:
        if self._pinned:
            import torch

            try:
                return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy().data
            except RuntimeError:  # no more memory can be page-locked; copies are slower without
                self._pinned = False
        return np.empty(size, np.uint8).data

    def _give_back(self, piece: memoryview, held: weakref.ref) -> None:
        self._lent.pop(id(held), None)
        if len(self._free) < self._keep:
            self._free.append(piece)
