"""Pose and Face Strength: what pose and face add to the hidden states of a MODEL, scaled or left out by steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from ...wan_animate.chain.strength import AS_TRAINED, Strength
from ...wan_animate.swapped import swapped
from .checks import check_model

KEY = "wan_animate_kit_strength"
POSE, FACE = "pose_latents", "face_pixel_values"  # the transformer's inputs


def with_strength(model: Any, pose: Strength, face: Strength) -> Any:
    """A clone of a Wan Animate MODEL with these strengths, in place of earlier ones.

    At strength 0 and outside of its part of the sampling a control does not reach the model: neither the pose embedding
    nor motion encoder, face encoder and face blocks are computed.

    Raises:
        InputError: another model, or numbers out of range.
    """
    import comfy.patcher_extension

    check_model(model)
    check("pose", pose)
    check("face", face)
    kinds = comfy.patcher_extension.WrappersMP
    clone = model.clone()
    for kind in (kinds.APPLY_MODEL, kinds.DIFFUSION_MODEL):
        clone.remove_wrappers_with_key(kind, KEY)
    patch = StrengthPatch(pose, face)
    if (pose, face) != (AS_TRAINED, AS_TRAINED):
        clone.add_wrapper_with_key(kinds.APPLY_MODEL, KEY, patch.apply_model)
    if pose.scales or face.scales:
        clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, KEY, patch.diffusion_model)
    return clone


def check(name: str, strength: Strength) -> None:
    """Raises InputError for numbers of "pose" or "face" out of range, in the node's names."""
    strength.check(f"{name}_strength", f"{name}_start_percent to {name}_end_percent")


class StrengthPatch:
    def __init__(self, pose: Strength, face: Strength) -> None:
        self.pose, self.face = pose, face

    def apply_model(self, executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Drops a control in steps in which it does not act, before it is moved to the device; ``t`` is sigma."""
        sigma_at = executor.class_obj.model_sampling.percent_to_sigma
        for name, strength in ((POSE, self.pose), (FACE, self.face)):
            if name in kwargs and not strength.acts(t[0], sigma_at):
                del kwargs[name]
        return executor(x, t, *args, **kwargs)

    # If the host compiles the whole model, this is not traced, but what it calls is.
    @torch.compiler.disable(recursive=False)
    def diffusion_model(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Scales within ``forward_orig``, inside every other wrapper: what is kept between steps is not scaled."""
        module = executor.class_obj
        plain = module.forward_orig

        @torch.compiler.disable(recursive=False)
        def forward_orig(*args: Any, **kwargs: Any) -> torch.Tensor:
            scaled = [(module.pose_patch_embedding, self.pose)]
            scaled += [(block, self.face) for block in module.face_adapter.fuser_blocks]
            with ExitStack() as stack:
                for part, strength in scaled:
                    if strength.scales:
                        stack.enter_context(swapped(part, "forward", _times(strength.value, part.forward)))
                return plain(*args, **kwargs)

        with swapped(module, "forward_orig", forward_orig):
            return executor(x, *args, **kwargs)


def _times(factor: float, forward: Callable) -> Callable:
    def scaled(*args: Any, **kwargs: Any) -> torch.Tensor:
        return forward(*args, **kwargs) * factor

    return scaled
