"""The fastest exact attention for a segment's tokens, of diffusers' backends and our own, found by trying them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..files import make_folder, replacing
from ..json_text import parse_json
from ..kernels import gluon_attention
from ..log import get_logger
from . import gluon

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

log = get_logger(__name__)

NATIVE = "native"
# Of AttentionBackendName; quantized ones (sage) are left to the user's choice.
EXACT = (NATIVE, "_native_cudnn", "_native_flash", "_flash_3", "flash", gluon.GLUON)
HEADS = 8  # tried: the others take as long
GAIN = 0.95  # of native's time at most, for another to be taken
ERROR = 0.02  # of native's largest value at most
FILE_BYTES = 1 << 20  # more is no file of ours


def choose_attention(
    transformer: WanAnimateTransformer3DModel,
    tokens: int,
    kept: Path | None = None,
    names: Sequence[str] = EXACT,
) -> str:
    """Sets the backend of all self-attentions; cross-attention is a small part of a step, and stays native.

    Args:
        tokens: of a segment.
        kept: a JSON file of earlier choices: a job that is resumed goes on with the kernel that it began with.
        names: to choose among; ``native`` is one.

    Returns:
        diffusers' name of the backend, or :data:`.gluon.GLUON`.
    """
    config = transformer.config
    heads, width = config.num_attention_heads, config.attention_head_dim
    device, dtype = transformer.device, transformer.dtype
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    of = f"{str(dtype).removeprefix('torch.')}, {tokens} x {heads} x {width}, of {len(names)} kernels"
    key = f"{card}, torch {torch.__version__}, {of}"
    choices = _read(kept)
    name: str = choices.get(key, "")
    if name not in names or (name != NATIVE and not _works(name, device, dtype, width)):
        began = time.perf_counter()
        took = measure(tokens, min(heads, HEADS), width, device, dtype, names)
        name = min(took, key=lambda one: took[one])
        if took[name] > GAIN * took[NATIVE]:
            name = NATIVE
        said = ", ".join(f"{one.lstrip('_')} {milliseconds:.1f}" for one, milliseconds in took.items())
        log.info(
            "Attention over %d tokens, ms for %d of %d heads: %s. Taken: %s (%.1f s).",
            tokens, min(heads, HEADS), heads, said, name.lstrip("_"), time.perf_counter() - began,
        )  # fmt: skip
        _write(kept, choices | {key: name})
    set_attention(transformer, name)
    return name


def set_attention(transformer: WanAnimateTransformer3DModel, name: str) -> None:
    """Sets the backend of all self-attentions."""
    if name == gluon.GLUON:
        gluon.register()
    for block in transformer.blocks:
        block.attn1.set_attention_backend(name)


def measure(
    tokens: int, heads: int, width: int, device: torch.device, dtype: torch.dtype, names: Sequence[str] = EXACT
) -> dict[str, float]:
    """Milliseconds by backend, of those that run here and agree with PyTorch's own choice."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (1, tokens, heads, width)
    query, key, value = (torch.randn(shape, generator=generator, device=device, dtype=dtype) for _ in range(3))
    took: dict[str, float] = {}
    expected: torch.Tensor | None = None
    for name in names:
        try:
            found = attend(query, key, value, name)
            if expected is None:
                expected = found
            elif not (found - expected).abs().max() <= ERROR * expected.abs().max():  # nor where it is not a number
                continue
            took[name] = min(_milliseconds(query, key, value, name) for _ in range(2))
        except Exception as error:  # a package or kernel that is not for this card says so in its own way
            if name == NATIVE:
                raise
            ours = name == gluon.GLUON and gluon_attention.missing(device) is None
            log.log(logging.INFO if ours else logging.DEBUG, "Attention backend %s is out: %s", name, error)
    return took


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, name: str) -> torch.Tensor:
    """Attention, ``[1, tokens, heads, width]``, by one of :data:`EXACT`. Raises what it does where it cannot."""
    if name == gluon.GLUON:
        gluon.register()
        return gluon.attend(query, key, value)
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
