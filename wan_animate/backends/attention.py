"""The fastest of diffusers' exact attention backends for a segment's tokens, found by trying them."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..files import make_folder, replacing
from ..json_text import parse_json
from ..log import get_logger

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

log = get_logger(__name__)

NATIVE = "native"
# Of AttentionBackendName; quantized ones (sage) are left to the user's choice.
EXACT = (NATIVE, "_native_cudnn", "_native_flash", "_flash_3", "flash")
HEADS = 8  # tried: the others take as long
GAIN = 0.95  # of native's time at most, for another to be taken
ERROR = 0.02  # of native's largest value at most
FILE_BYTES = 1 << 20  # more is no file of ours


def choose_attention(transformer: WanAnimateTransformer3DModel, tokens: int, kept: Path | None = None) -> str:
    """Sets the backend of all self-attentions; cross-attention is a small part of a step, and stays native.

    Args:
        tokens: of a segment.
        kept: a JSON file of earlier choices: a job that is resumed goes on with the kernel that it began with.

    Returns:
        diffusers' name of the backend.
    """
    config = transformer.config
    heads, width = config.num_attention_heads, config.attention_head_dim
    device, dtype = transformer.device, transformer.dtype
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    key = f"{card}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}, {tokens} x {heads} x {width}"
    choices = _read(kept)
    name = choices.get(key)
    if name not in EXACT or (name != NATIVE and not _works(name, device, dtype, width)):
        began = time.perf_counter()
        took = measure(tokens, min(heads, HEADS), width, device, dtype)
        name = min(took, key=lambda one: took[one])
        if took[name] > GAIN * took[NATIVE]:
            name = NATIVE
        said = ", ".join(f"{one.lstrip('_')} {milliseconds:.1f}" for one, milliseconds in took.items())
        log.info(
            "Attention over %d tokens, ms for %d of %d heads: %s. Taken: %s (%.1f s).",
            tokens, min(heads, HEADS), heads, said, name.lstrip("_"), time.perf_counter() - began,
        )  # fmt: skip
        _write(kept, choices | {key: name})
    for block in transformer.blocks:
        block.attn1.set_attention_backend(name)
    return name


def measure(tokens: int, heads: int, width: int, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds by backend, of those that run here and agree with PyTorch's own choice."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (1, tokens, heads, width)
    query, key, value = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(3))
    took: dict[str, float] = {}
    expected: torch.Tensor | None = None
    for name in EXACT:
        try:
            found = attend(query, key, value, name)
            if expected is None:
                expected = found
            elif (found - expected).abs().max() > ERROR * expected.abs().max():
                continue
            took[name] = min(_milliseconds(query, key, value, name) for _ in range(2))
        except Exception as error:  # a package or kernel that is not for this card says so in its own way
            if name == NATIVE:
                raise
            log.debug("Attention backend %s: %s", name, error)
    return took


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, name: str) -> torch.Tensor:
    """Attention, ``[1, tokens, heads, width]``, by a backend of diffusers."""
    from diffusers.models.attention_dispatch import (
        AttentionBackendName,
        _check_attention_backend_requirements,
        dispatch_attention_fn,
    )

    backend = AttentionBackendName(name)
    _check_attention_backend_requirements(backend)
    return dispatch_attention_fn(query, key, value, backend=backend)


def _works(name: str, device: torch.device, dtype: torch.dtype, width: int) -> bool:
    some = torch.zeros(1, 64, 2, width, device=device, dtype=dtype)
    try:
        attend(some, some, some, name)
    except Exception:
        return False
    return True


def _milliseconds(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, name: str) -> float:
    def wait() -> None:
        if query.is_cuda:
            torch.cuda.synchronize(query.device)

    wait()
    began = time.perf_counter()
    attend(query, key, value, name)
    wait()
    return (time.perf_counter() - began) * 1e3


def _read(kept: Path | None) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        if kept is not None and kept.stat().st_size <= FILE_BYTES:
            found = parse_json(kept.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}


def _write(kept: Path | None, choices: dict[str, Any]) -> None:
    if kept is None:
        return
    try:
        make_folder(kept.parent, "the choice of attention")
        with replacing(kept, "the choice of attention") as path:
            Path(path).write_text(json.dumps(choices, indent=1), encoding="utf-8")
    except InputError as error:  # the next run tries again
        log.warning("%s", error)
