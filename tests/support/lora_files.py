"""LoRAs for the small transformer in every spelling that is published."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from wan_animate.weights.lora import TO_DIFFUSERS
from wan_animate.weights.transformer import relighting_layers, transformer_shapes

BLOCKS = 5
SHAPES = transformer_shapes(256, 512, BLOCKS)


def pairs(
    layers: Iterable[str] = relighting_layers(BLOCKS), rank: int = 4, size: float = 0.3, seed: int = 0
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> (down, up), random; ``size`` is about the norm of the product against that of a random weight."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for layer in layers:
        out, into = SHAPES[f"{layer}.weight"][0], math.prod(SHAPES[f"{layer}.weight"][1:])
        down = torch.randn(rank, into, generator=generator) / math.sqrt(into)
        result[layer] = down, torch.randn(out, rank, generator=generator) * size / math.sqrt(rank)
    return result


def diffusers_name(layer: str) -> str:
    for ours, theirs in TO_DIFFUSERS:
        if layer == ours or layer.endswith("." + ours):
            return layer.removesuffix(ours) + theirs
    return layer


def spelled(layers: dict, spelling: str, alpha: float | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a LoRA file.

    Args:
        layers: from :func:`pairs`.
        spelling: a key of SPELLINGS.
        alpha: written beside each pair; None leaves it out.
    """
    prefix, rename, down_name, up_name = SPELLINGS[spelling]
    result = {}
    for layer, (down, up) in layers.items():
        path = prefix + rename(layer)
        result[path + down_name], result[path + up_name] = down, up
        if alpha is not None:
            result[f"{path}.alpha"] = torch.tensor(alpha)
    return result


def _flat(layer: str) -> str:
    return layer.replace(".", "_")


SPELLINGS = {
    "peft": ("", str, ".lora_A.weight", ".lora_B.weight"),
    "peft wrapped": ("base_model.model.", str, ".lora_A.weight", ".lora_B.weight"),
    "peft default": ("", str, ".lora_A.default.weight", ".lora_B.default.weight"),
    "ComfyUI": ("diffusion_model.", str, ".lora_down.weight", ".lora_up.weight"),
    "ComfyUI A B": ("diffusion_model.", str, ".lora_A.weight", ".lora_B.weight"),
    "kohya": ("lora_unet_", _flat, ".lora_down.weight", ".lora_up.weight"),
    "Wan Fun": ("lora_unet__", _flat, ".lora_down.weight", ".lora_up.weight"),
    "DiffSynth": ("pipe.dit.", str, ".lora_A.default.weight", ".lora_B.default.weight"),
    "diffusers": ("transformer.", diffusers_name, ".lora_A.weight", ".lora_B.weight"),
    "LyCORIS": ("lycoris_", lambda layer: _flat(diffusers_name(layer)), ".lora_down.weight", ".lora_up.weight"),
}


def merged(weights: dict[str, torch.Tensor], layers: dict, strength: float = 1.0, alpha: float | None = None) -> dict:
    """The same LoRA added to the weights by hand, in float32."""
    result = dict(weights)
    for layer, (down, up) in layers.items():
        scale = strength * (1.0 if alpha is None else alpha / down.shape[0])
        key = f"{layer}.weight"
        result[key] = weights[key].float() + scale * (up @ down).reshape(weights[key].shape)
    return result
