"""The large products of the transformer blocks in fp8, with a scale for every token and every row of the weights.

Nothing is kept: a layer's weights are brought to fp8 when they are used, in one pass over them, which is a hundredth of
the product's own time and lets go of its memory at once. So a LoRA merged into the weights, one that comes on in the
middle of a run, and weights that are streamed in from host memory are all taken as they are at that moment. Weights
that a file has in fp8 already are multiplied as they are, with their own scale.

For the length of one forward a layer's own ``forward`` is ours; a LoRA beside the weights stands in front of it and is
left there.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache

import torch

from ....wan_animate.log import get_logger
from ..kernels.fused import E4M3, Quantized, quantize
from ..patching import model_type, swapped

AS_LOADED, ROW_WISE = "as loaded", "fp8 (row-wise)"
CHOICES = (AS_LOADED, ROW_WISE)
# In the first forward some tokens of the layers in every fifth block are multiplied unquantized too, by some of the
# weights' rows.
MEASURED, SAMPLED, OUTPUTS = 5, 64, 512
OWN = "comfy.ops"  # a layer of another origin (GGUF, ...) unpacks its weights in its own way

log = get_logger(__name__)


def block_linears(module):
    """(number of the block, name, layer) of the linear layers that every token goes through."""
    for index, block in enumerate(module.blocks):
        if hasattr(block, "_orig_mod"):
            continue  # compiled: the code is bound to what stood there, and would be made again for every block
        for part, names in (("self_attn", "qkvo"), ("cross_attn", "qo"), ("ffn", "02")):
            for name in names:
                layer = getattr(getattr(block, part, None), name, None)
                if layer is not None:
                    yield index, f"blocks.{index}.{part}.{name}", layer
    for index, block in enumerate(module.face_adapter.fuser_blocks):
        for name in ("linear1_q", "linear2"):
            yield index, f"face_adapter.fuser_blocks.{index}.{name}", getattr(block, name)


class Fp8Linears:
    """The fp8 products of one accelerated MODEL.

    Attributes:
        errors: relative L2 error of a layer's output by name, of the layers measured in the first forward.
        left: why a layer is multiplied as loaded, by name.
    """

    def __init__(self):
        self.errors: dict[str, float] = {}
        self.left: dict[str, str] = {}
        self._layers: dict[str, RowWise] = {}
        self._reported = False
        self._said: object = None

    @contextmanager
    def installed(self, module, device: torch.device):
        """For one forward, the layers of the module multiply in fp8."""
        reason = refusal(device)
        if reason is not None:
            self._say(("refused", reason), "products stay as loaded: %s", reason)
            yield
            return
        undo, hidden, measured = [], [], {}
        try:
            for index, name, layer in block_linears(module):
                ours = self._layers.get(name)
                if ours is None or ours.layer is not layer:
                    ours = self._layers[name] = RowWise(name, layer, self.left)
                if not self._reported and index % MEASURED == MEASURED // 2:
                    ours.error = measured[name] = []
                if not ours.possible():
                    continue
                place = innermost(layer)
                if place is None:
                    hidden.append(name)
                else:
                    undo.append(swapped(*place, ours))
                    undo[-1].__enter__()
            yield
        finally:
            for one in reversed(undo):
                one.__exit__(None, None, None)
            for name in measured:
                self._layers[name].error = None
        if not self._reported:
            self._report(len(undo), measured, hidden)

    def _report(self, count: int, measured: dict[str, list], hidden: list[str]) -> None:
        self._reported = True
        self.errors = {name: sum(map(float, found)) / len(found) for name, found in measured.items() if found}
        if self.errors:
            worst = max(self.errors, key=self.errors.get)
            mean = sum(self.errors.values()) / len(self.errors)
            self._say(
                "measured",
                "products of %d layers in fp8; output of a layer %.1f%% off on average, at most %.1f%% (%s, of %d)",
                count, 100 * mean, 100 * self.errors[worst], worst, len(self.errors),
            )  # fmt: skip
        left = self.left | dict.fromkeys(hidden, "what another pack has put in front of it does not show where it ends")
        if left:
            name, reason = next(iter(left.items()))
            log.info("%d layers are multiplied as loaded, for instance %s: %s", len(left), name, reason)

    def _say(self, what, sentence: str, *values) -> None:
        if self._said != what:
            self._said = what
            log.info(f"{sentence}.", *values)


class RowWise:
    """What stands for a linear layer's ``forward``: takes rows as they are, or quantized already."""

    def __init__(self, name: str, layer, left: dict[str, str]):
        self.name, self.layer, self.left = name, layer, left
        self.error: list | None = None

    def possible(self) -> bool:
        if self.name not in self.left:
            reason = unfit(self.layer)
            if reason is None:
                return True
            self.left[self.name] = reason
        return False

    def __call__(self, x, *args, **kwargs):
        import comfy.ops

        comfy.ops.run_every_op()
        compiling = torch.compiler.is_compiling()
        given = x if isinstance(x, Quantized) else quantize(x)
        if compiling and is_resident(self.layer, given.values.device):
            return multiply(given, *as_rows(self.layer.weight), self.layer.bias)
        patched = (
            len(self.layer.weight_function) > 0 or getattr(self.layer, "weight_lowvram_function", None) is not None
        )
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self.layer,
            dtype=given.dtype if patched else model_type(self.layer, "weight"),
            device=given.values.device,
            bias_dtype=given.dtype,
            offloadable=True,
            compute_dtype=given.dtype,
        )
        try:
            out = multiply(given, *as_rows(weight), bias)
            if not compiling and self.error is not None:
                self.error.append(_error(x, weight, bias, out))
            return out
        except Exception as error:
            import comfy.model_management

            if compiling or isinstance(error, comfy.model_management.OOM_EXCEPTION):
                raise
            self.left[self.name] = " ".join(str(error).split())
            log.warning("%s cannot be multiplied in fp8, it is as loaded: %s", self.name, error)
        finally:
            comfy.ops.uncast_bias_weight(self.layer, weight, bias, stream)
        return type(self.layer).forward(self.layer, given.full() if isinstance(x, Quantized) else x)


def takes_quantized(*layers) -> bool:
    """Whether all layers multiply in fp8 now, with nothing in front that needs their input as it was."""
    return all(
        isinstance(one := vars(layer).get("forward"), RowWise)
        and one.error is None
        and one.name not in one.left
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


def is_measured(layer) -> bool:
    """Whether the error of this layer's product is looked at in this forward."""
    one = vars(layer).get("forward")
    return isinstance(one, RowWise) and one.error is not None


def innermost(layer):
    """(owner, attribute) where the layer's own ``forward`` is called from: itself, or the last of those in front of it.
    None if something in front does not show where."""
    owner, name = layer, "forward"
    while True:
        found = vars(owner).get(name)
        if found is None or found == type(layer).forward.__get__(layer):
            return (owner, name) if owner is layer or found is not None else None
        owner = getattr(found, "__self__", found)
        if owner is layer:
            return None
        name = next((one for one in ("forward", "original_forward") if one in vars(owner)), None)
        if name is None:
            return None


def unfit(layer) -> str | None:
    """Why a layer has no product in fp8, or None."""
    if type(layer).__module__ != OWN or not hasattr(layer, "weight_function"):
        return f"a layer of {type(layer).__module__}, which unpacks its weights itself"
    if getattr(layer, "pre_quant_scale", None) is not None:
        return "its input is scaled by channel"
    if layer.in_features % 16 or layer.out_features % 16:
        return "its size is no multiple of 16"
    weight = layer.weight
    layout = getattr(weight, "_layout_cls", None)
    if layout is not None:
        return None if layout in FP8_LAYOUTS else f"quantized as {layout}, which has products of its own"
    return None if weight.is_floating_point() else f"stored as {weight.dtype}"


FP8_LAYOUTS = ("TensorCoreFP8Layout", "TensorCoreFP8E4M3Layout", "TensorCoreFP8E5M2Layout")


def as_rows(weight) -> tuple[torch.Tensor, torch.Tensor]:
    """(e4m3 [out, in], float32 scales [out, 1]) of a layer's weights."""
    values, scale = weight, None
    if hasattr(weight, "_layout_cls"):
        values, scale = weight._qdata, weight._params.scale.float()
    if values.dtype == E4M3:
        rows = (values.shape[0], 1)
        if scale is None:
            return values, torch.ones(rows, dtype=torch.float32, device=values.device)
        return values, scale.reshape(-1, 1).expand(rows).contiguous()
    if hasattr(weight, "_layout_cls"):
        values = weight.dequantize()
    elif values.dtype.itemsize == 1:  # e5m2 as it is: e4m3 holds it exactly, but for the range
        values = values.to(torch.bfloat16)
    found = quantize(values)
    return found.values, found.scales


def multiply(x: Quantized, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x @ weight.T + bias, in x's type; accumulated in float32.

    Args:
        weight, scales: from :func:`as_rows`.
        bias: [out], in any type.
    """
    rows = x.values.reshape(-1, x.values.shape[-1])
    shape = (*x.values.shape[:-1], weight.shape[0])
    if rows.is_cuda:
        out = torch._scaled_mm(
            rows, weight.t(), scale_a=x.scales, scale_b=scales.t(), out_dtype=torch.bfloat16,
            bias=None if bias is None else bias.to(torch.bfloat16), use_fast_accum=FAST_ACCUMULATION,
        )  # fmt: skip
        return out.to(x.dtype).view(shape)
    # A CPU has this product with one scale for the whole tensor: those of the rows come after.
    one = torch.ones((), device=rows.device)
    out = torch._scaled_mm(rows, weight.t(), scale_a=one, scale_b=one, out_dtype=torch.float32)
    out = out * x.scales * scales.t()
    return (out if bias is None else out + bias.float()).to(x.dtype).view(shape)


FAST_ACCUMULATION = True


@cache
def refusal(device: torch.device) -> str | None:
    """Why this device has no such products, or None: a small one is tried."""
    if device.type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 9):
            name, number = torch.cuda.get_device_name(device), ".".join(map(str, capability))
            return f"{name} has no fp8 (compute capability {number}, 8.9 needed)"
    elif device.type not in ("cuda", "cpu"):
        return f"there is no fp8 product on {device.type}"
    try:
        sample = torch.eye(32, device=device, dtype=torch.bfloat16)
        out = multiply(quantize(sample), *as_rows(sample), sample[0])
        if not torch.isfinite(out).all():
            return "a small product gave no numbers"
    except Exception as error:
        return f"torch {torch.__version__} refuses them here ({' '.join(str(error).split())})"
    return None


def is_resident(layer, device: torch.device) -> bool:
    """Whether a layer's weights are where they are used, as they are used: what compiled code reads directly."""
    return not (hasattr(layer, "_v") or layer.weight_function or layer.bias_function) and layer.weight.device == device


def _error(x, weight, bias, out) -> torch.Tensor:
    """Relative L2 error of a product, in some outputs of some of its tokens; a tensor, so that nothing waits for the
    card."""
    theirs = out.reshape(-1, out.shape[-1])
    step = max(len(theirs) // SAMPLED, 1)
    if isinstance(x, Quantized):
        x = Quantized(x.values.reshape(len(theirs), -1)[::step], x.scales[::step], x.dtype).full()
    else:
        x = x.reshape(len(theirs), -1)[::step]
    every = max(theirs.shape[-1] // OUTPUTS, 1)  # all of a wide layer's weights in float32 would be a peak of memory
    if hasattr(weight, "_layout_cls"):  # with one scale, or one a row
        rows = weight._qdata[::every].float() * weight._params.scale.float().reshape(-1, 1)[::every]
    else:
        rows = weight[::every].float()
    exact = torch.nn.functional.linear(x.float(), rows, None if bias is None else bias[::every].float())
    return (theirs[::step, ::every].float() - exact).norm() / exact.norm().clamp(min=1e-12)
