"""The models of a run, loaded for its first segment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from ..backends import diffusers
from ..backends.attention import choose_attention
from ..plan.costs import ACTIVATIONS, DIFFUSERS_VAE
from ..plan.measured import job_tokens
from .checks import loras, strengths
from .options import AS_RUN
from .plans import runs

if TYPE_CHECKING:
    from ..chain.job import AnimateJob
    from ..chain.ports import VideoVAE
    from ..parallel.processes import Group
    from .options import RunOptions, Sampling
    from .shared import Shared


def load_ports(
    options: RunOptions,
    saved: torch.Tensor | None,
    job: AnimateJob,
    ranges: list[tuple[int, int]],
    sampling: Sampling,
    shared: Shared,
    weights: str,
    group: Group | None = None,
) -> tuple[diffusers.DiffusersDenoiser, VideoVAE]:
    """Denoiser and VAE of a job.

    Args:
        saved: the embedding of ``--prompt-file``.
        ranges: frames of the other prompts.
        weights: hashes of all their files (:func:`.recording.weights_key`).
        group: the processes that compute each step together.

    Raises:
        InputError: a part is missing, damaged, or of another model.
    """
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    encode = shared.weights.prompt  # the text encoder is freed before the transformer is loaded
    prompt = encode(options.models, options.prompt, options.device, weights) if saved is None else saved
    texts = [encode(options.models, text, options.device, weights) for _, _, text in options.prompts()]
    negative = encode(options.models, sampling.negative, options.device, weights) if sampling.cfg > 1 else None
    image = diffusers.encode_image(options.models, job.reference_pixels()[0], options.device)
    count, (width, height) = job_tokens(job), job.controls.size
    needed = max(ACTIVATIONS * count, DIFFUSERS_VAE * width * height)
    added = (*([(sampling.lora, 1.0)] if sampling.lora else []), *loras(options))
    # beside the segments: whoever goes on with the clip takes the same kernel
    choices = (shared.folder or runs().path.parent) / "attention.json"
    transformer: Any
    if group is None:
        transformer, vae, scheduler = shared.weights.model(
            options.models,
            options.shift,
            dtype,
            options.device,
            options.offload,
            needed,
            added,
            weights,
            options.linears,
        )
        if transformer.device.type == "cuda":
            choose_attention(transformer, count, choices)
    else:
        from ..backends.several import SplitTransformer

        transformer = SplitTransformer(
            group, folder=os.path.abspath(options.models), dtype=dtype,
            loras=[(os.path.abspath(path), strength) for path, strength in added], shard=options.shard_weights,
            linears=options.linears,
        )  # fmt: skip
        transformer.choose_attention(count, choices)
        vae, scheduler = (
            diffusers.load_vae(options.models, options.device),
            diffusers.flow_scheduler("unipc", options.shift),
        )
    if sampling.solver != AS_RUN.solver:
        scheduler = diffusers.flow_scheduler(sampling.solver, options.shift)
    given = strengths(options)
    denoiser = diffusers.DiffusersDenoiser(
        transformer, scheduler, prompt, negative, image, options.steps, sampling.cfg,
        pose_strength=given["pose_strength"], face_strength=given["face_strength"],
    )  # fmt: skip
    denoiser.set_prompts(list(zip(ranges, texts)), len(job.controls))
    return denoiser, vae
