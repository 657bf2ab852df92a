""":mod:`..kernels.gluon_attention` among diffusers' attention backends, for Hopper cards (H100, H200)."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from ..kernels import gluon_attention
from ..log import get_logger

log = get_logger(__name__)

GLUON = "gluon"  # as ``set_attention_backend`` takes it
_failed: set[str] = set()  # devices on which it did not work


@cache
def register() -> None:
    """Enters it in diffusers' registry, whose names are members of an Enum.

    Raises:
        Exception: this diffusers has no such registry, or another backend of that name.
    """
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    names: Any = AttentionBackendName
    if GLUON in names._value2member_map_:
        raise ValueError(f"diffusers has an attention backend named {GLUON} of its own")
    member = str.__new__(names, GLUON)
    member._name_, member._value_ = GLUON.upper(), GLUON
    _AttentionBackendRegistry.register(member)(attention)
    names._member_map_[member._name_] = names._value2member_map_[GLUON] = member


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention by the kernel, ``[batch, tokens, heads, 128]``. Raises what the kernel does."""
    heads = query.shape[2]
    out = gluon_attention.attend(query.flatten(2), key.flatten(2), value.flatten(2), heads)
    return out.unflatten(2, (heads, -1))


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    _parallel_config: Any = None,
) -> torch.Tensor:
    """As diffusers' backends. What the kernel is not for is PyTorch's; after a failure all is, with a warning."""
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    device = str(query.device)
    unusual = attn_mask is not None or dropout_p or is_causal or scale is not None or enable_gqa or _parallel_config
    if not unusual and device not in _failed and not torch.compiler.is_compiling():
        try:
            return attend(query, key, value)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            _failed.add(device)
            log.warning("The attention kernel %s does not work here, PyTorch's is taken: %s", GLUON, error)
    return dispatch_attention_fn(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa,
        backend=AttentionBackendName.NATIVE, parallel_config=_parallel_config,
    )  # fmt: skip
