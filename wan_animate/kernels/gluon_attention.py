"""Exact attention for Hopper cards (H100, H200), in Triton's Gluon, which PyTorch brings on Linux.

The kernel is in :mod:`.gluon_attention_kernel`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch

TRITON = "3.6."  # Gluon is not stable between versions: the one that this was tested with
CAPABILITY = (9, 0)
WIDTH = 128  # of a head; the kernel's
DTYPES = (torch.float16, torch.bfloat16)
ALIGNMENT = 16  # bytes, of what TMA copies


@cache
def _kernel() -> ModuleType:
    import triton

    if not triton.__version__.startswith(TRITON):
        raise ImportError(f"Triton is {triton.__version__}, but {TRITON}x is needed")
    from . import gluon_attention_kernel

    return gluon_attention_kernel


def missing(device: torch.device) -> str | None:
    """Why the kernel cannot run on a device; None if it can."""
    if device.type != "cuda" or torch.version.hip is not None:
        return f"attention in Gluon needs a Hopper card (H100, H200), but the device is {device.type}"
    if torch.cuda.get_device_capability(device) != CAPABILITY:
        return f"attention in Gluon needs a Hopper card (H100, H200), but this is {torch.cuda.get_device_name(device)}"
    try:
        _kernel()
    except Exception as error:  # Triton or its Gluon is absent, or another version
        return f"attention in Gluon cannot be imported: {error}"
    return None


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention without a mask.

    Args:
        q: float16 or bfloat16 ``[batch, tokens, heads * 128]``.
        k, v: ``[batch, keys, heads * 128]``, of the same dtype and device; any strides.

    Returns:
        ``[batch, tokens, heads * 128]``

    Raises:
        ValueError: for other inputs.
    """
    check(q, k, v, heads)
    if (why := missing(q.device)) is not None:
        raise ValueError(why)
    kernel = _kernel()
    q, k, v = (aligned(part) for part in (q, k, v))
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    rows, keys = kernel.ROWS.value, kernel.KEYS.value
    grid = (math.ceil(q.shape[1] / (rows * kernel.GROUPS.value)), heads)
    with torch.cuda.device(q.device):
        for entry in range(q.shape[0]):
            sides = ((q, rows), (k, keys), (v, keys), (out, rows))
            descriptors = [descriptor(part[entry], tokens) for part, tokens in sides]
            kernel.attention[grid](*descriptors, k.shape[1], exponent_scale(), num_warps=4)
    return out


def check(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> None:
    """Raises ValueError for inputs that the kernel cannot do."""
    if any(part.ndim != 3 for part in (q, k, v)) or k.shape != v.shape or q.shape[::2] != k.shape[::2]:
        raise ValueError(f"q, k and v are {[list(part.shape) for part in (q, k, v)]}, not [batch, tokens, channels]")
    if q.shape[2] != heads * WIDTH:
        raise ValueError(f"heads are {q.shape[2] / heads:g} wide, but the kernel is for {WIDTH}")
    if q.dtype not in DTYPES or {k.dtype, v.dtype} != {q.dtype}:
        raise ValueError(f"q, k and v are {q.dtype}, {k.dtype} and {v.dtype}, not all float16 or all bfloat16")
    if {k.device, v.device} != {q.device}:
        raise ValueError(f"q, k and v are on {q.device}, {k.device} and {v.device}")
    if q.numel() == 0 or k.numel() == 0:
        raise ValueError(f"there are {q.shape[1]} queries and {k.shape[1]} keys, but one of each is needed")
    if torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v)):
        raise ValueError("the kernel computes no gradients")


def aligned(part: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy if TMA cannot read it."""
    steps = [stride * part.element_size() for stride in part.stride()[:-1]]
    addresses = (part.data_ptr(), *steps)
    if part.stride(-1) == 1 and all(step > 0 for step in steps) and not any(one % ALIGNMENT for one in addresses):
        return part
    return part.clone(memory_format=torch.contiguous_format)


def exponent_scale() -> float:
    """Of the products, which become exponents of 2."""
    return math.log2(math.e) / math.sqrt(WIDTH)


def descriptor(part: torch.Tensor, tokens: int) -> object:
    """Triton's TensorDescriptor of ``[tokens, channels]``, for tiles of ``tokens`` and one head."""
    from triton.experimental.gluon.language import NVMMASharedLayout
    from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

    layout = NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    return TensorDescriptor(part, list(part.shape), list(part.stride()), [tokens, WIDTH], layout)


def compilations(dtype: torch.dtype) -> list[Callable[[], object]]:
    """To compile the kernel ahead of its first launch."""
    kernel, some = _kernel(), torch.empty(1, WIDTH, dtype=dtype, device="meta")
    rows, keys = kernel.ROWS.value, kernel.KEYS.value
    descriptors = [descriptor(some, tokens) for tokens in (rows, keys, keys, rows)]
    return [lambda: kernel.attention.warmup(*descriptors, 1, exponent_scale(), num_warps=4, grid=(1, 1))]
