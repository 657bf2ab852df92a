"""A Wan Animate MODEL made faster by patches that come off again: the work behind Accelerate Animate Model.

Everything hangs on a clone of the MODEL through the host's own ModelPatcher: wrappers around a step, the attention
override in its options, a callback at the end of a run. While one forward runs, a few methods of the shared module
answer from what the run has already computed; when it returns or raises, they are gone again, and when the sampler is
done (Cancel included) so is everything kept. Nothing is left for a clone without the node to find.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ..checks import check_model
from ..kernels import fused
from ..patching import cast_static_clones, static_clone
from . import fp8_linears as fp8
from .attention import HOST_DEFAULT, Attention, current_choice
from .blocks import FusedBlocks
from .compiled import compile_blocks, without_compiled
from .fp8_linears import AS_LOADED, Fp8Linears
from .step_cache import StepCache

KEY = "wan_animate_kit_accelerate"
STEP = f"{KEY}_step"
REUSE = ("off", "small", "all")
OVERRIDE = "optimized_attention_override"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What Accelerate Animate Model is asked for.

    Attributes:
        attention: one of :data:`.attention.CHOICES`.
        face_motion: encode the face video cache a run, with the encoder's blur as a depthwise convolution.
        reuse: "off", "small" (rotary tables) or "all" (also text and image keys and values, and the pose embedding).
        compile_blocks: run every block through ``torch.compile``; left out where products are in fp8.
        backend: of ``torch.compile``.
        products: one of :data:`.fp8_linears.CHOICES`: how the large layers of the blocks are multiplied.
        fused: join what a block does between its products and its attention into fewer passes over memory.
    """

    attention: str = HOST_DEFAULT
    face_motion: bool = True
    reuse: str = "small"
    compile_blocks: bool = False
    backend: str = "inductor"
    matmul: str = AS_LOADED
    fused: bool = False


def accelerate(model: Any, settings: Settings) -> Any:
    """A clone of a Wan Animate MODEL with ``settings``; those of an earlier call are replaced, not added to.

    Raises:
        InputError: not a Wan Animate model, or an attention that is not installed here.
    """
    import comfy.patcher_extension

    check_model(model)
    settings = replace(settings, attention=current_choice(settings.attention))
    if settings.matmul not in fp8.CHOICES:
        raise InputError(f"products is {settings.matmul!r}, but it must be one of: {', '.join(fp8.CHOICES)}.")
    kinds = comfy.patcher_extension.WrappersMP
    compiled = settings.compile_blocks
    if compiled and settings.matmul != AS_LOADED and fp8.refusal(model.load_device) is None:
        log.info("WanAnimateKit: with matrix multiplications in fp8, blocks are not compiled; use fused instead.")
        compiled = False
    clone = without(static_clone(model, "compile_blocks") if compiled else model.clone())
    cast_static_clones(clone)
    if compiled:
        clone = compile_blocks(clone, settings.backend)
    options = clone.model_options["transformer_options"]
    if settings.attention != HOST_DEFAULT:
        options[OVERRIDE] = Attention(settings.attention, options.get(OVERRIDE))
    if settings.face_motion or settings.reuse != "off":
        cache = StepCache(settings.face_motion, settings.reuse)
        clone.add_wrapper_with_key(kinds.APPLY_MODEL, KEY, cache.apply_model)
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, KEY, cache.diffusion_model)
        clone.add_callback_with_key(comfy.patcher_extension.CallbacksMP.ON_CLEANUP, KEY, cache.clear)
    if settings.fused:
        fused.prepare(clone)
    if settings.fused or settings.matmul != AS_LOADED:
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, STEP, _Step(settings).diffusion_model)
    clone.set_attachments(KEY, settings)
    return clone


class _Step:
    """Around the model's ``forward``: its layers and blocks ours until it returns or raises."""

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
    """Takes an earlier acceleration off a clone, in place; what other packs put there stays."""
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
    """What a MODEL was accelerated with, or None."""
    return model.get_attachment(KEY)


def with_face_motion(model: Any) -> Any:
    """The MODEL itself if it is accelerated already, whatever its settings; else a clone that encodes faces cache."""
    return model if settings_of(model) is not None else accelerate(model, Settings())
