"""A MODEL with dynamic VRAM that stays prepared between the segments of a clip.

Before every sampling ComfyUI's dynamic patcher (``ModelPatcherDynamic.load``, 0.33.0) takes back and casts all small
weights and the motion encoder's (349 tensors of the 14B model, from the file), and walks all layers, while the card
waits. Where nothing was touched since the sampling before, that ends as it began.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...wan_animate.swapped import swapped


class Prepared:
    """Of one MODEL.

    Attributes:
        kept: how often it was found as the sampling before left it.
    """

    def __init__(self, model: Any) -> None:
        self._model, self.kept = model, 0
        self._state: tuple | None = None
        self._parts: dict[str, weakref.ref] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Samplings inside prepare the MODEL only where something has changed."""
        if not _is_known(self._model):
            yield
            return
        plain = self._model.load

        def load(device_to: Any = None, *args: Any, dirty: bool = False, **kwargs: Any) -> None:
            if dirty or args or kwargs or self._state is None or not self._is_as_left(device_to):
                self._state = None
                plain(device_to, *args, dirty=dirty, **kwargs)
                if not args and not kwargs:
                    self._remember(device_to)
                return
            self.kept += 1
            self._use_again(device_to)

        with swapped(self._model, "load", load):
            yield

    def _remember(self, device: Any) -> None:
        state = self._now(device)
        if state is not None:
            self._state = state
            self._parts = {name: weakref.ref(part) for name, part in self._loaded().items()}

    def _is_as_left(self, device: Any) -> bool:
        if self._state != self._now(device):
            return False
        loaded = self._loaded()
        return loaded.keys() == self._parts.keys() and all(self._parts[key]() is one for key, one in loaded.items())

    def _now(self, device: Any) -> tuple | None:
        """What the preparation is for; None where hooks change weights from step to step."""
        model = self._model
        if model.forced_hooks is not None or model.current_hooks is not None or model.hook_patches:
            return None
        stamps = model.patches_uuid, model.model.current_weight_patches_uuid
        return device, model.model.device, id(model.model), *stamps, model.force_cast_weights

    def _loaded(self) -> dict[str, Any]:
        """What the host put in place of the file's tensors: every other loading puts other tensors there."""
        import comfy.utils

        model = self._model
        buffers = [name for name in model.backup_buffers if not self._is_replaced(name)]
        return {name: comfy.utils.get_attr(model.model, name) for name in (*model.backup, *buffers)}

    def _is_replaced(self, name: str) -> bool:
        """By the patcher, or with every segment (:func:`.ports.restore_schedule`)."""
        return name.partition(".")[0] in ("model_sampling", *self._model.object_patches)

    def _use_again(self, device: Any) -> None:
        """What the host's ``load`` does beside preparing layers."""
        import comfy.patcher_extension
        import comfy.utils

        model = self._model
        pins = model.model.dynamic_pins[model.load_device]
        pins["failed"], pins["active"] = False, True
        vbar = model._vbar_get(create=True)
        if vbar is not None:
            vbar.prioritize()
        for name in filter(self._is_replaced, model.backup_buffers):
            comfy.utils.set_attr_buffer(model.model, name, comfy.utils.get_attr(model.model, name).to(device))
        for callback in model.get_all_callbacks(comfy.patcher_extension.CallbacksMP.ON_LOAD):
            callback(model, device, 0, False, False)


def _is_known(model: Any) -> bool:
    """Whether the host loads it by its own dynamic patcher, as that is known here."""
    import comfy.model_patcher

    kind = getattr(comfy.model_patcher, "ModelPatcherDynamic", None)
    load: Callable | None = getattr(kind, "load", None)
    if load is None or not model.is_dynamic() or type(model).load is not load or "load" in vars(model):
        return False
    pins = getattr(model.model, "dynamic_pins", {}).get(model.load_device)
    parts = ("backup", "backup_buffers", "forced_hooks", "current_hooks", "hook_patches", "force_cast_weights")
    return isinstance(pins, dict) and {"failed", "active"} <= pins.keys() and all(hasattr(model, one) for one in parts)
