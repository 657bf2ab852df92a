"""The large linear layers of diffusers' transformer in fp8: weights of half the size, multiplied faster.

Scaled by token and by row of the weights. Those are quantized once and the loaded ones freed, so what shall be merged
into them has to be merged before; unmerged LoRAs (:mod:`.lora`) act as on the loaded ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F

from ..kernels.fp8 import as_rows, mean_errors, multiply, said
from ..kernels.fused import Quantized, quantize
from ..log import get_logger

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

Linears = Literal["as-loaded", "fp8"]
AS_LOADED: Linears = "as-loaded"
FP8: Linears = "fp8"
# add_k_proj and add_v_proj are the picture's; products of the prompt are small, their weights are not
BLOCK = (
    "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
    "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.add_k_proj", "attn2.add_v_proj", "attn2.to_out.0",
    "ffn.net.0.proj", "ffn.net.2",
)  # fmt: skip
FACE = ("to_q", "to_out")
# The error is measured in the first forward: of the layers in every fifth block, in some tokens and output channels.
MEASURED, SAMPLED, OUTPUTS = 5, 64, 64

log = get_logger(__name__)


def large_linears(transformer: Any) -> Iterator[tuple[int, str]]:
    """(block index, name) of each that may be in fp8."""
    for part, count, names in (
        ("blocks", len(transformer.blocks), BLOCK),
        ("face_adapter", len(transformer.face_adapter), FACE),
    ):
        for index in range(count):
            for name in names:
                yield index, f"{part}.{index}.{name}"


@torch.no_grad()
def quantize_linears(
    transformer: WanAnimateTransformer3DModel, device: torch.device | str, measured: bool = True
) -> Fp8Linears:
    """Replaces the large linear layers, one after the other.

    Args:
        device: quantizes, which holds a layer's weights meanwhile; the result lies where they lay.
        measured: log how far outputs are off, after the first forward.
    """
    layers, found = dict(transformer.named_modules()), Fp8Linears()
    for index, name in large_linears(transformer):
        layer: Any = layers.pop(name, None)
        reason = "there is none" if layer is None else unfit(layer)
        if reason is not None:
            found.skipped[name] = reason
        elif not isinstance(layer, Fp8Linear):
            parent, _, last = name.rpartition(".")
            seen = found if measured and index % MEASURED == MEASURED // 2 else None
            setattr(transformer.get_submodule(parent), last, Fp8Linear(name, layer, device, seen))
            found.quantized.append(name)
        del layer
    if found.skipped:
        name, reason = next(iter(found.skipped.items()))
        log.info("%d linear layers stay as loaded, for instance %s: %s.", len(found.skipped), name, reason)
    found.measure(transformer)
    return found


def unfit(layer: torch.nn.Module) -> str | None:
    """Why it cannot run in fp8, or None."""
    if isinstance(layer, Fp8Linear):
        return None
    if type(layer) is not torch.nn.Linear:
        return f"a {type(layer).__name__} multiplies in its own way"
    if layer.in_features % 16 or layer.out_features % 16:
        return "its size is no multiple of 16"
    return None if layer.weight.is_floating_point() else f"it is stored as {layer.weight.dtype}"


class Fp8Linear(torch.nn.Linear):
    """A linear layer for plain or quantized input.

    Attributes:
        weight: float8_e4m3fn [out, in].
        scales: float32 [out, 1].
        dtype: of plain input and of the weights before.
    """

    scales: torch.Tensor

    def __init__(
        self, name: str, layer: torch.nn.Linear, device: torch.device | str, report: Fp8Linears | None = None
    ) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        given, home = layer.weight.detach(), layer.weight.device
        values, scales = as_rows(given.to(device))
        self.name, self.dtype = name, given.dtype
        self.weight = torch.nn.Parameter(values.to(home), requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scales", scales.to(home))
        self._forward_hooks.update(layer._forward_hooks)
        self._forward_pre_hooks.update(layer._forward_pre_hooks)
        self._forward_hooks_with_kwargs.update(layer._forward_hooks_with_kwargs)
        self._forward_pre_hooks_with_kwargs.update(layer._forward_pre_hooks_with_kwargs)
        self.report = report
        self.every = max(self.out_features // OUTPUTS, 1)
        self.sample = None if report is None else given[:: self.every].clone()  # weights as loaded
        if report is not None:
            report.layers.append(self)
        self.train(layer.training)

    def forward(self, x: torch.Tensor | Quantized) -> torch.Tensor:
        if 0 in x.shape:  # without a picture it has no tokens
            return self.scales.new_empty((*x.shape[:-1], self.out_features), dtype=x.dtype)
        quantized = x if isinstance(x, Quantized) else quantize(x)
        out = multiply(quantized, self.weight, self.scales, self.bias)
        if self.report is not None and isinstance(x, torch.Tensor):
            self.report.seen.setdefault(self.name, []).append(self._error(x, out))
        return out

    def _error(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Relative L2 error of some tokens and outputs, left on the device."""
        assert self.sample is not None
        found = out.reshape(-1, self.out_features)  # [tokens, out_features]
        step = max(len(found) // SAMPLED, 1)
        rows, bias = self.sample.to(x.device).float(), None if self.bias is None else self.bias[:: self.every].float()
        exact = F.linear(x.reshape(len(found), -1)[::step].float(), rows, bias)
        return (found[::step, :: self.every].float() - exact).norm() / exact.norm().clamp(min=1e-12)


def takes_quantized(*layers: torch.nn.Module) -> bool:
    """Whether their input may come as :class:`Quantized`: what hooks and measuring see is plain."""
    return all(
        isinstance(layer, Fp8Linear) and layer.report is None and not (layer._forward_hooks or layer._forward_pre_hooks)
        for layer in layers
    )


class Fp8Linears:
    """What became of a transformer's large linear layers.

    Attributes:
        quantized: names of those in fp8.
        skipped: why a layer stays as loaded.
        errors: relative L2 error of outputs in the first forward, of some layers.
    """

    def __init__(self) -> None:
        self.quantized: list[str] = []
        self.skipped: dict[str, str] = {}
        self.errors: dict[str, float] = {}
        self.layers: list[Fp8Linear] = []
        self.seen: dict[str, list[torch.Tensor]] = {}

    def measure(self, transformer: torch.nn.Module) -> None:
        """Until the end of the transformer's next forward."""

        def hook(*_: Any) -> None:
            handle.remove()
            self._report()

        if self.layers:
            handle = transformer.register_forward_hook(hook)

    def _report(self) -> None:
        for layer in self.layers:
            layer.report = layer.sample = None
        self.errors = mean_errors(self.seen)
        self.layers, self.seen = [], {}
        if self.errors:
            log.info("%s.", said(len(self.quantized), self.errors))
