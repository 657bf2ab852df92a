"""Scaled (fp8 and other quantized) weights in the layout that ComfyUI 0.33 loads.

Published layouts:

- ComfyUI's: a tensor ``<layer>.comfy_quant`` (JSON as bytes) per quantized weight, or ``_quantization_metadata`` in the
  metadata (``comfy/utils.py: convert_old_quants``);
- older ComfyUI and the wrapper's: ``<layer>.scale_weight`` and a tensor ``scaled_fp8`` of dtype e4m3 or e5m2, of two
  elements for full precision. ComfyUI reads e5m2 as e4m3, which overflows;
- scales alone (``.scale_weight`` or ``.weight_scale``), which ComfyUI ignores.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..schema import Schema, read_json
from .header import TensorInfo

if TYPE_CHECKING:
    import torch

MOST_MARK = 64 << 10  # bytes of one layer's mark
MARKER = "scaled_fp8"
CONFIG = ".comfy_quant"
METADATA = "_quantization_metadata"
OLD_NAMES = {".scale_weight": ".weight_scale", ".scale_input": ".input_scale"}
EXTRAS = (
    CONFIG, *OLD_NAMES, *OLD_NAMES.values(),
    ".weight_scale_2", ".pre_quant_scale", ".weight_s_rel", ".weight_s_channel", ".weight_codebook",
)  # fmt: skip
FP8 = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
# formats with one stored element a weight; others pack several
WHOLE = {"float8_e4m3fn", "float8_e5m2", "mxfp8", "int8_tensorwise"}
NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8 e4m3", "F8_E5M2": "fp8 e5m2"}


class _Layers(Schema):
    layers: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Quantization:
    form: str = "none"  # or "marked" (comfy_quant tensors), "metadata", "scales" (to be converted)
    layers: dict[str, dict] = field(default_factory=dict)  # -> ComfyUI's {"format": ...}; empty for "marked"
    packed: bool = False  # stored shapes may differ from the weights' own
    rows: frozenset[str] = frozenset()  # layers with a scale for each row; ComfyUI takes only a single scale

    @property
    def formats(self) -> dict[str, int]:
        """Layers per format, most frequent first."""
        return dict(Counter(config["format"] for config in self.layers.values() if "format" in config).most_common())

    def summary(self, precision: str) -> str:
        name = NAMES.get(precision, precision)
        if not self.layers:
            return name
        kinds = " and ".join(self.formats) or "ComfyUI's quantized layout"
        return f"{name}, {len(self.layers)} scaled layers ({kinds})"


def find_quantization(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], prefix: str = "") -> Quantization:
    """How the weights are scaled.

    Args:
        tensors: names without the model's ``prefix``, which the metadata have.

    Raises:
        InputError: unreadable metadata, or a scaled layer of unsupported dtype.
    """
    marked = [name.removesuffix(CONFIG) for name in tensors if name.endswith(CONFIG)]
    if marked:
        return Quantization("marked", {layer: {} for layer in marked}, packed=True)
    if METADATA in metadata:
        said = read_json(metadata[METADATA], _Layers, "the file's quantization metadata", "download it again")
        layers = {layer.removeprefix(prefix): config for layer, config in said.layers.items()}
        for layer, config in layers.items():
            if not isinstance(config.get("format"), str):
                raise InputError(
                    f"the file's quantization metadata gives {layer} the format {json.dumps(config.get('format'))[:60]}"
                    ", which is no name of one: download it again."
                )
        return Quantization("metadata", layers, any(config.get("format") not in WHOLE for config in layers.values()))
    ends = (".scale_weight", ".weight_scale")
    scaled = [name.removesuffix(end) for name in tensors for end in ends if name.endswith(end)]
    if not scaled:
        return Quantization()
    full = MARKER in tensors and tensors[MARKER].shape == (2,)
    layers, rows = {}, set()
    for layer in scaled:
        weight = tensors.get(f"{layer}.weight")
        scale = tensors.get(f"{layer}.scale_weight") or tensors[f"{layer}.weight_scale"]
        stored = weight.dtype if weight is not None else "nothing"
        if weight is None or stored not in FP8:
            raise InputError(
                f"the file scales {layer}, but stores it as {stored} without saying how it is packed: choose an fp8, "
                "bf16 or GGUF form of the model."
            )
        if weight.shape and math.prod(scale.shape) == weight.shape[0]:
            rows.add(layer)
        elif math.prod(scale.shape) != 1:
            raise InputError(
                f"the file scales {layer} in blocks (a scale of {list(scale.shape)}), which ComfyUI does not read "
                "without its own marks: choose an fp8, bf16 or GGUF form of the model."
            )
        layers[layer] = {"format": FP8[stored]} | ({"full_precision_matrix_mult": True} if full else {})
    return Quantization("scales", layers, rows=frozenset(rows))


def is_extra(name: str, weights: Collection[str]) -> bool:
    """Whether a tensor is a scale or marker of ``weights``."""
    layer = next((name.removesuffix(end) for end in EXTRAS if name.endswith(end)), None)
    return name == MARKER or layer is not None and f"{layer}.weight" in weights


def convert_weights(
    tensors: dict[str, torch.Tensor],
    quantization: Quantization,
    linear: Collection[str],
    full_precision: bool | None = None,
) -> dict[str, torch.Tensor]:
    """ComfyUI's layout; layers that are not ``linear`` or are scaled per row become bfloat16.

    Args:
        tensors: names without the model's prefix; emptied on the way to save memory.
        full_precision: dequantize before matrix multiplications; None: as the file says.
    """
    import torch

    result: dict[str, torch.Tensor] = {}
    dequantized = {layer for layer in quantization.layers if f"{layer}.weight" not in linear} | quantization.rows
    for name in list(tensors):
        tensor = tensors.pop(name)
        ending = next((end for end in OLD_NAMES if name.endswith(end)), "")
        if name == MARKER or ending == ".scale_input" and bool((tensor == 1).all()):
            continue
        result[name.removesuffix(ending) + OLD_NAMES.get(ending, "")] = tensor
    for layer in dequantized:
        if quantization.form == "marked" or f"{layer}.weight_scale" not in result:
            continue  # a layer that ComfyUI has and this pack does not know
        scale = result.pop(f"{layer}.weight_scale").float()
        result.pop(f"{layer}.input_scale", None)
        weight = result[f"{layer}.weight"].float()
        scale = scale.reshape(-1, *(1,) * (weight.ndim - 1)) if scale.numel() > 1 else scale.reshape(())
        result[f"{layer}.weight"] = (weight * scale).to(torch.bfloat16)
    for layer, config in quantization.layers.items():
        if layer in dequantized and quantization.form != "marked" and f"{layer}.weight_scale" not in result:
            continue
        key = layer + CONFIG
        config = _marked(key, result[key]) if key in result else dict(config)
        if full_precision is not None:
            config.pop("full_precision_matrix_mult", None)
            config |= {"full_precision_matrix_mult": True} if full_precision else {}
        result[key] = torch.tensor(list(json.dumps(config).encode()), dtype=torch.uint8)
    return result


def stored_formats(tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """The formats in ``comfy_quant`` tensors. Raises InputError if unreadable."""
    return {str(_marked(name, tensor).get("format")) for name, tensor in tensors.items() if name.endswith(CONFIG)}


def _marked(name: str, tensor: torch.Tensor) -> dict:
    what, remedy = f"the file's tensor {name}", "download it again"
    if str(tensor.dtype) != "torch.uint8" or tensor.numel() > MOST_MARK:
        raise InputError(f"{what} is {tensor.numel():,} x {tensor.dtype}, where a text in bytes is needed: {remedy}.")
    return read_json(bytes(tensor.flatten().tolist()), dict[str, Any], what, remedy)
