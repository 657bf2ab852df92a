"""The host's compute device."""

from __future__ import annotations

import comfy.model_management
import torch

from ...wan_animate.parallel import roomiest
from ...wan_animate.plan import cards


def compute_device() -> torch.device:
    return comfy.model_management.get_torch_device()


def device_here() -> cards.Device:
    """The compute device by name and memory."""
    return cards.device_here(compute_device())


def card_with_room(work: str, needed: int = 0) -> torch.device:
    """The compute device, or another of its model with more free memory (:func:`.roomiest.choose_card`)."""
    own = compute_device()
    if own.type != "cuda":
        return own
    management = comfy.model_management
    cards = management.get_all_torch_devices()
    return roomiest.choose_card(cards, own, work, management.get_free_memory, torch.cuda.get_device_name, needed)


def make_room(bytes_needed: int, device: torch.device | None = None) -> None:
    """Has the host unload models until that much memory is free on a device; None: the compute device."""
    comfy.model_management.free_memory(bytes_needed, compute_device() if device is None else device)


def release() -> None:
    comfy.model_management.soft_empty_cache()
