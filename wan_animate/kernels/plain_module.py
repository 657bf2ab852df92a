"""Modules whose work a kernel may do in their place."""

from __future__ import annotations

import torch


@torch.compiler.disable  # ComfyUI may compile the whole model
def is_plain(module: torch.nn.Module) -> bool:
    """Whether it has no hook, and its own ``forward`` and weight."""
    own = vars(module)
    if module._forward_hooks or module._forward_pre_hooks or not own.keys().isdisjoint(module._parameters):
        return False
    forward = own.get("forward")
    return forward is None or getattr(forward, "__func__", None) is type(module).forward
