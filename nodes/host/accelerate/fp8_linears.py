"""The blocks' large linear layers in fp8, scaled per token and per weight row.

Weights are quantized on use, so merged, hooked and offloaded weights are current. Only a layer's own ``forward`` is
replaced, not wrappers around it (unmerged LoRAs).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ....wan_animate.kernels import fp8
from ....wan_animate.kernels.fp8 import multiply, refusal
from ....wan_animate.kernels.fused import E4M3, Quantized, quantize
from ....wan_animate.log import get_logger
from ....wan_animate.swapped import swapped
from ..patching import model_type

AS_LOADED, ROW_WISE = "as loaded", "fp8 (row-wise)"
CHOICES = (AS_LOADED, ROW_WISE)
# The error is measured in the first forward: of the layers in every fifth block, in some tokens and output channels.
MEASURED, SAMPLED, OUTPUTS = 5, 64, 512
FP8_LAYOUTS = ("TensorCoreFP8Layout", "TensorCoreFP8E4M3Layout", "TensorCoreFP8E5M2Layout")
HOST_OPS = "comfy.ops"  # layers of other packs (GGUF, ...) unpack their weights themselves

log = get_logger(__name__)


def block_linears(module: Any) -> Iterator[tuple[int, str, Any]]:
    """(block index, name, layer)"""
    for index, block in enumerate(module.blocks):
        if hasattr(block, "_orig_mod"):
            continue  # compiled: another forward would compile every block again
        for part, names in (("self_attn", "qkvo"), ("cross_attn", "qo"), ("ffn", "02")):
            for name in names:
                layer = getattr(getattr(block, part, None), name, None)
                if layer is not None:
                    yield index, f"blocks.{index}.{part}.{name}", layer
    for index, block in enumerate(module.face_adapter.fuser_blocks):
        for name in ("linear1_q", "linear2"):
            yield index, f"face_adapter.fuser_blocks.{index}.{name}", getattr(block, name)


class Fp8Linears:
    """The fp8 linear layers of one MODEL.

    Attributes:
        errors: relative L2 error of outputs in the first forward.
        skipped: why a layer stays as loaded.
    """

    def __init__(self) -> None:
        self.errors: dict[str, float] = {}
        self.skipped: dict[str, str] = {}
        self._layers: dict[str, RowWiseLinear] = {}
        self._reported = False
        self._logged: object = None

    @contextmanager
    def installed(self, module: torch.nn.Module, device: torch.device) -> Iterator[None]:
        reason = refusal(device)
        if reason is not None:
            self._log(("refused", reason), "linear layers stay as loaded: %s", reason)
            yield
            return
        replaced, hidden = 0, []
        measured: dict[str, list] = {}
        try:
            with ExitStack() as stack:
                for index, name, layer in block_linears(module):
                    linear = self._layers.get(name)
                    if linear is None or linear.layer is not layer:
                        linear = self._layers[name] = RowWiseLinear(name, layer, self.skipped)
                    if not self._reported and index % MEASURED == MEASURED // 2:
                        linear.error = measured[name] = []
                    if not linear.supported():
                        continue
                    place = innermost(layer)
                    if place is None:
                        hidden.append(name)
                    else:
                        stack.enter_context(swapped(*place, linear))
                        replaced += 1
                yield
        finally:
            for name in measured:
                self._layers[name].error = None
        if not self._reported:
            self._report(replaced, measured, hidden)

    def _report(self, count: int, measured: dict[str, list], hidden: list[str]) -> None:
        self._reported = True
        self.errors = fp8.mean_errors(measured)
        if self.errors:
            self._log("measured", "%s", fp8.said(count, self.errors))
        skipped = self.skipped | dict.fromkeys(hidden, "another pack replaced its forward and hides the layer's own")
        if skipped:
            name, reason = next(iter(skipped.items()))
            log.info("%d layers are multiplied as loaded, for instance %s: %s", len(skipped), name, reason)

    def _log(self, what: object, sentence: str, *values: object) -> None:
        if self._logged != what:
            self._logged = what
            log.info(f"{sentence}.", *values)


class RowWiseLinear:
    """A linear layer's ``forward`` for plain or quantized input."""

    def __init__(self, name: str, layer: Any, skipped: dict[str, str]) -> None:
        self.name, self.layer, self.skipped = name, layer, skipped
        self.error: list | None = None

    def supported(self) -> bool:
        if self.name not in self.skipped:
            reason = unfit(self.layer)
            if reason is None:
                return True
            self.skipped[self.name] = reason
        return False

    def __call__(self, x: torch.Tensor | Quantized, *args: Any, **kwargs: Any) -> torch.Tensor:
        import comfy.ops

        comfy.ops.run_every_op()
        compiling = torch.compiler.is_compiling()
        quantized = x if isinstance(x, Quantized) else quantize(x)
        if compiling and is_resident(self.layer, quantized.values.device):
            return multiply(quantized, *as_rows(self.layer.weight), self.layer.bias)
        patched = (
            len(self.layer.weight_function) > 0 or getattr(self.layer, "weight_lowvram_function", None) is not None
        )
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self.layer,
            dtype=quantized.dtype if patched else model_type(self.layer, "weight"),
            device=quantized.values.device,
            bias_dtype=quantized.dtype,
            offloadable=True,
            compute_dtype=quantized.dtype,
        )
        try:
            out = multiply(quantized, *as_rows(weight), bias)
            if not compiling and self.error is not None:
                self.error.append(_error(x, weight, bias, out))
            return out
        except Exception as error:
            import comfy.model_management

            if compiling or isinstance(error, comfy.model_management.OOM_EXCEPTION):
                raise
            self.skipped[self.name] = " ".join(str(error).split())
            log.warning("%s cannot be multiplied in fp8, it is as loaded: %s", self.name, error)
        finally:
            comfy.ops.uncast_bias_weight(self.layer, weight, bias, stream)
        return type(self.layer).forward(self.layer, quantized.dequantize() if isinstance(x, Quantized) else x)


def takes_quantized(*layers: torch.nn.Module) -> bool:
    return all(
        isinstance(linear := vars(layer).get("forward"), RowWiseLinear)
        and linear.error is None
        and linear.name not in linear.skipped
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


def is_measured(layer: torch.nn.Module) -> bool:
    linear = vars(layer).get("forward")
    return isinstance(linear, RowWiseLinear) and linear.error is not None


def innermost(layer: torch.nn.Module) -> tuple[Any, str] | None:
    """(owner, attribute) holding the layer's own ``forward`` behind any wrappers; None if hidden."""
    owner: Any = layer
    name = "forward"
    while True:
        found = vars(owner).get(name)
        if found is None or found == type(layer).forward.__get__(layer):
            return (owner, name) if owner is layer or found is not None else None
        owner = getattr(found, "__self__", found)
        if owner is layer:
            return None
        inner = next((one for one in ("forward", "original_forward") if one in vars(owner)), None)
        if inner is None:
            return None
        name = inner


def unfit(layer: Any) -> str | None:
    """Why it cannot run in fp8, or None."""
    if type(layer).__module__ != HOST_OPS or not hasattr(layer, "weight_function"):
        return f"a layer of {type(layer).__module__}, which unpacks its weights itself"
    if getattr(layer, "pre_quant_scale", None) is not None:
        return "its input is scaled by channel"
    if layer.in_features % 16 or layer.out_features % 16:
        return "its size is no multiple of 16"
    weight = layer.weight
    layout = getattr(weight, "_layout_cls", None)
    if layout is not None:
        return None if layout in FP8_LAYOUTS else f"quantized as {layout}, which multiplies in its own way"
    return None if weight.is_floating_point() else f"stored as {weight.dtype}"


def as_rows(weight: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(e4m3 [out, in], float32 scales [out, 1]) of a layer's weights."""
    if not hasattr(weight, "_layout_cls"):
        return fp8.as_rows(weight)
    if weight._qdata.dtype == E4M3:
        return fp8.as_rows(weight._qdata, weight._params.scale.float())
    found = quantize(weight.dequantize())
    return found.values, found.scales


def is_resident(layer: Any, device: torch.device) -> bool:
    """Whether compiled code can read the layer's weights directly."""
    return not (hasattr(layer, "_v") or layer.weight_function or layer.bias_function) and layer.weight.device == device


def _error(x: torch.Tensor | Quantized, weight: Any, bias: torch.Tensor | None, out: torch.Tensor) -> torch.Tensor:
    """Relative L2 error of some tokens and outputs, left on the device."""
    theirs = out.reshape(-1, out.shape[-1])  # [tokens, out_features]
    step = max(len(theirs) // SAMPLED, 1)
    if isinstance(x, Quantized):
        x = Quantized(x.values.reshape(len(theirs), -1)[::step], x.scales[::step], x.dtype).dequantize()
    else:
        x = x.reshape(len(theirs), -1)[::step]
    every = max(theirs.shape[-1] // OUTPUTS, 1)  # all weights in float32 would raise the peak
    if hasattr(weight, "_layout_cls"):  # one scale, or one per row
        rows = weight._qdata[::every].float() * weight._params.scale.float().reshape(-1, 1)[::every]
    else:
        rows = weight[::every].float()
    exact = torch.nn.functional.linear(x.float(), rows, None if bias is None else bias[::every].float())
    return (theirs[::step, ::every].float() - exact).norm() / exact.norm().clamp(min=1e-12)
