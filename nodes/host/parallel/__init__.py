"""Split Animate over GPUs: one forward of a MODEL on several cards at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....wan_animate.log import get_logger
from ....wan_animate.parallel.partition import check_members
from ..checks import check_model
from ..patching import cast_static_clones, static_clone
from .replicas import KEY
from .run import Settings, Split

log = get_logger(__name__)


def devices_for(model: Any, cards: int = 0) -> tuple[list[torch.device], str]:
    """(the MODEL's own device and others of its kind, what to tell); ``cards`` in all, or fewer if there are fewer.

    Args:
        cards: 0 for all that can share the MODEL's attention heads.

    Raises:
        InputError: not Wan Animate.
    """
    import comfy.model_management

    check_model(model)
    own = model.load_device
    others = [
        device
        for device in comfy.model_management.get_all_torch_devices()
        if device != own and device.type == own.type and own.type != "cpu"
    ]
    found = [own, *others]
    found = found[: cards or model.model.diffusion_model.num_heads]
    if len(found) > 1:
        line = f"Every step is computed on {len(found)} cards: {', '.join(map(str, found))}."
    else:
        line = f"Nothing is split: this computer has one card for it ({own})." if cards != 1 else "Nothing is split."
    if len(found) > 1 and len(found) < cards:
        line += f" ({cards} were asked for.)"
    log.info("Split Animate over GPUs: %s", line)
    return found, line


def split(model: Any, devices: Sequence[torch.device], settings: Settings | None = None) -> Any:
    """A clone that is computed on ``devices``, a member each; with one device the MODEL without a split.

    Raises:
        InputError: not Wan Animate, more members than attention heads, or weights that only its own loader can load.
    """
    import comfy.patcher_extension

    check_model(model)
    check_members(len(devices), model.model.diffusion_model.num_heads)
    if len(devices) == 1:
        return without(model.clone()) if model.get_attachment(KEY) is not None else model
    # Out of the host's dynamic memory, whose weights belong to one device.
    clone = without(static_clone(model, "Split Animate over GPUs"))
    cast_static_clones(clone)
    patch = Split(tuple(devices), settings or Settings())
    kinds = comfy.patcher_extension.WrappersMP
    clone.add_wrapper_with_key(kinds.OUTER_SAMPLE, KEY, patch.outer_sample)
    clone.add_wrapper_with_key(kinds.DIFFUSION_MODEL, KEY, patch.diffusion_model)
    clone.set_attachments(KEY, patch)
    return clone


def without(clone: Any) -> Any:
    """Removes a split, in place."""
    import comfy.patcher_extension

    kinds = comfy.patcher_extension.WrappersMP
    for kind in (kinds.OUTER_SAMPLE, kinds.DIFFUSION_MODEL):
        clone.remove_wrappers_with_key(kind, KEY)
    clone.remove_attachments(KEY)
    clone.additional_models.pop(KEY, None)
    return clone


def split_of(model: Any) -> Split | None:
    return model.get_attachment(KEY)


def devices_of(model: Any) -> tuple[torch.device, ...]:
    """That a MODEL is split over; none for one card."""
    patch = split_of(model)
    return () if patch is None else patch.devices
