"""ComfyUI's VAE and MODEL as the engine's video VAE and denoiser."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch

from ...wan_animate.chain.latents import CachedVAE, LatentCache, with_still
from ...wan_animate.chain.ports import SegmentConditioning, StepCallback
from ...wan_animate.chain.segments import SegmentPlan
from ...wan_animate.video.frames import as_unit_float
from .accelerate import with_face_motion
from .checks import (
    check_image_features,
    check_model,
    check_negative,
    check_prompt,
    check_steps,
    check_vae,
    image_width,
    text_width,
)
from .prepared import Prepared
from .prompts import prompt_digest, prompt_of
from .vae import accelerate_vae, can_accelerate, is_accelerated, spread_vae

_latents: weakref.WeakKeyDictionary[torch.nn.Module, LatentCache] = weakref.WeakKeyDictionary()


class HostVAE:
    """A VAE object as the engine's video VAE: in half precision on an NVIDIA card the faster one (:mod:`.vae`).

    Args:
        devices: of a split MODEL: the faster one works on all of them.
    """

    def __init__(self, vae: Any, devices: Sequence[torch.device] = ()) -> None:
        check_vae(vae)
        half = vae.vae_dtype in (torch.bfloat16, torch.float16)
        on_card = half and vae.device.type == "cuda" and torch.version.hip is None
        self.accelerated = is_accelerated(vae) or (on_card and can_accelerate(vae))
        self.vae = accelerate_vae(vae) if self.accelerated else vae
        if self.accelerated and len(devices) > 1:
            self.vae = spread_vae(self.vae, devices)

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        if self.accelerated:
            return self.vae.encode(frames, still)
        return self.vae.encode(with_still(as_unit_float(frames), still))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = self.vae.decode(latent)  # [1, n, H, W, 3] or [n, H, W, 3]
        return frames.reshape(-1, *frames.shape[-3:]).float().cpu()


def latent_cache(vae: Any) -> LatentCache:
    """The latents made with a VAE's weights, kept as long as these."""
    return _latents.setdefault(vae.first_stage_model, LatentCache())


def cached_vae(vae: Any, devices: Sequence[torch.device] = ()) -> CachedVAE:
    """A VAE object as the engine's video VAE, with the latents of former jobs.

    Args:
        devices: as :class:`HostVAE`.

    Raises:
        InputError: it is not the Wan 2.1 VAE.
    """
    port = HostVAE(vae, devices)
    variant = f"{vae.vae_dtype}:{vae.device}:{vae.patcher.patches_uuid}:{vae.vae_output_dtype()}:"
    return CachedVAE(port, latent_cache(vae), variant)


def with_shift(model: Any, shift: float) -> Any:
    """A clone of a flow MODEL with a shifted noise schedule; 0 leaves the schedule as it is."""
    import comfy.model_sampling

    if shift <= 0:
        return model

    class ModelSampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    sampling = ModelSampling(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=1000)
    clone = model.clone()
    clone.add_object_patch("model_sampling", sampling)
    return clone


def restore_schedule(model: Any) -> None:
    """Sets the sigmas of a flow MODEL's schedule again.

    ComfyUI 0.33.0 (``ModelPatcherDynamic.restore_loaded_backups``) restores buffers after patching: from the second
    sampling on a shifted schedule would have the unshifted sigmas.
    """
    import comfy.model_sampling

    sampling = model.get_model_object("model_sampling")
    flow = comfy.model_sampling.ModelSamplingDiscreteFlow
    if isinstance(sampling, flow) and type(sampling).set_parameters is flow.set_parameters:
        sampling.set_parameters(sampling.shift, len(sampling.sigmas), sampling.multiplier)


class HostDenoiser:
    """A MODEL with prompt and sampler settings as the engine's denoiser.

    It sets the conditioning values that WanAnimateToVideo sets, so any MODEL that works with that node works here.

    Args:
        clip_vision_output: of the reference image, or None.
        steps, cfg, sampler_name, scheduler: as in KSampler.
        shift: of the noise schedule, 0 keeps the model's.
        seed: for samplers that draw noise; segment k uses seed + k.

    Raises:
        InputError: not Wan Animate, or prompt or image features of other encoders.
    """

    face_size, face_dtype = 512, torch.float32

    def __init__(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        clip_vision_output: Any,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        shift: float,
        seed: int,
    ) -> None:
        check_model(model)
        check_prompt(positive, "positive", text_width(model))
        # else ComfyUI ignores it
        self.uses_negative = cfg != 1 or bool(model.model_options.get("disable_cfg1_optimization"))
        if self.uses_negative:
            check_negative(negative, cfg)
            check_prompt(negative, "negative", text_width(model))
        if clip_vision_output is not None:
            check_image_features(clip_vision_output, image_width(model))
        check_steps(sampler_name, steps)
        self.passes = 1 + self.uses_negative  # a step
        self.frame_count = 0
        self.model = with_face_motion(with_shift(model, shift))
        self._prepared = Prepared(self.model)
        self.face_dtype = model.model.get_dtype_inference()  # ComfyUI rounds to it before every step
        self.positive, self.negative = positive, positive if negative is None else negative
        self.clip_vision_output = clip_vision_output
        self.steps, self.cfg, self.seed = steps, cfg, seed
        self.sampler_name, self.scheduler, self.shift = sampler_name, scheduler, shift

    def set_clip(self, plan: SegmentPlan) -> list[str] | None:
        """Tell which clip is made, for prompts that are for some of its frames.

        Returns:
            A word for each segment's prompts; None where they hold what cannot be compared.

        Raises:
            InputError: a segment has no prompt.
        """
        self.frame_count = plan.frame_count
        used = [self.positive, self.negative] if self.uses_negative else [self.positive]
        chosen = [[prompt_of(prompt, segment, self.frame_count) for prompt in used] for segment in plan]
        digests: dict[tuple[int, ...], str | None] = {}
        words = []
        for prompts in chosen:
            entries = tuple(id(entry) for prompt in prompts for entry in prompt)
            if entries not in digests:
                each = [prompt_digest(prompt) for prompt in prompts]
                digests[entries] = None if None in each else "/".join(map(str, each))
            words.append(digests[entries])
        return None if None in words else [str(word) for word in words]

    def conditioned(self, conditioning: SegmentConditioning) -> tuple[Any, Any]:
        """(positive, negative) with one segment's values."""
        import node_helpers

        values = {
            "concat_latent_image": conditioning.concat_latent,
            "concat_mask": conditioning.unknown_mask,
            "pose_video_latent": conditioning.pose_latent,
        }
        if self.clip_vision_output is not None:
            values["clip_vision_output"] = self.clip_vision_output
        face, blank = {}, {}
        if conditioning.face is not None:
            face = {"face_video_pixels": conditioning.face}
            # one number, expanded: with cfg 1 it is not used, and it would be as large as the face video
            blank = {"face_video_pixels": torch.tensor(-1.0).expand(conditioning.face.shape)}
        segment = conditioning.segment
        positive = prompt_of(self.positive, segment, self.frame_count)
        negative = prompt_of(self.negative, segment, self.frame_count) if self.uses_negative else self.negative
        positive = node_helpers.conditioning_set_values(positive, values | face)
        return positive, node_helpers.conditioning_set_values(negative, values | blank)

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        import comfy.sample

        restore_schedule(self.model)
        positive, negative = self.conditioned(conditioning)
        seed = self.seed + conditioning.segment.index if conditioning.seed is None else conditioning.seed
        latent = comfy.sample.fix_empty_latent_channels(self.model, torch.zeros_like(noise))
        with self._prepared.installed():
            return comfy.sample.sample(
                self.model, noise, self.steps, self.cfg, self.sampler_name, self.scheduler, positive, negative, latent,
                callback=lambda step, x0, x, total: on_step(step + 1, total, x0),
                disable_pbar=True, seed=seed % 2**64,
            )  # fmt: skip
