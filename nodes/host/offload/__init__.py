"""Offload Animate Blocks: transformer blocks in host memory."""

from __future__ import annotations

import uuid
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ..checks import check_model
from ..patching import cast_static_clones, static_clone
from .block_offloader import BlockOffloader, modules_of
from .patcher import KEY, attach, offloaded
from .plan import HOW, Settings, Sizes


def offload(model: Any, settings: Settings) -> Any:
    """A clone with offloaded blocks.

    Raises:
        InputError: not Wan Animate, or weights that only its own loader can move.
    """
    import comfy.patcher_extension

    check_model(model)
    if settings.how not in HOW:
        raise InputError(f"how is {settings.how!r}, but it must be one of: {', '.join(HOW)}.")
    measured = model.get_attachment(KEY).activations if settings_of(model) is not None else None
    # Out of the host's dynamic memory, which moves weights by itself.
    clone = without(static_clone(model, "Offload Animate Blocks"))
    cast_static_clones(clone)
    _check_weights(clone)
    blocks, fusers = modules_of(clone.model.diffusion_model)
    after = {part.index: part.size() for part in fusers}
    sizes = Sizes(
        tuple(part.size() for part in blocks),
        tuple(after.get(part.index, 0) for part in blocks),
        max(0, clone.model_size() - sum(part.size() for part in (*blocks, *fusers))),
    )
    plain: type = type(clone)
    clone.__class__ = offloaded(plain)
    clone.offload_device = torch.device("cpu")
    clone.patches_uuid = uuid.uuid4()  # so that the host does not take a loaded whole MODEL for this one
    attach(clone, BlockOffloader(settings, sizes, measured), comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL)
    return clone


def without(clone: Any) -> Any:
    """Removes an earlier offload, in place."""
    import comfy.patcher_extension

    if settings_of(clone) is not None:
        clone.remove_wrappers_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, KEY)
        clone.remove_attachments(KEY)
        clone.__class__ = type(clone).plain_class
        clone.size = 0  # the host counts again
        clone.patches_uuid = uuid.uuid4()
    return clone


def settings_of(model: Any) -> Settings | None:
    offloader = model.get_attachment(KEY)
    return None if offloader is None else offloader.settings


def _check_weights(model: Any) -> None:
    blocks, fusers = modules_of(model.model.diffusion_model)
    plain = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    for part in (*blocks, *fusers):
        for (_, name), tensor in zip(part.places, part.tensors()):
            if type(tensor) not in plain and not hasattr(tensor, "__tensor_flatten__"):
                raise InputError(
                    f"block {part.index} of this model holds a {name} of type {type(tensor).__name__}, which only its "
                    "own loader can move: offload with that pack's node, or load a bf16 or fp8 form."
                )
