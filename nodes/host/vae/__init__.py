"""Accelerate Video VAE: a copy of the host's VAE object with shared weights."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch

from ....wan_animate.errors import InputError
from ....wan_animate.kernels import vae as kernels
from . import memory


def accelerate_vae(vae: Any) -> Any:
    """A copy that encodes and decodes faster.

    Raises:
        InputError: not the Wan 2.1 VAE.
    """
    if is_accelerated(vae):
        return vae
    if not can_accelerate(vae):
        found = type(getattr(vae, "first_stage_model", vae)).__name__
        raise InputError(
            f"the vae input holds {found}, but Accelerate Video VAE knows the Wan 2.1 VAE only: load "
            "wan_2.1_vae.safetensors, or leave this node out."
        )
    kernels.prepare(vae.first_stage_model.dim, vae.vae_dtype, vae.device)
    fast_network, fast_vae = _classes()
    clone, network = copy.copy(vae), copy.copy(vae.first_stage_model)
    network.__class__ = fast_network
    network.patcher = vae.patcher
    clone.__class__, clone.first_stage_model = fast_vae, network
    clone.memory_used_encode = lambda shape, dtype: memory.needed(
        "encode", shape[3], shape[4], network.dim, dtype.itemsize
    )
    clone.memory_used_decode = lambda shape, dtype: memory.needed(
        "decode", 8 * shape[3], 8 * shape[4], network.dim, dtype.itemsize
    )
    return clone


def spread_vae(vae: Any, devices: Sequence[torch.device]) -> Any:
    """A copy of an accelerated VAE object whose work on a video is shared by its own device and ``devices``."""
    others = list(devices)
    if vae.device in others:
        others.remove(vae.device)
    clone = copy.copy(vae)
    clone.devices = (vae.device, *others)
    return clone


def prepare_for(model: Any) -> None:
    """Starts compiling the VAE's kernels early."""
    import comfy.model_management as host

    if model.load_device.type == "cuda":
        choices = [torch.bfloat16, torch.float16, torch.float32]
        kernels.prepare(96, host.vae_dtype(host.vae_device(), choices), host.vae_device())


def is_accelerated(vae: Any) -> bool:
    return hasattr(vae, "decode_whole")


def can_accelerate(vae: Any) -> bool:
    import comfy.ldm.wan.vae
    import comfy.sd

    return type(vae) is comfy.sd.VAE and type(vae.first_stage_model) is comfy.ldm.wan.vae.WanVAE


@functools.cache
def _classes() -> tuple[type, type]:
    """Imported late: they derive from the host's."""
    from .host_object import AcceleratedVAE
    from .wan import FastWanVAE

    return FastWanVAE, AcceleratedVAE
