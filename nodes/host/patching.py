"""A MODEL outside of ComfyUI's dynamic memory, in the types that its model was made for.

With dynamic memory (dynamic VRAM, the server's default on an NVIDIA card) a model keeps a file's own tensors and casts
them when they are used: a bf16 file that computes in float16 stays bf16 in memory. The static MODEL that the host makes
of such a one (``clone(disable_dynamic=True)``, ``get_non_dynamic_delegate``) has linear layers with the file's type too
(``comfy.ops.disable_weight_init.Linear`` assigns what it is given as long as dynamic memory is on), but nothing that
casts them: "mat1 and mat2 must have the same dtype" at the first of them. Here they are cast once, to what the host
itself has where dynamic memory is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...wan_animate.errors import InputError

KEY = "wan_animate_kit_types"


def static_clone(model: Any, what: str) -> Any:
    """A clone of a MODEL that the host loads as a whole. The host keeps the model that it makes for this on the MODEL
    it came from, so that other settings do not read the file again.

    Args:
        what: the switch or node that needs it, for the sentence.

    Raises:
        InputError: only the MODEL's own loader can load it.
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
    """What the model was made with, and so what dynamic memory keeps a parameter in once it has been used: the host
    notes it. A quantized tensor is of the type that it stands for."""
    own = getattr(module, name)
    noted = getattr(module, f"{name}_comfy_model_dtype", None) if type(own.data) is torch.Tensor else None
    return noted or own.dtype


def cast_to_model_types(patcher: Any) -> None:
    """Brings the weights of a static MODEL to the types that its model was made with; a dynamic one casts by itself.

    A layer whose ``forward`` somebody has replaced knows what its weights are, and stays as it is.
    """
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
    """The same for every static MODEL that the host makes of this one later (its compile node, its hooks)."""
    import comfy.patcher_extension

    kind = comfy.patcher_extension.CallbacksMP.ON_CLONE
    patcher.remove_callbacks_with_key(kind, KEY)
    patcher.add_callback_with_key(kind, KEY, _cloned)
    cast_to_model_types(patcher)


def _cloned(patcher: Any, clone: Any) -> None:
    if patcher.is_dynamic():
        cast_to_model_types(clone)


def weights_stamp(patcher: Any) -> tuple | None:
    hooks = getattr(patcher, "current_hooks", None)
    applied = () if hooks is None else tuple((id(hook), float(hook.strength)) for hook in hooks.hooks)
    return None if patcher is None else (patcher.patches_uuid, applied)


@torch.compiler.disable  # the host may compile the whole model
def is_plain(module: torch.nn.Module) -> bool:
    """Whether a module does what its class says with its own weights: no hook on it, and neither a ``forward`` nor a
    weight put in front of its own (by a LoRA beside the weights, which may come and go between steps)."""
    own = vars(module)
    if module._forward_hooks or module._forward_pre_hooks or not own.keys().isdisjoint(module._parameters):
        return False
    forward = own.get("forward")
    return forward is None or getattr(forward, "__func__", None) is type(module).forward


@contextmanager
def swapped(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """While open, ``owner.name`` is ``replacement``; afterwards whatever stood on the instance, or nothing."""
    had_own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if had_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
