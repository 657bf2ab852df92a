"""ComfyUI with dynamic VRAM on (what its server does by default on an NVIDIA card), as far as a CPU takes it.

Files are mapped and read by comfy-aimdo, modules are made without memory and given the file's own tensors in the file's
own type, and the host's own dynamic patcher prepares every layer to cast its weights when they are used. What a card
adds to that is where the cast weights are kept (in comfy-aimdo's virtual memory); and with it the host merges a LoRA
into weights when they are used, which without a card it does not: a LoRA needs a static patcher here.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from functools import cache

import pytest


@cache
def _patcher_class():
    import comfy.model_patcher

    class OnCpu(comfy.model_patcher.ModelPatcherDynamic):
        """The host's own takes the static one's place for a CPU."""

        def __new__(cls, *args, **kwargs):
            return object.__new__(cls)

        def partially_unload(self, *args, **kwargs):
            return self.restore_loaded_backups()  # all that there is to free without a card

    return OnCpu


@cache
def _start_aimdo() -> None:
    """What the server does before it imports anything of the host."""
    import comfy_aimdo.control

    if not comfy_aimdo.control.init():
        pytest.skip("comfy-aimdo does not run here")
    for name in ("host_buffer", "model_mmap", "model_vbar", "vram_buffer"):
        importlib.reload(importlib.import_module(f"comfy_aimdo.{name}"))


@contextmanager
def dynamic_vram():
    """While open, the host loads models as with dynamic VRAM."""
    import comfy.memory_management
    import comfy.model_patcher

    _start_aimdo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.memory_management, "aimdo_enabled", True)
        patch.setattr(comfy.model_patcher, "CoreModelPatcher", _patcher_class())
        yield
