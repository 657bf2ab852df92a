"""A short segment, sampled by diffusers' transformer of the small weights."""

import torch
from safetensors.torch import save_file

from wan_animate.backends.diffusers import DiffusersDenoiser
from wan_animate.chain.ports import SegmentConditioning
from wan_animate.chain.segments import plan_segments


def segment(transformer, size=32, length=9, seed=0) -> SegmentConditioning:
    """Random controls of ``length`` frames of ``size`` x ``size`` pixels."""
    draw = torch.Generator().manual_seed(seed)
    latents, cells = (length - 1) // 4 + 1, size // 8

    def random(*shape):
        return torch.randn(shape, generator=draw)

    face = transformer.config.motion_encoder_size
    return SegmentConditioning(
        segment=plan_segments(length, length).segments[0],
        concat_latent=random(1, 16, latents + 1, cells, cells),
        unknown_mask=torch.ones(1, 4, latents + 1, cells, cells),
        pose_latent=random(1, 16, latents, cells, cells),
        face=random(1, 3, length, face, face).clamp(-1, 1),
    )


def sample(parts, steps=3, given=None, cfg=1.0):
    """The latent, of what :func:`wan_animate.backends.diffusers.load` gives."""
    transformer, _, scheduler = parts
    given = segment(transformer) if given is None else given
    prompt = torch.randn(1, 5, transformer.config.text_dim, generator=torch.Generator().manual_seed(1))
    denoiser = DiffusersDenoiser(transformer, scheduler, prompt, -prompt, steps=steps, cfg=cfg)
    noise = torch.randn(given.concat_latent.shape, generator=torch.Generator().manual_seed(2))
    return denoiser.denoise(given, noise, lambda *_: None).cpu()


def lora_file(transformer, folder):
    """Of rank 4 on layers that a block's fused forward calls."""
    draw, tensors = torch.Generator().manual_seed(3), {}
    layers = dict(transformer.named_modules())
    for ours, theirs in (("self_attn.q", "attn1.to_q"), ("self_attn.o", "attn1.to_out.0"), ("ffn.0", "ffn.net.0.proj")):
        out, into = layers[f"blocks.1.{theirs}"].weight.shape
        tensors[f"blocks.1.{ours}.lora_A.weight"] = torch.randn(4, into, generator=draw) * 0.1
        tensors[f"blocks.1.{ours}.lora_B.weight"] = torch.randn(out, 4, generator=draw) * 0.3
    save_file(tensors, folder / "lora.safetensors")
    return folder / "lora.safetensors"
