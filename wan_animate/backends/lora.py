"""A LoRA on diffusers' transformer, unmerged as upstream runs it: no weight changes, so none is rounded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import InputError
from ..weights.lora import DOWN, TO_DIFFUSERS, UP, check_fit, fit_lora
from ..weights.lora_file import read_lora


def upstream_names(layers: Iterable[str]) -> dict[str, str]:
    """Upstream's name of each of diffusers' layers, and of single tensors -> diffusers'."""
    names = {}
    for layer in layers:
        name = layer
        for ours, theirs in TO_DIFFUSERS:
            if name == theirs or name.endswith("." + theirs):
                name = name.removesuffix(theirs) + ours
                break
        names[name] = layer
    return names


def add_lora(transformer: torch.nn.Module, path: str | os.PathLike, strength: float = 1.0) -> int:
    """Adds ``strength * up(down(x)) * alpha / rank`` to the layers that the file has; returns their number.

    Raises:
        InputError: no LoRA, one for another model, or of another kind than low-rank pairs.
    """
    tensors, file = read_lora(os.fspath(path)), os.path.basename(path)
    layers = {name: module for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    names = upstream_names(layers)
    shapes = {f"{ours}.weight": tuple(layers[theirs].weight.shape) for ours, theirs in names.items()}
    shapes |= {f"{o}.bias": tuple(layers[t].bias.shape) for o, t in names.items() if layers[t].bias is not None}
    fit = fit_lora({name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes)
    check_fit(fit, file)
    found: dict[str, dict[str, torch.Tensor]] = {layer: {} for layer in fit.layers}
    for name, place in fit.names.items():
        layer = next(layer for layer in (place[: at + 1] for at in _ends(place)) if layer in found)
        found[layer][place.removeprefix(layer)] = tensors[name]
    other = sorted({ending for parts in found.values() for ending in parts} - {DOWN, UP, ".alpha"})
    if other or fit.misfits or fit.unknown:
        left = ", ".join(other) or fit.left_out()
        raise InputError(f"{file} has {left}, and the shell applies low-rank pairs alone: apply it in ComfyUI.")
    device = getattr(transformer, "device", None)  # where blocks are computed, also of those kept in host memory
    for layer, parts in found.items():
        module, rank = layers[names[layer]], parts[DOWN].shape[0]
        scale = strength * (float(parts[".alpha"]) / rank if ".alpha" in parts else 1.0)
        # a layer in fp8 has its weights in another than its inputs
        dtype = getattr(module, "dtype", module.weight.dtype)
        down, up = (parts[ending].to(device, dtype) for ending in (DOWN, UP))
        module.register_forward_hook(_adding(down, up, scale))
    return len(found)


def _ends(place: str) -> Iterable[int]:
    """Last characters of what may be the layer in ``<layer><ending>``, the longest first."""
    return [at - 1 for at in range(len(place) - 1, 0, -1) if place[at] == "."]


def _adding(down: torch.Tensor, up: torch.Tensor, scale: float) -> Any:
    def hook(module: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor:
        return made + F.linear(F.linear(given[0], down), up) * scale

    return hook
