"""Where a transformer's weights lie: on the card, or each block copied there ahead of its use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..log import get_logger

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

log = get_logger(__name__)


def place(transformer: WanAnimateTransformer3DModel, device: str, needed: float, offload: str = "auto") -> bool:
    """Moves it to a device; True where its blocks stay in host memory, by diffusers' group offloading.

    Args:
        needed: bytes of the device that a step takes beside the weights.
        offload: ``"auto"`` keeps blocks in host memory where the weights and ``needed`` are more than the card has
            free; ``"on"``, ``"off"``.
    """
    target, card = torch.device(device), torch.device(device).type == "cuda"
    if offload == "auto":
        offloaded = card and weight_bytes(transformer) + needed > torch.cuda.mem_get_info(target)[0]
    else:
        offloaded = offload == "on"
    if not offloaded:
        transformer.to(target)
        return False
    if offload == "auto":
        log.info("The weights and a step are more than the card has free: blocks stay in host memory.")
    transformer.enable_group_offload(
        onload_device=target,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        use_stream=card,
        non_blocking=card,
    )
    return True


def weight_bytes(module: torch.nn.Module) -> int:
    return sum(one.numel() * one.element_size() for one in (*module.parameters(), *module.buffers()))
