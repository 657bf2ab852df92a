"""Weight files in the layouts that are published, made from the small transformer or with a header alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch

from wan_animate.weights.transformer import is_linear, transformer_shapes

BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1}


def write_header(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict | None = None) -> int:
    """A safetensors file of the right size whose data are holes in the file: takes no disk, whatever its size.

    Returns the file's size.
    """
    entries, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, (dtype, shape) in tensors.items():
        size = BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return 8 + len(text) + at


def animate_header(dtype: str = "BF16", dim: int = 256, ffn: int = 512, blocks: int = 5, scaled=None, prefix: str = ""):
    """Tensors of an Animate file for :func:`write_header`: ``scaled(name)`` says which weights are fp8 with a scale, as
    in the wrapper's repacks."""
    tensors = {}
    for name, shape in transformer_shapes(dim, ffn, blocks).items():
        fp8 = scaled is not None and scaled(name)
        tensors[prefix + name] = ("F8_E4M3" if fp8 else dtype, shape)
        if fp8:
            tensors[prefix + name.removesuffix(".weight") + ".scale_weight"] = ("F32", (1,))
    if scaled is not None:
        tensors[prefix + "scaled_fp8"] = ("F8_E4M3", (0,))
    return tensors


def in_blocks(name: str) -> bool:
    """What the first of the wrapper's scaled repacks has in fp8; the second has every linear layer."""
    return name.startswith("blocks.") and is_linear(name)


def scaled_weights(
    weights: dict[str, torch.Tensor],
    dtype: torch.dtype,
    which=in_blocks,
    names=(".scale_weight", "scaled_fp8"),
    rows=False,
) -> dict[str, torch.Tensor]:
    """The same weights with those that ``which`` names in fp8 and a scale beside them.

    Args:
        names: the scale's ending, and the marker tensor's name or "".
        rows: a scale for each row.
    """
    result = {names[1]: torch.zeros(0, dtype=dtype)} if names[1] else {}
    for name, weight in weights.items():
        if not which(name):
            result[name] = weight
            continue
        largest = weight.float().abs().amax(dim=tuple(range(1, weight.ndim)) if rows else None)
        scale = (largest / torch.finfo(dtype).max).clamp(min=1e-12)
        wide = scale.reshape(-1, *(1,) * (weight.ndim - 1)) if rows else scale
        result[name] = (weight.float() / wide).to(dtype)
        result[name.removesuffix(".weight") + names[0]] = scale if rows else scale.reshape(1)
    return result
