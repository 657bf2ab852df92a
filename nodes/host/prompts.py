"""CONDITIONING with a prompt for each part of a clip."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from ...wan_animate.chain.prompts import FrameRange, prompts_for
from ...wan_animate.chain.segments import Segment

FRAMES = "wan_animate_kit_frames"
"""Key of a CONDITIONING entry: the (first, last) driving frame it is for."""


def for_frames(conditioning: Any, frames: FrameRange) -> Any:
    """CONDITIONING that is for some frames of the clip only."""
    import node_helpers

    return node_helpers.conditioning_set_values(conditioning, {FRAMES: frames})


def prompt_of(conditioning: Any, segment: Segment, frame_count: int) -> Any:
    """The entries of CONDITIONING that a segment is made with.

    Raises:
        InputError: there are none for it.
    """
    ranges = [entry[1].get(FRAMES) for entry in conditioning]
    if all(frames is None for frames in ranges):
        return conditioning
    return [conditioning[at] for at in prompts_for(segment, ranges, frame_count)]


def prompt_digest(conditioning: Any) -> str | None:
    """The same for the same prompt, whatever frames it is for; None where an entry holds what cannot be compared."""
    digest = hashlib.blake2b(digest_size=12)
    try:
        for embedding, values in conditioning:
            rest = {name: values[name] for name in sorted(values) if name != FRAMES}
            digest.update(json.dumps(rest, default=_tensor_digest).encode())
            digest.update(_tensor_digest(embedding).encode())
    except TypeError:
        return None
    return digest.hexdigest()


def features_digest(output: Any) -> str | None:
    """Of what a model takes of a CLIP_VISION_OUTPUT; None where it has no such features."""
    features = getattr(output, "penultimate_hidden_states", None)
    return _tensor_digest(features) if isinstance(features, torch.Tensor) else None


def _tensor_digest(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        raise TypeError(type(value))
    numbers = value.detach().cpu().contiguous()
    data = hashlib.blake2b(numbers.reshape(-1).view(torch.uint8).numpy().data, digest_size=12).hexdigest()
    return f"{numbers.dtype}{tuple(numbers.shape)}{data}"
