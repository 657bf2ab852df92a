"""ComfyUI as the engine's two ports: its VAE object as the video VAE, its MODEL and samplers as the denoiser."""

from __future__ import annotations

import weakref

import torch

from ...wan_animate.chain.conditioning import SegmentConditioning
from ...wan_animate.chain.latents import LatentMemo, with_still
from ...wan_animate.video.frames import as_unit_float
from .accelerate import with_face_motion
from .checks import check_image_features, check_model, check_prompt, check_steps, check_vae, image_width, text_width
from .vae import accelerate_vae, can_accelerate


class HostVAE:
    """The host's VAE object as the engine's video VAE. Latents are in the host's unscaled form.

    In half precision on an NVIDIA card the faster form of the same VAE is used (:mod:`.vae`), which rounds less; else
    the object as it is, bit for bit.
    """

    def __init__(self, vae):
        check_vae(vae)
        self.memo = KeptLatents(vae)
        half = vae.vae_dtype in (torch.bfloat16, torch.float16)
        on_card = half and vae.device.type == "cuda" and torch.version.hip is None
        self.accelerated = on_card and can_accelerate(vae)
        self.vae = accelerate_vae(vae) if self.accelerated else vae

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        if self.accelerated:
            return self.vae.encode(frames, still)
        return self.vae.encode(with_still(as_unit_float(frames), still))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = self.vae.decode(latent)
        return frames.reshape(-1, *frames.shape[-3:]).float().cpu()


class KeptLatents:
    """What a VAE's weights have encoded before, for as long as the host keeps them."""

    _memos: weakref.WeakKeyDictionary[torch.nn.Module, LatentMemo] = weakref.WeakKeyDictionary()

    def __init__(self, vae):
        self.memo = self._memos.setdefault(vae.first_stage_model, LatentMemo())
        self.form = f"{vae.vae_dtype}:{vae.device}:{vae.patcher.patches_uuid}:{vae.vae_output_dtype()}:"

    def get(self, key: str, make) -> torch.Tensor:
        return self.memo.get(self.form + key, make)

    def __contains__(self, key: str) -> bool:
        return self.form + key in self.memo


def with_shift(model, shift: float):
    """A clone of a flow MODEL whose noise schedule is shifted; 0 leaves the model's own (or a patch's) schedule."""
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


def restore_schedule(model) -> None:
    """Puts a flow MODEL's own noise levels back into its schedule.

    ComfyUI's dynamic patcher (seen in 0.33.0, ``ModelPatcherDynamic.restore_loaded_backups``) keeps a model's buffers
    by name and puts them back after patches are on: the levels of the schedule that was loaded before, into the one
    that a patch (a shift) has put in its place. The first sampling after a change is right, all later ones are not.
    """
    import comfy.model_sampling

    sampling = model.get_model_object("model_sampling")
    flow = comfy.model_sampling.ModelSamplingDiscreteFlow
    if isinstance(sampling, flow) and type(sampling).set_parameters is flow.set_parameters:
        sampling.set_parameters(sampling.shift, len(sampling.sigmas), sampling.multiplier)


class HostDenoiser:
    """A MODEL with prompt and sampler settings as the engine's denoiser.

    What it hands to the sampler are the conditioning values that the host's WanAnimateToVideo sets, so any MODEL that
    samples with that node (GGUF, LoRA, other packs' patches) samples here.

    Args:
        model: a Wan Animate MODEL.
        positive, negative: CONDITIONING.
        clip_vision_output: CLIP_VISION_OUTPUT of the reference image, or None.
        steps, cfg, sampler_name, scheduler: as in KSampler.
        shift: noise schedule shift, 0 keeps the model's.
        seed: for samplers that draw noise of their own; segment k uses seed + k.

    Raises:
        InputError: the MODEL is another, or prompt or image features are of another encoder than its own.
    """

    face_size = 512

    def __init__(self, model, positive, negative, clip_vision_output, steps, cfg, sampler_name, scheduler, shift, seed):
        check_model(model)
        check_prompt(positive, "positive", text_width(model))
        if cfg != 1 or model.model_options.get("disable_cfg1_optimization"):  # else the host leaves it out
            check_prompt(negative, "negative", text_width(model))
        if clip_vision_output is not None:
            check_image_features(clip_vision_output, image_width(model))
        check_steps(sampler_name, steps)
        self.model = with_face_motion(with_shift(model, shift))
        self.positive, self.negative = positive, negative
        self.clip_vision_output = clip_vision_output
        self.steps, self.cfg, self.seed = steps, cfg, seed
        self.sampler_name, self.scheduler = sampler_name, scheduler

    def conditioned(self, conditioning: SegmentConditioning):
        """(positive, negative) with one segment's values set, under the names that the host's model reads."""
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
            # one number in memory: with cfg 1 nobody looks at it, and it would be as large as the face video
            blank = {"face_video_pixels": torch.tensor(-1.0).expand(conditioning.face.shape)}
        positive = node_helpers.conditioning_set_values(self.positive, values | face)
        return positive, node_helpers.conditioning_set_values(self.negative, values | blank)

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step) -> torch.Tensor:
        import comfy.sample

        restore_schedule(self.model)
        positive, negative = self.conditioned(conditioning)
        latent = comfy.sample.fix_empty_latent_channels(self.model, torch.zeros_like(noise))
        return comfy.sample.sample(
            self.model, noise, self.steps, self.cfg, self.sampler_name, self.scheduler, positive, negative, latent,
            callback=lambda step, x0, x, total: on_step(step + 1, total, x0),
            disable_pbar=True, seed=(self.seed + conditioning.segment.index) % 2**64,
        )  # fmt: skip
