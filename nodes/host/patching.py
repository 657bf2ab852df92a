"""Clones outside of ComfyUI's dynamic memory, and patches on shared modules.

Dynamic VRAM casts the file's dtype on use; static clones do not, so their weights are cast here.
"""

from __future__ import annotations

from typing import Any

import torch

from ...wan_animate.errors import InputError

KEY = "wan_animate_kit_types"


def static_clone(model: Any, what: str) -> Any:
    """A clone that the host loads as a whole, from its cached static model.

    Raises:
        InputError: only the MODEL's own loader can load it; ``what`` needs it.
    """
    if not model.is_dynamic():
        clone = model.clone()
    else:
        try:
            clone = model.get_non_dynamic_delegate()
        except RuntimeError as error:
            raise InputError(
                f"{what} needs a model that is loaded without ComfyUI's dynamic memory, and this model's loader cannot "
                f"do that ({error}): load it with Load Animate Model or Load Diffusion Model."
            ) from error
    cast_to_model_types(clone)
    return clone


def model_type(module: torch.nn.Module, name: str) -> torch.dtype:
    """The model's own dtype as noted by the host; of a quantized tensor, the represented dtype."""
    own = getattr(module, name)
    noted = getattr(module, f"{name}_comfy_model_dtype", None) if type(own.data) is torch.Tensor else None
    return noted or own.dtype


def cast_to_model_types(patcher: Any) -> None:
    """Casts a static MODEL's weights to :func:`model_type`, except where ``forward`` was replaced."""
    if patcher.is_dynamic():
        return
    changed = False
    for module in patcher.model.modules():
        if not hasattr(module, "comfy_cast_weights") or "forward" in vars(module):
            continue
        for name, own in module._parameters.items():
            if own is None or own.is_meta or not own.is_floating_point():
                continue
            kind = model_type(module, name)
            if own.dtype == kind or (
                getattr(type(module), "comfy_cast_weights", False) and kind.itemsize > own.dtype.itemsize
            ):
                continue  # cast on use: it need not be wider in memory
            module._parameters[name] = torch.nn.Parameter(own.data.to(kind), requires_grad=False)
            changed = True
    if changed:
        patcher.size = 0  # the host counts again


def cast_static_clones(patcher: Any) -> None:
    """The same for static clones made later."""
    import comfy.patcher_extension

    kind = comfy.patcher_extension.CallbacksMP.ON_CLONE
    patcher.remove_callbacks_with_key(kind, KEY)
    patcher.add_callback_with_key(kind, KEY, _cloned)
    cast_to_model_types(patcher)


def _cloned(patcher: Any, clone: Any) -> None:
    if patcher.is_dynamic():
        cast_to_model_types(clone)


def weights_stamp(patcher: Any) -> tuple | None:
    """Identifies patches, hooks and their strengths, which change during a run."""
    hooks = getattr(patcher, "current_hooks", None)
    applied = () if hooks is None else tuple((id(hook), float(hook.strength)) for hook in hooks.hooks)
    return None if patcher is None else (patcher.patches_uuid, applied)
