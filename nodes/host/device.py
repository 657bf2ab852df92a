"""The host's compute device."""

from __future__ import annotations

import comfy.model_management
import torch


def compute_device() -> torch.device:
    return comfy.model_management.get_torch_device()


def make_room(bytes_needed: int) -> None:
    """Has the host unload models until that much memory is free."""
    comfy.model_management.free_memory(bytes_needed, compute_device())


def release() -> None:
    comfy.model_management.soft_empty_cache()
