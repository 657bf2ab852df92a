"""A Wan Animate MODEL whose transformer blocks live in host memory: the work behind Offload Animate Blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ....wan_animate.errors import InputError
from ..patching import cast_static_clones, static_clone
from .block_offloader import BlockOffloader, units_of
from .patcher import KEY, attach, offloaded
from .plan import Sizes

HOW = ("fit", "blocks")


@dataclass(frozen=True)
class Settings:
    """What Offload Animate Blocks is asked for.

    Attributes:
        how: "blocks": ``blocks`` of them; "fit": as many as it takes to stay within ``gigabytes``.
        blocks: how many of the transformer's blocks are copied in every step.
        gigabytes: what torch may have allocated on the card while sampling, in 10**9 bytes.
        locked: lock the copied blocks' host memory, so that copies run beside computing.
    """

    how: str = "fit"
    blocks: int = 40
    gigabytes: float = 12.0
    locked: bool = True


def offload(model, settings: Settings):
    """A clone of a Wan Animate MODEL with its blocks offloaded; settings of an earlier call are replaced.

    Raises:
        InputError: not a Wan Animate model, or one whose weights only its own loader can move.
    """
    import comfy.patcher_extension

    from ..checks import check_model

    check_model(model)
    if settings.how not in HOW:
        raise InputError(f"how is {settings.how!r}, but it must be one of: {', '.join(HOW)}.")
    measured = model.get_attachment(KEY).activations if settings_of(model) is not None else None
    # the host's dynamic memory moves weights one by one by itself
    clone = without(static_clone(model, "Offload Animate Blocks"))
    cast_static_clones(clone)
    _check_weights(clone)
    blocks, fusers = units_of(clone.model.diffusion_model)
    after = {unit.index: unit.size() for unit in fusers}
    sizes = Sizes(
        tuple(unit.size() for unit in blocks),
        tuple(after.get(unit.index, 0) for unit in blocks),
        max(0, clone.model_size() - sum(unit.size() for unit in (*blocks, *fusers))),
    )
    clone.__class__ = offloaded(type(clone))
    clone.offload_device = torch.device("cpu")
    clone.patches_uuid = _new_uuid()  # a MODEL that is loaded as a whole is loaded anew, not taken for this one
    attach(clone, BlockOffloader(settings, sizes, measured), comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL)
    return clone


def without(clone):
    """Takes an earlier offload off a clone, in place."""
    import comfy.patcher_extension

    if settings_of(clone) is not None:
        clone.remove_wrappers_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, KEY)
        clone.remove_attachments(KEY)
        clone.__class__ = type(clone).plain_class
        clone.size = 0  # the host counts again
        clone.patches_uuid = _new_uuid()
    return clone


def settings_of(model) -> Settings | None:
    """What a MODEL was offloaded with, or None."""
    streamed = model.get_attachment(KEY)
    return None if streamed is None else streamed.settings


def _check_weights(model) -> None:
    blocks, fusers = units_of(model.model.diffusion_model)
    plain = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
    for unit in (*blocks, *fusers):
        for (_, name), tensor in zip(unit.places, unit.tensors()):
            if type(tensor) not in plain and not hasattr(tensor, "__tensor_flatten__"):
                raise InputError(
                    f"block {unit.index} of this model holds a {name} of type {type(tensor).__name__}, which only its "
                    "own loader can move: offload with that pack's node, or load a bf16 or fp8 form."
                )


def _new_uuid():
    import uuid

    return uuid.uuid4()
