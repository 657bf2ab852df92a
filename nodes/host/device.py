"""The card the host computes on, lent to a model of ours that the host's memory management does not know."""

from __future__ import annotations

import comfy.model_management
import torch


def compute_device() -> torch.device:
    """The device that the host runs models on."""
    return comfy.model_management.get_torch_device()


def make_room(bytes_needed: int) -> None:
    """Have the host move models of its own off the card until so much is free."""
    comfy.model_management.free_memory(bytes_needed, compute_device())


def release() -> None:
    """Give freed memory back to the card."""
    comfy.model_management.soft_empty_cache()
