"""A module's weights in one pinned mmap region, for asynchronous copies.

Pinning is slow: weights are moved once. The registration ends with the last tensor.
"""

from __future__ import annotations

import math
import mmap
import time
import weakref
from typing import Any

import torch

from ....wan_animate.log import get_logger

ALIGN = 1024

log = get_logger(__name__)


class PinnedMemory:
    """Registered regions, and the seconds it took."""

    size = 0
    count = 0
    moving = 0.0
    seconds = 0.0


class _Region(mmap.mmap):
    """An mmap that can be weakly referenced."""


# by the address of the mapping; an entry goes when the last tensor in it does
_regions: weakref.WeakValueDictionary[int, _Region] = weakref.WeakValueDictionary()


def plain_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The parts of a (possibly quantized) tensor."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [getattr(tensor, name) for name in names]


def rebuild(like: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
    if not hasattr(like, "__tensor_flatten__"):
        return torch.nn.Parameter(parts[0], requires_grad=False) if isinstance(like, torch.nn.Parameter) else parts[0]
    kind: Any = type(like)  # a class with __tensor_flatten__ has __tensor_unflatten__
    names, context = like.__tensor_flatten__()
    made = kind.__tensor_unflatten__(dict(zip(names, parts)), context, like.size(), like.stride())
    made._is_param = True  # torch.nn.Parameter(made) would copy the scale before it has arrived
    return made


def layout(tensors: list[torch.Tensor]) -> tuple[list[int], int]:
    """(offsets, total size) in bytes."""
    offsets, size = [], 0
    for tensor in tensors:
        for plain in plain_tensors(tensor):
            offsets.append(size)
            size += math.ceil(plain.numel() * plain.element_size() / ALIGN) * ALIGN
    return offsets, size


def views(tensors: list[torch.Tensor], flat: torch.Tensor) -> list[torch.Tensor]:
    """Views of ``flat`` (uint8) shaped like ``tensors``."""
    offsets, _ = layout(tensors)
    at, made = iter(offsets), []
    for tensor in tensors:
        parts = []
        for plain in plain_tensors(tensor):
            start = next(at)
            part = flat[start : start + plain.numel() * plain.element_size()]
            parts.append(part.view(plain.dtype).view(plain.shape))
        made.append(rebuild(tensor, parts))
    return made


def region_of(tensors: list[torch.Tensor]) -> torch.Tensor | None:
    """The region that holds the largest of ``tensors``, or None."""
    largest = max((plain for tensor in tensors for plain in plain_tensors(tensor)), key=lambda one: one.nbytes)
    storage = largest.untyped_storage()
    if storage.device.type != "cpu" or storage.data_ptr() not in _regions:
        return None
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def pack(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies in one new, unregistered region.

    Raises:
        OSError, MemoryError: host memory is full.
    """
    start, (_, size) = time.perf_counter(), layout(tensors)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    region = _Region(-1, max(size, mmap.PAGESIZE), **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            region.madvise(mmap.MADV_HUGEPAGE)  # fewer pages to fault in and to lock
        except OSError:
            pass
    flat = torch.frombuffer(region, dtype=torch.uint8)
    _regions[flat.data_ptr()] = region
    made = views(tensors, flat)
    for new, old in zip(made, tensors):
        for to, given in zip(plain_tensors(new), plain_tensors(old)):
            to.copy_(given)
    PinnedMemory.moving += time.perf_counter() - start
    return made


def register(flat: torch.Tensor) -> bool:
    """Pins a region, counted by the host; False if refused: copies are then synchronous."""
    import comfy.model_management as host

    if not torch.cuda.is_available():
        return False
    if flat.is_pinned():
        return True
    region, address, size = _regions[flat.data_ptr()], flat.data_ptr(), flat.numel()
    if host.MAX_PINNED_MEMORY <= 0 or not host.ensure_pin_registerable(size):
        return False
    start = time.perf_counter()
    if int(torch.cuda.cudart().cudaHostRegister(address, size, 1)) != 0:
        host.discard_cuda_async_error()
        return False
    host.TOTAL_PINNED_MEMORY += size
    PinnedMemory.size += size
    PinnedMemory.count += 1
    PinnedMemory.seconds += time.perf_counter() - start
    ended = weakref.finalize(region, _unregister, address, size)  # before the memory itself goes
    ended.atexit = False
    return True


def _unregister(address: int, size: int) -> None:
    import comfy.model_management as host

    PinnedMemory.size -= size
    PinnedMemory.count -= 1
    host.TOTAL_PINNED_MEMORY = max(0, host.TOTAL_PINNED_MEMORY - size)
    if int(torch.cuda.cudart().cudaHostUnregister(address)) != 0:
        host.discard_cuda_async_error()
        log.warning("%d MB of host memory could not be unlocked.", size >> 20)
