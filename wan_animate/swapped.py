"""Attributes of shared objects in place of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def swapped(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Sets an instance attribute; afterwards the owner has its own again, or none."""
    had_own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if had_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@torch.compiler.disable  # ComfyUI may compile the whole model
def is_plain(module: torch.nn.Module) -> bool:
    """Whether it has no hook, and its own ``forward`` and weight."""
    own = vars(module)
    if module._forward_hooks or module._forward_pre_hooks or not own.keys().isdisjoint(module._parameters):
        return False
    forward = own.get("forward")
    return forward is None or getattr(forward, "__func__", None) is type(module).forward
