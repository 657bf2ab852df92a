"""Weights of one module as one plain of host memory, locked for copying beside computing.

A locked ("pinned") page is what a card can read by itself while it computes. Locking is slow, so a block is moved into
one mapping of its own once, the mapping is registered with CUDA, and the block's tensors are from then on views of it:
no second copy stays. What is registered is found again from the tensors themselves, so whoever holds the same model
later finds it locked already; when its last tensor goes (the model is dropped, or another node moves the block to the
card), the registration goes with it.
"""

from __future__ import annotations

import logging
import math
import mmap
import time
import weakref

import torch

ALIGN = 1024

log = logging.getLogger(__name__)


class PinnedMemory:
    """What is registered now, and how long moving and registering took over the life of the process."""

    size = 0
    count = 0
    moving = 0.0
    seconds = 0.0


class _Region(mmap.mmap):
    """Memory whose end can be heard of."""


# by the address of the mapping; an entry goes when the last tensor in it does
_regions: weakref.WeakValueDictionary[int, _Region] = weakref.WeakValueDictionary()


def plain_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that a (possibly quantized) tensor is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [getattr(tensor, name) for name in names]


def rebuild(like: torch.Tensor, parts: list[torch.Tensor]) -> torch.Tensor:
    """A tensor of the same kind as ``like`` made of other pieces."""
    if not hasattr(like, "__tensor_flatten__"):
        return torch.nn.Parameter(parts[0], requires_grad=False) if isinstance(like, torch.nn.Parameter) else parts[0]
    names, context = like.__tensor_flatten__()
    made = type(like).__tensor_unflatten__(dict(zip(names, parts)), context, like.size(), like.stride())
    made._is_param = True  # torch.nn.Parameter(made) would copy the scale before it has arrived
    return made


def layout(tensors: list[torch.Tensor]) -> tuple[list[int], int]:
    """(offset of each plain of each tensor, size of all) in bytes."""
    offsets, size = [], 0
    for tensor in tensors:
        for plain in plain_tensors(tensor):
            offsets.append(size)
            size += math.ceil(plain.numel() * plain.element_size() / ALIGN) * ALIGN
    return offsets, size


def views(tensors: list[torch.Tensor], flat: torch.Tensor) -> list[torch.Tensor]:
    """Tensors like ``tensors`` in the memory of ``flat`` (uint8), laid out as :func:`layout` says."""
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
    """The mapping that the largest of ``tensors`` (and so every one that is still as it was packed) lies in, as bytes;
    or None."""
    largest = max((plain for tensor in tensors for plain in plain_tensors(tensor)), key=lambda one: one.nbytes)
    storage = largest.untyped_storage()
    if storage.device.type != "cpu" or storage.data_ptr() not in _regions:
        return None
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def pack(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copies of ``tensors`` that lie in one mapping, not yet registered.

    Raises:
        OSError, MemoryError: there is no room for one more block.
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
    """Lock a mapping for the card. False where that is refused: copies from it then wait for their turn.

    The host counts such memory and gives up its own for it where the sum would be too much.
    """
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
        log.warning("WanAnimateKit: %d MB of host memory could not be unlocked.", size >> 20)
