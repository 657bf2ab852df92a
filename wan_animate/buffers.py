"""Memory that is used again: the system hands out fresh memory page by page, which can cost more than what is computed
in it."""

from __future__ import annotations

import math
import weakref
from collections import deque
from functools import partial

import numpy as np


class BufferPool:
    """Gives out arrays; the memory of one that nobody holds any more is given out again.

    Parts and reshaped views of an array count as holding it, so nothing in use is ever written over.

    Args:
        keep: how many pieces of memory that are out of use stay at hand.
        pinned: locked in place, so that a card's copy engine takes it at full speed (needs a torch with CUDA).
    """

    def __init__(self, keep: int = 2, pinned: bool = False):
        self._keep, self._pinned = keep, pinned
        self._free: deque[memoryview] = deque()
        self._lent: dict[int, weakref.ref] = {}

    def array(self, shape: tuple[int, ...], dtype: np.dtype | type = np.float32) -> np.ndarray:
        """An uninitialised array."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        piece = self._take(size)
        # An array whose base is no array stays the base of every view of it: it lives as long as any of them.
        whole = np.frombuffer(piece, np.uint8, size)
        held = weakref.ref(whole, partial(self._give_back, piece))
        self._lent[id(held)] = held
        return whole.view(dtype).reshape(shape)

    def clear(self) -> None:
        """Let go of what is out of use."""
        self._free.clear()

    def _take(self, size: int) -> memoryview:
        while True:  # several threads may be at it
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
                return memoryview(torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy())
            except RuntimeError:  # the system has no more memory to lock: copies take longer, and that is all
                self._pinned = False
        return memoryview(np.empty(size, np.uint8))

    def _give_back(self, piece: memoryview, held: weakref.ref) -> None:
        self._lent.pop(id(held), None)
        if len(self._free) < self._keep:
            self._free.append(piece)
