"""ComfyUI with dynamic VRAM on (its server's default on an NVIDIA card), as far as it works without a card.

comfy-aimdo maps the files, modules are made without memory and get the file's own tensors, and the host's dynamic
patcher prepares every layer to cast its weights when they are used. Only a card keeps the cast weights (in
comfy-aimdo's virtual memory) and merges a LoRA into weights in use: without a card a LoRA needs a static MODEL.
"""

from __future__ import annotations

import atexit
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def start_aimdo() -> bool:
    """Start comfy-aimdo, as the server does before it imports the host; whether it runs here."""
    import comfy_aimdo.control

    if not comfy_aimdo.control.init():
        return False
    # it logs from within frees, even after Python has shut down
    atexit.register(comfy_aimdo.control.lib.set_log_callback, comfy_aimdo.control._LOG_CALLBACK(0))
    for name in ("host_buffer", "model_mmap", "model_vbar", "vram_buffer"):  # imported before: they looked for it then
        if f"comfy_aimdo.{name}" in sys.modules:
            importlib.reload(sys.modules[f"comfy_aimdo.{name}"])
    return True


@cache
def patcher_class() -> type:
    """The host's dynamic patcher, which is otherwise replaced by the static one on a CPU."""
    import comfy.model_patcher

    class OnCpu(comfy.model_patcher.ModelPatcherDynamic):
        def __new__(cls, *args: Any, **kwargs: Any) -> OnCpu:
            return object.__new__(cls)

        def partially_unload(self, *args: Any, **kwargs: Any) -> Any:
            return self.restore_loaded_backups()  # there is nothing else to free without a card

    return OnCpu


def switch_on_cpu() -> tuple[bool, type]:
    """Have the host load models as with dynamic VRAM (after :func:`start_aimdo`); returns the settings before."""
    import comfy.memory_management
    import comfy.model_patcher

    before = comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher
    comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher = True, patcher_class()
    return before


@contextmanager
def on_cpu() -> Iterator[None]:
    """:func:`switch_on_cpu` inside ``with``."""
    import comfy.memory_management
    import comfy.model_patcher

    before = switch_on_cpu()
    try:
        yield
    finally:
        comfy.memory_management.aimdo_enabled, comfy.model_patcher.CoreModelPatcher = before
