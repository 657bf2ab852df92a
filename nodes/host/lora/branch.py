"""Unmerged LoRAs: branches added to layers' outputs.

Unlike the host's bypass form (comfy/weight_adapter/bypass.py), these stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from ....wan_animate.errors import InputError

KEY = "wan_animate_kit_lora"
_NONE = object()


def add_branches(
    clone: Any, patches: dict[str, Any], strength: float, start: float, end: float, name: str
) -> list[str]:
    """Adds patches to a cloned MODEL as branches.

    Args:
        patches: from ``comfy.lora.load_lora``.

    Returns:
        Keys of patches that must be merged: not low-rank pairs.

    Raises:
        InputError: such patches with a limited range.
    """
    import comfy.model_management
    import comfy.model_patcher
    import comfy.patcher_extension

    branches, left = _Branches(), {}
    dtype = clone.model.get_dtype_inference()
    for key, patch in patches.items():
        branch = _branch(clone.model, key, patch, dtype)
        if branch is None:
            left[key] = patch
        else:
            branches.put(key, branch)
    lone = [key for key in left if not key.endswith((".weight", ".bias"))]
    if lone:
        raise InputError(f"{name} replaces {lone[0]}, which this pack can only add to: use another LoRA.")
    if left and (start > 0 or end < 1):
        raise InputError(
            f"{name} holds {len(left)} tensors that cannot be switched while sampling (for instance "
            f"{next(iter(left))}): set start to 0 and end to 1."
        )
    if left:
        clone.add_patches(left, strength)
    patcher = comfy.model_patcher.CoreModelPatcher(
        branches, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    )
    clone.set_additional_models(KEY, [*clone.get_additional_models_with_key(KEY), patcher])
    clone.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.APPLY_MODEL, KEY, Switch(branches, strength, start, end)
    )
    return list(left)


class Switch:
    """Attaches the branches while the noise level is in range."""

    def __init__(self, branches: _Branches, strength: float, start: float, end: float) -> None:
        self.branches, self.strength, self.start, self.end = branches, strength, start, end

    def with_copy(self, copy: Any) -> Switch:
        """The same with a copy of its branches, for another device's model."""
        copy.forget()
        return Switch(copy, self.strength, self.start, self.end)

    def __call__(self, executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        base = executor.class_obj
        if not self._on(base.model_sampling, t):
            return executor(x, t, *args, **kwargs)
        with self.branches.attached(base, self.strength):
            return executor(x, t, *args, **kwargs)

    def _on(self, sampling: Any, t: torch.Tensor) -> bool:
        if self.start <= 0 and self.end >= 1:
            return True
        sigma = float(t.max())
        # the steps of a schedule fall on these limits, but for rounding
        first = self.start <= 0 or sigma <= float(sampling.percent_to_sigma(self.start)) * (1 + 1e-4)
        return first and (self.end >= 1 or sigma > float(sampling.percent_to_sigma(self.end)) * (1 + 1e-4))


class _Branches(torch.nn.Module):
    """Branches by module path from the host's BaseModel."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[tuple[str, str]] = []  # (module, "" or the name of a lone tensor)
        self.parts = torch.nn.ModuleList()
        self._forwards: dict[int, _UnmergedForward] = {}
        self._shifted_parameters: dict[int, tuple] = {}

    def put(self, key: str, branch: torch.nn.Module) -> None:
        path, _, last = key.rpartition(".")
        self.paths.append((path, "" if last in ("weight", "bias") else last))
        self.parts.append(branch)

    def forget(self) -> None:
        """Drops what belongs to a model's layers."""
        self._forwards, self._shifted_parameters = {}, {}

    @contextmanager
    def attached(self, base: torch.nn.Module, strength: float) -> Iterator[None]:
        undo: list[tuple[dict, str, Any]] = []
        try:
            for index, ((path, name), part) in enumerate(zip(self.paths, self.parts)):
                module: Any = base.get_submodule(path)
                module = getattr(module, "_orig_mod", module)  # of a compiled block
                # Compiled code looks parameters up in _parameters, so that is where the replacement goes.
                place, key = (module._parameters, name) if name else (module.__dict__, "forward")
                undo.append((place, key, place.get(key, _NONE)))
                if name:
                    place[key] = self._shifted(index, module._parameters[name], part, strength)
                else:
                    place[key] = self._forward(index, module, part, strength)
            yield
        finally:
            for place, key, before in reversed(undo):
                if before is _NONE:
                    place.pop(key, None)
                else:
                    place[key] = before

    def _shifted(self, index: int, parameter: torch.nn.Parameter, part: Any, strength: float) -> torch.nn.Parameter:
        """The same object for the same parameter."""
        given = (parameter.data_ptr(), parameter.device, parameter.dtype, strength)
        made = self._shifted_parameters.get(index)
        if made is None or made[0] is not parameter or made[1] != given:
            value = torch.nn.Parameter(part.shifted(parameter.data, strength), requires_grad=False)
            made = self._shifted_parameters[index] = parameter, given, value
        return made[2]

    def _forward(self, index: int, module: Any, part: torch.nn.Module, strength: float) -> _UnmergedForward:
        """The same object while nothing changes: compiled code is bound to it."""
        made, forward = self._forwards.get(index), module.forward
        if made is None or made.module is not module or made.forward != forward or made.strength != strength:
            made = self._forwards[index] = _UnmergedForward(forward, module, part, strength)
        return made


class _UnmergedForward:
    def __init__(self, forward: Callable, module: Any, branch: torch.nn.Module, strength: float) -> None:
        self.forward, self.module, self.branch, self.strength = forward, module, branch, strength

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = self.forward(x, *args, **kwargs)
        return out + self.branch(x, self.module, self.strength).to(out.dtype)


class _LowRank(torch.nn.Module):
    """up(down(x)) * alpha / rank."""

    def __init__(self, up: torch.Tensor, down: torch.Tensor, alpha: float | None, dtype: torch.dtype) -> None:
        import comfy.ops

        super().__init__()
        self.scale = 1.0 if alpha is None else alpha / down.shape[0]
        self.down = _linear(comfy.ops.manual_cast.Linear, down.flatten(1), dtype)
        self.up = _linear(comfy.ops.manual_cast.Linear, up.flatten(1), dtype)

    def forward(self, x: torch.Tensor, module: Any, strength: float) -> torch.Tensor:
        return self.up(self.down(x) * (self.scale * strength))


def _linear(kind: type, weight: torch.Tensor, dtype: torch.dtype) -> torch.nn.Module:
    layer = kind(weight.shape[1], weight.shape[0], bias=False, device="meta", dtype=dtype)
    layer.weight = torch.nn.Parameter(weight.to(dtype).contiguous(), requires_grad=False)
    return layer


class _Difference(torch.nn.Module):
    """A full-size weight difference, applied by the layer's operation."""

    def __init__(self, difference: torch.Tensor, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.difference = torch.nn.Parameter(difference, requires_grad=False)

    def forward(self, x: torch.Tensor, module: Any, strength: float) -> torch.Tensor:
        change = self._cast(x) * strength
        if self.kind == "bias":
            # [C] -> [C, 1, ...] where the output is [B, C, ...]
            return change.reshape(-1, *(1,) * (x.ndim - 2)) if hasattr(module, "kernel_size") else change
        if self.kind == "linear":
            return F.linear(x, change)
        if self.kind == "conv":
            convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[change.ndim]
            return convolve(x, change, None, module.stride, module.padding, module.dilation, module.groups)
        if self.kind == "rms":
            return F.rms_norm(x, change.shape, change, module.eps)
        return F.layer_norm(x, change.shape, change, None, module.eps)

    def shifted(self, tensor: torch.Tensor, strength: float) -> torch.Tensor:
        return tensor + self._cast(tensor) * strength

    def _cast(self, like: torch.Tensor) -> torch.Tensor:
        import comfy.model_management

        return comfy.model_management.cast_to_device(self.difference, like.device, like.dtype)


def _branch(model: torch.nn.Module, key: str, patch: Any, dtype: torch.dtype) -> torch.nn.Module | None:
    path, _, last = key.rpartition(".")
    module = model.get_submodule(path)
    kind = _kind(module, last)
    if isinstance(patch, tuple):
        difference = patch[1][0] if patch[0] == "diff" and len(patch[1]) == 1 else None
        return None if difference is None or kind is None else _Difference(difference, kind)
    if getattr(patch, "name", "") != "lora":
        return None
    up, down, alpha, middle, dora, reshape = patch.weights
    if middle is not None or dora is not None or reshape is not None:
        return None
    if kind == "linear":
        return _LowRank(up, down, alpha, dtype)
    if kind == "conv":  # only the patch embedding, which is small
        difference = (up.flatten(1).float() @ down.flatten(1).float()).reshape(module.weight.shape)
        return _Difference(difference * (1.0 if alpha is None else alpha / down.shape[0]), kind)
    return None


def _kind(module: torch.nn.Module, last: str) -> str | None:
    if last == "bias":
        return "bias"
    if last != "weight":
        return "tensor"
    if hasattr(module, "in_features"):
        return "linear"
    if hasattr(module, "kernel_size"):
        return "conv"
    if isinstance(module, torch.nn.LayerNorm):
        return "layer"
    return "rms" if isinstance(module, torch.nn.RMSNorm) or type(module).__name__ == "RMSNorm" else None
