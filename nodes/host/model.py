"""Loads Animate files through the host's own loader."""

from __future__ import annotations

from typing import Any

from ...wan_animate.errors import InputError
from ...wan_animate.log import get_logger
from ...wan_animate.weights.header import read_model_header
from ...wan_animate.weights.quantized import convert_weights, stored_formats
from ...wan_animate.weights.transformer import AnimateFile, is_linear, read_animate, transformer_shapes, unexpected_keys
from .loaded import now_loading, was_loaded
from .patching import cast_static_clones
from .vae import prepare_for

log = get_logger(__name__)

PRECISIONS = ("auto", "bf16", "fp16", "fp32", "fp8_e4m3fn", "fp8_e5m2")


def load_animate(path: str, precision: str = "auto", matmul: str = "auto") -> tuple[Any, AnimateFile]:
    """A MODEL from a safetensors file or any shard; with ``auto`` twice, Load Diffusion Model's bit for bit.

    Args:
        precision: dtype of unscaled weights; ``auto`` is the host's.
        matmul: ``fp8`` where the device can, ``full precision`` never, ``auto`` as the file says.

    Raises:
        InputError: not an Animate file, or incomplete; before weights are read.
    """
    file = read_animate(read_model_header(path))
    if file.quantization.layers and precision.startswith("fp8"):
        log.info("Load Animate Model: the file's weights are scaled already; precision %s is left out.", precision)
        precision = "auto"
    model = _load(path, precision, matmul)
    prepare_for(model)
    log.info("Load Animate Model: %s: %s; kept in %s", file.header.name, file.summary(), model.model_dtype())
    return model, file


def _load(path: str, precision: str, matmul: str, disable_dynamic: bool = False) -> Any:
    """Called again by the host for another device or loading mode."""
    import comfy.sd
    import torch

    file = read_animate(read_model_header(path))
    options: dict = {}
    if precision != "auto":
        options["dtype"] = {
            "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32,
            "fp8_e4m3fn": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2,
        }[precision]  # fmt: skip
    if matmul == "fp8" and not file.quantization.layers:
        options["fp8_optimizations"] = True
    files = now_loading(file.header.paths)
    weights, metadata = _read_weights(file, {"full precision": True, "fp8": False}.get(matmul))
    model = comfy.sd.load_diffusion_model_state_dict(
        weights, model_options=options, metadata=metadata, disable_dynamic=disable_dynamic
    )
    if model is None:
        raise InputError(
            f"{file.header.name} is a Wan 2.2 Animate model, but this ComfyUI does not take it: update ComfyUI."
        )
    was_loaded(model, files)
    model.cached_patcher_init = (_load, (path, precision, matmul))
    cast_static_clones(model)
    return model


def _read_weights(file: AnimateFile, full_precision: bool | None) -> tuple[dict, dict]:
    """(state dict, metadata); tensors memory-mapped where the host maps them."""
    import comfy.quant_ops
    import comfy.utils
    import torch

    weights: dict = {}
    for path in file.header.paths:
        weights |= comfy.utils.load_torch_file(path)
    extra = set(unexpected_keys(file))
    for name in list(weights):
        tensor = weights.pop(name)
        own = name.removeprefix(file.prefix)
        if name.startswith(file.prefix) and own not in extra:
            weights[own] = tensor
    if extra:
        log.info("Load Animate Model: %d tensors that the model has no place for: %s", len(extra), sorted(extra)[:5])
    linear = {name for name in transformer_shapes(file.dim, file.ffn, file.blocks) if is_linear(name)}
    weights = convert_weights(weights, file.quantization, linear, full_precision)
    unknown = stored_formats(weights) - comfy.quant_ops.QUANT_ALGOS.keys()
    if unknown:
        raise InputError(
            f"{file.header.name} is quantized as {', '.join(sorted(unknown))}, which this ComfyUI does not know: "
            "update ComfyUI, or choose an fp8 or bf16 form."
        )
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for name in file.blur_kernels:
        weights[name] = row[None, :] * row[:, None] / row.sum() ** 2
    metadata = {name: value for name, value in file.header.metadata.items() if name != "_quantization_metadata"}
    return weights, metadata
