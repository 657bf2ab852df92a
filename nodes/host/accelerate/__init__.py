"""Accelerate Animate Model: patches on a MODEL clone, on the shared module only during a forward."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.kernels import blur, fused
from ....wan_animate.log import get_logger
from ..checks import check_model
from ..patching import cast_static_clones, static_clone
from . import fp8_linears as fp8
from .attention import HOST_DEFAULT, Attention, compile_kernel, current_choice
from .blocks import FusedBlocks
from .compiled import compile_blocks, without_compiled
from .fp8_linears import AS_LOADED, Fp8Linears
from .step_cache import StepCache

KEY = "wan_animate_kit_accelerate"
STEP = f"{KEY}_step"
REUSE = ("off", "small", "all")
OVERRIDE = "optimized_attention_override"

log = get_logger(__name__)


@dataclass(frozen=True)
class Settings:
    """Inputs of Accelerate Animate Model.

    Attributes:
        attention: one of :data:`.attention.CHOICES`.
        face_motion: encode the face video once a run.
        reuse: cached between steps: "off", "small" (rotary tables), "all" (also text and image keys and values, pose
            embedding).
        compile_blocks, backend: ``torch.compile``; ignored with fp8 ``matmul``.
        matmul: one of :data:`.fp8_linears.CHOICES`.
        fused: fuse the blocks' small operations.
    """

    attention: str = HOST_DEFAULT
    face_motion: bool = True
    reuse: str = "small"
    compile_blocks: bool = False
    backend: str = "inductor"
    matmul: str = AS_LOADED
    fused: bool = False


def accelerate(model: Any, settings: Settings) -> Any:
    """A clone with ``settings`` in place of earlier ones. Raises InputError."""
    import comfy.patcher_extension

    check_model(model)
    settings = replace(settings, attention=current_choice(settings.attention))
    if settings.matmul not in fp8.CHOICES:
        raise InputError(
            f"linear layers (products) is {settings.matmul!r}, but it must be one of: {', '.join(fp8.CHOICES)}."
        )
    kinds = comfy.patcher_extension.WrappersMP
    compiled = settings.compile_blocks
    if compiled and settings.matmul != AS_LOADED and fp8.refusal(model.load_device) is None:
        log.info("with matrix multiplications in fp8, blocks are not compiled; use fused instead.")
        compiled = False
    clone = without(static_clone(model, "compile_blocks") if compiled else model.clone())
    cast_static_clones(clone)
    if compiled:
        clone = compile_blocks(clone, settings.backend)
    options = clone.model_options["transformer_options"]
    if settings.attention != HOST_DEFAULT:
        options[OVERRIDE] = Attention(settings.attention, options.get(OVERRIDE))
        compile_kernel(clone, settings.attention)
    if settings.face_motion or settings.reuse != "off":
        if settings.face_motion:
            blur.prepare(clone.load_device, clone.model.get_dtype_inference())
        cache = StepCache(settings.face_motion, settings.reuse)
        clone.add_wrapper_with_key(kinds.APPLY_MODEL, KEY, cache.apply_model)
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, KEY, cache.diffusion_model)
        clone.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY, cache.clear)
    if settings.fused:
        module = clone.model.diffusion_model
        fused.prepare(clone.load_device, clone.model.get_dtype_inference(), module.dim, module.num_heads)
    if settings.fused or settings.matmul != AS_LOADED:
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, STEP, _Step(settings).diffusion_model)
    clone.set_attachments(KEY, settings)
    return clone


class _Step:
    def __init__(self, settings: Settings) -> None:
        self.linears = None if settings.matmul == AS_LOADED else Fp8Linears()
        self.fused_blocks = FusedBlocks() if settings.fused else None

    # If the host compiles the whole model, this is not traced, but what it calls is.
    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        with ExitStack() as stack:
            if self.linears is not None:
                stack.enter_context(self.linears.installed(executor.class_obj, x.device))
            if self.fused_blocks is not None:
                stack.enter_context(self.fused_blocks.installed(executor.class_obj))
            return executor(x, *args, **kwargs)


def without(clone: Any) -> Any:
    """Removes our acceleration in place."""
    import comfy.patcher_extension

    kinds = comfy.patcher_extension.WrappersMP
    for kind in (kinds.APPLY_MODEL, kinds.DIFFUSION_MODEL):
        clone.remove_wrappers_with_key(kind, KEY)
    clone.remove_wrappers_with_key(kinds.DIFFUSION_MODEL, STEP)
    clone.remove_callbacks_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY)
    clone.remove_attachments(KEY)
    without_compiled(clone)
    options = clone.model_options["transformer_options"]
    if isinstance(options.get(OVERRIDE), Attention):
        before = options.pop(OVERRIDE).before
        if before is not None:
            options[OVERRIDE] = before
    return clone


def settings_of(model: Any) -> Settings | None:
    return model.get_attachment(KEY)


def with_face_motion(model: Any) -> Any:
    """The MODEL itself if accelerated, else a clone that encodes the face video once."""
    return model if settings_of(model) is not None else accelerate(model, Settings())
