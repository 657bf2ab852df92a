"""The host's ModelPatcher, loading and counting all but the blocks."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from .block_offloader import BlockOffloader

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher
else:
    ModelPatcher = object  # offloaded() puts the patcher's own class behind the mixin

KEY = "wan_animate_kit_offload"


@cache
def offloaded(kind: type) -> type:
    return type(f"Offloaded{kind.__name__}", (Offloaded, kind), {"plain_class": kind})


class Offloaded(ModelPatcher):
    """Mixin before the patcher's own class."""

    @property
    def offloader(self) -> Any:
        """None while the patcher is being made or taken apart."""
        return getattr(self, "attachments", {}).get(KEY)

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        import comfy.patcher_extension

        clone = super().clone(*args, **kwargs)
        clone.__class__ = type(self)
        attach(clone, clone.attachments[KEY], comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL)
        return clone

    def model_size(self) -> int:
        return super().model_size() if self.offloader is None else self.offloader.size

    def loaded_size(self) -> int:
        return super().loaded_size() + (0 if self.offloader is None else self.offloader.resident_size)

    def _load_list(self, *args: Any, **kwargs: Any) -> list[tuple]:
        return [entry for entry in super()._load_list(*args, **kwargs) if not self.offloader.owns(entry[-3])]

    def load(
        self,
        device_to: torch.device | None = None,
        lowvram_model_memory: float = 0,
        force_patch_weights: bool = False,
        full_load: bool = False,
    ) -> None:
        for block in (*self.model.diffusion_model.blocks, *self.model.diffusion_model.face_adapter.fuser_blocks):
            if any(parameter.device.type != "cpu" for parameter in block.parameters()):
                block.to("cpu")  # some loaders put models on the card at once
        super().load(device_to, 1e32 if full_load else lowvram_model_memory, force_patch_weights, False)
        if full_load:
            self._move_rest(device_to)
        self._prepare_layers()

    def _move_rest(self, device: torch.device | None) -> None:
        """Parameters outside of layers, which the host moves only with the whole model."""
        for name, module in self.model.named_modules():
            if not self.offloader.owns(f"{name}."):
                for part in (*module._parameters.values(), *module._buffers.values()):
                    if part is not None and part.device != device:
                        part.data = part.data.to(device)

    def _prepare_layers(self) -> None:
        """What the host sets on layers whether it moves them or not."""
        import comfy.model_patcher

        for name, module in self.model.named_modules():
            if not (self.offloader.owns(name) and hasattr(module, "comfy_cast_weights")):
                continue
            comfy.model_patcher.wipe_lowvram_weight(module)
            module.comfy_force_cast_weights = self.force_cast_weights
            wrapped = [self.weight_wrapper_patches.get(f"{name}.{part}", []) for part in ("weight", "bias")]
            if self.force_cast_weights:
                module.prev_comfy_cast_weights, module.comfy_cast_weights = module.comfy_cast_weights, True
            if any(wrapped):
                module.weight_function, module.bias_function = map(list, wrapped)
            if self.force_cast_weights or any(wrapped):
                self.model.model_lowvram = True  # makes the host undo it

    def partially_load(
        self, device_to: torch.device, extra_memory: float = 0, force_patch_weights: bool = False
    ) -> float:
        self.offloader.available = self.loaded_size() + extra_memory - self.offloader.sizes.rest
        return super().partially_load(device_to, extra_memory, force_patch_weights)

    def partially_unload(
        self, device_to: torch.device, memory_to_free: float = 0, force_patch_weights: bool = False
    ) -> float:
        freed = self.offloader.drop(memory_to_free)
        if freed < memory_to_free:
            freed += super().partially_unload(device_to, memory_to_free - freed, force_patch_weights)
        return freed

    def patch_hooks(self, hooks: Any) -> Any:
        self.offloader.wait()  # hooks change weights in place
        return super().patch_hooks(hooks)

    def unpatch_model(self, device_to: torch.device | None = None, unpatch_weights: bool = True) -> Any:
        if unpatch_weights:
            self.offloader.release()
        return super().unpatch_model(device_to, unpatch_weights)

    def detach(self, unpatch_all: bool = True) -> Any:
        if self.offloader is not None:
            self.offloader.release()
        return super().detach(unpatch_all)

    def cleanup(self) -> Any:
        self.offloader.end()
        return super().cleanup()


def attach(clone: Any, offloader: BlockOffloader, wrapper_kind: str) -> None:
    clone.set_attachments(KEY, offloader)
    offloader.belongs_to(clone)
    clone.remove_wrappers_with_key(wrapper_kind, KEY)
    clone.add_wrapper_with_key(wrapper_kind, KEY, offloader.diffusion_model)
