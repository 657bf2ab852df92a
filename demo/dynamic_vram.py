"""ComfyUI with dynamic VRAM on (its server's default on an NVIDIA card), as far as a machine without a card takes it.

Files are mapped by comfy-aimdo, modules are made without memory and given the file's own tensors in the file's own
type, and the host's own dynamic patcher prepares every layer to cast its weights when they are used. What a card adds
is where the cast weights are kept (comfy-aimdo's virtual memory), and that a LoRA is merged into weights when they are
used: without a card the host does not merge it at all, so here a LoRA needs a static MODEL.
"""

from __future__ import annotations

import atexit
import importlib
import sys
from contextlib import contextmanager
from functools import cache


@cache
def start_aimdo() -> bool:
    """What the server does before it imports anything of the host; whether comfy-aimdo runs here."""
    import comfy_aimdo.control

    if not comfy_aimdo.control.init():
        return False
    # it logs from within frees, also those after Python has gone
    atexit.register(comfy_aimdo.control.lib.set_log_callback, comfy_aimdo.control._LOG_CALLBACK(0))
    for name in ("host_buffer", "model_mmap", "model_vbar", "vram_buffer"):  # imported before: they looked for it then
        if f"comfy_aimdo.{name}" in sys.modules:
            importlib.reload(sys.modules[f"comfy_aimdo.{name}"])
    return True


@cache
def patcher_class() -> type:
    """The host's dynamic patcher, which makes way for the static one where the device is a CPU, without doing so."""
    import comfy.model_patcher

    class OnCpu(comfy.model_patcher.ModelPatcherDynamic):
        def __new__(cls, *args, **kwargs):
            return object.__new__(cls)

        def partially_unload(self, *args, **kwargs):
            return self.restore_loaded_backups()  # all that there is to free without a card

    return OnCpu


def switch_on_cpu() -> tuple:
    """From now on the host loads models as with dynamic VRAM; call :func:`start_aimdo` before. What stood there."""
    import comfy.memory_management
    import comfy.model_patcher

    before = comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher
    comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher = True, patcher_class()
    return before


@contextmanager
def on_cpu():
    """The same while this is open."""
    import comfy.memory_management
    import comfy.model_patcher

    before = switch_on_cpu()
    try:
        yield
    finally:
        comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher = before
