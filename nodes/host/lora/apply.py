"""LoRAs on a MODEL."""

from __future__ import annotations

import os
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.log import get_logger
from ....wan_animate.weights.lora import LoraFit, check_fit, fit_lora, in_blocks, parse_blocks
from ....wan_animate.weights.lora_file import read_lora
from ....wan_animate.weights.transformer import relighting_layers
from ..checks import check_model
from ..patching import model_type
from .branch import add_branches

log = get_logger(__name__)

PREFIX = "diffusion_model."
MODES = ("auto", "merge", "beside")


def apply_lora(
    model: Any,
    path: str,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    blocks: str = "",
    mode: str = "auto",
    relighting: bool = False,
) -> tuple[Any, str]:
    """(clone with a LoRA, report)

    ``merge`` is the host's way, and rounds quantized weights again; ``beside`` adds the LoRA's output to each layer's;
    ``auto`` merges into plain weights over the full range.

    Args:
        start, end: range of the sampling, 0..1.
        blocks: see :func:`parse_blocks`.
        mode: one of MODES.
        relighting: require all layers of upstream's relighting LoRA.

    Raises:
        InputError: not a LoRA for this model, or invalid blocks or range.
    """
    check_model(model)
    count = len(model.model.diffusion_model.blocks)
    wanted = parse_blocks(blocks, count)
    if not 0 <= start < end <= 1:
        raise InputError(
            f"the LoRA is on from start {start:g} to end {end:g}, which is no part of the sampling: choose a start "
            "below the end, both between 0 and 1."
        )
    name = os.path.basename(path)
    tensors = read_lora(path)
    fit = fit_lora({key: tuple(tensor.shape) for key, tensor in tensors.items()}, model_shapes(model))
    if relighting:
        check_fit(fit, name, relighting_layers(count), "the relighting LoRA")
    else:
        check_fit(fit, name)
    patches = _patches(model, fit, tensors, wanted)
    if not patches:
        raise InputError(f"{name} changes nothing in blocks {blocks}: leave blocks empty, or name others.")
    layers = {_layer(key) for key in patches}
    clone = model.clone()
    partly = start > 0 or end < 1
    unmerged = mode == "beside" or mode == "auto" and (partly or _quantized(model, patches))
    if partly and not unmerged:
        raise InputError("a merged LoRA is always on: choose auto or beside for a part of the sampling.")
    if strength == 0:
        how = "not applied, as the strength is 0"
    elif unmerged:
        merged = add_branches(clone, patches, strength, start, end, name)
        how = "beside the weights" + (f" ({len(merged)} tensors merged)" if merged else "")
    else:
        how = "merged into the weights" + _merge(clone, patches, strength, name)
    report = _report(name, fit, layers, strength, how, (start, end), blocks)
    (log.warning if fit.left_out() else log.info)("%s", report)
    return clone, report


def model_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Unpacked shapes of the transformer's tensors."""
    module = model.model.diffusion_model
    shapes = {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}
    for key, layer in module.named_modules():
        if hasattr(layer, "in_features") and hasattr(layer, "out_features"):
            shapes[f"{key}.weight"] = (layer.out_features, layer.in_features)
    return shapes


def _patches(model: Any, fit: LoraFit, tensors: dict[str, torch.Tensor], wanted: set[int] | None) -> dict[str, Any]:
    import comfy.lora

    own = model.model.state_dict()
    chosen = [layer for layer in fit.layers if in_blocks(layer, wanted)]
    keys = {
        PREFIX + layer: PREFIX + layer + (".weight" if f"{PREFIX}{layer}.weight" in own else "") for layer in chosen
    }
    renamed = {PREFIX + place: tensors[key] for key, place in fit.names.items()}
    return comfy.lora.load_lora(renamed, keys, log_missing=False)


def _merge(clone: Any, patches: dict[str, Any], strength: float, name: str) -> str:
    """Returns a remark. Tensors other than weight and bias, which the host ignores, stay unmerged."""
    lone = {key: patch for key, patch in patches.items() if not key.endswith((".weight", ".bias"))}
    weights = {key: patch for key, patch in patches.items() if key not in lone}
    taken = clone.add_patches(weights, strength)
    if len(taken) != len(weights):
        raise InputError(
            f"{name}: this MODEL took {len(taken)} of {len(weights)} tensors into its weights: choose beside."
        )
    if lone:
        add_branches(clone, lone, strength, 0, 1, name)
    return f" ({len(lone)} tensors beside them)" if lone else ""


def _quantized(model: Any, patches: dict[str, Any]) -> bool:
    plain = (torch.float32, torch.float16, torch.bfloat16)

    def is_plain(key: str) -> bool:
        path, _, name = key.rpartition(".")
        module = model.model.get_submodule(path)
        return type(getattr(module, name).data) is torch.Tensor and model_type(module, name) in plain

    return not all(map(is_plain, patches))


def _layer(key: str) -> str:
    return key.removeprefix(PREFIX).removesuffix(".weight").removesuffix(".bias")


def _report(
    name: str, fit: LoraFit, layers: set[str], strength: float, how: str, part: tuple[float, float], blocks: str
) -> str:
    rank = f", rank {fit.rank}" if fit.rank else ""
    text = f"{name}: {len(layers)} of {fit.layers_in_file} layers{rank}, strength {strength:g}, {how}"
    if part != (0, 1):
        text += f"; on from {part[0]:.0%} to {part[1]:.0%} of the sampling"
    if parse_blocks(blocks, 10**6) is not None:
        text += f"; blocks {blocks.strip()}"
    return text + (f". Left out: {fit.left_out()}." if fit.left_out() else ".")
