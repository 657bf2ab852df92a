"""A MODEL on further devices: its modules again, the weights shared until a device loads them."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import torch

from .. import accelerate
from ..lora.branch import KEY as LORA

KEY = "wan_animate_kit_split"
OURS = "wan_animate_kit"
# what the host's dynamic memory keeps on a module: places on one device
DYNAMIC = ("_v", "_v_signature", "_pin_state", "dynamic_vbars", "dynamic_pins", "dynamic_patchers")


def replicate(module: torch.nn.Module) -> Any:
    """Modules, containers and parameters of their own around the same tensors."""
    copy = module.__new__(type(module))
    for name, value in vars(module).items():
        if name in DYNAMIC or name.endswith("_lowvram_function"):
            continue
        copy.__dict__[name] = value.copy() if isinstance(value, (dict, list, set)) else value
    copy._parameters = {
        name: None if one is None else torch.nn.Parameter(one.data, requires_grad=False)
        for name, one in module._parameters.items()
    }
    copy._modules = {name: None if one is None else replicate(one) for name, one in module._modules.items()}
    return copy


def share(target: torch.nn.Module, source: torch.nn.Module) -> None:
    """Gives ``target`` the tensors of ``source`` again."""
    for to, given in zip(target.modules(), source.modules()):
        for name, one in given._parameters.items():
            if one is not None:
                to._parameters[name] = torch.nn.Parameter(one.data, requires_grad=False)
        to._buffers.update(given._buffers)


class Replicas:
    """Copies of one BaseModel, which outlive a run: a device keeps its weights.

    Attributes:
        source: as loaded, on the offload device, without patches.
    """

    def __init__(self, patcher: Any) -> None:
        import comfy.model_management

        # so that the tensors are the file's, without patches
        comfy.model_management.unload_model_and_clones(patcher, unload_additional_models=False, all_devices=True)
        self.offload_device = patcher.offload_device
        self.source = self._new(patcher.model)
        self._bases: dict[tuple[int, torch.device], Any] = {}

    @staticmethod
    def _new(model: torch.nn.Module) -> Any:
        copy = replicate(model)
        copy.current_patcher = None
        return copy

    def base(self, rank: int, device: torch.device) -> Any:
        """A member's patcher without patches; the host knows a loaded model by it between runs."""
        import comfy.model_patcher
        import comfy.patcher_extension

        if (rank, device) not in self._bases:
            base = comfy.model_patcher.ModelPatcher(self._new(self.source), device, self.offload_device)
            kind = comfy.patcher_extension.CallbacksMP.ON_DETACH
            base.add_callback_with_key(kind, KEY, self.detached)
            self._bases[rank, device] = base
        return self._bases[rank, device]

    def detached(self, patcher: Any, unpatched: bool) -> None:
        """One copy in host memory is enough."""
        if unpatched:
            share(patcher.model, self.source)


_replicas: weakref.WeakKeyDictionary[torch.nn.Module, Replicas] = weakref.WeakKeyDictionary()


def member_patchers(patcher: Any, devices: tuple[torch.device, ...]) -> list[Any]:
    """A patcher like ``patcher``, with all that patches it, for every device but the first."""
    replicas = _replicas.get(patcher.model)
    if replicas is None:
        replicas = _replicas.setdefault(patcher.model, Replicas(patcher))
    return [_member(patcher, replicas, rank, device) for rank, device in enumerate(devices) if rank]


def forget(patcher: Any) -> None:
    """Makes the copies anew when they are needed again."""
    _replicas.pop(patcher.model, None)


def _member(patcher: Any, replicas: Replicas, rank: int, device: torch.device) -> Any:
    import comfy.model_patcher
    import comfy.patcher_extension

    base = replicas.base(rank, device)
    member = patcher.clone(model_override=base.get_clone_model_override())
    settings = accelerate.settings_of(member)
    if settings is not None:  # caches of its own; compiled blocks are the first device's
        member = accelerate.accelerate(member, replace(settings, compile_blocks=False))
    kinds = comfy.patcher_extension.WrappersMP
    for kind in (kinds.OUTER_SAMPLE, kinds.DIFFUSION_MODEL):
        member.remove_wrappers_with_key(kind, KEY)
    member.remove_attachments(KEY)
    member.additional_models.pop(KEY, None)
    member.parent = base  # not the first, which would be kept alive
    member.load_device = device
    member.hook_backup, member.current_hooks = {}, None
    _copy_branches(member, device)
    member.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_DETACH, KEY, replicas.detached)
    return member


def follow_hooks(member: Any, patcher: Any) -> None:
    """The hooks of one sampling, which the host registers before it."""
    import comfy.model_patcher

    member.hook_patches = comfy.model_patcher.create_hook_patches_clone(patcher.hook_patches, copy_tuples=True)
    member.hook_mode = patcher.hook_mode
    if patcher.hook_patches:
        unshare(member.model)


def _copy_branches(member: Any, device: torch.device) -> None:
    """Unmerged LoRAs of its own: their weights are on its device."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.patcher_extension

    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    switches = member.get_wrappers(kind, LORA)
    if not switches:
        return
    member.remove_wrappers_with_key(kind, LORA)
    patchers = []
    for switch in switches:
        copy = replicate(switch.branches)
        member.add_wrapper_with_key(kind, LORA, switch.with_copy(copy))
        offload = comfy.model_management.unet_offload_device()
        patchers.append(comfy.model_patcher.ModelPatcher(copy, device, offload))
    member.set_additional_models(LORA, patchers)


def unshare(module: torch.nn.Module) -> None:
    """Copies the tensors that are still in host memory: the host's hooks change weights in place."""
    for part in module.modules():
        for name, one in part._parameters.items():
            if one is not None and one.device.type == "cpu":
                part._parameters[name] = torch.nn.Parameter(one.data.clone(), requires_grad=False)


def own_wrappers(patcher: Any, kind: str) -> dict[Any, list]:
    """This pack's wrappers of a kind: others are called on the first device, once."""
    found = patcher.wrappers.get(kind, {})
    return {key: list(some) for key, some in found.items() if str(key).startswith(OURS) and key != KEY}
