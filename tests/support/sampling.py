"""A small Animate MODEL sampled with the host's own sampler."""

from __future__ import annotations

import torch


def sample(model, steps: int = 1, cfg: float = 1.0, sampler: str = "euler", **more) -> torch.Tensor:
    """The latent after sampling on fixed random conditions, without a face (its encoder takes seconds a picture on a
    CPU). ``more`` goes to ``comfy.sample.sample``."""
    import comfy.sample

    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    noise = random(1, 16, 3, 8, 8)
    conditions = {
        "concat_latent_image": random(1, 16, 3, 8, 8),
        "concat_mask": torch.ones(1, 4, 3, 8, 8),
        "pose_video_latent": random(1, 16, 2, 8, 8),
    }
    prompt = [[random(1, 512, 4096) * 0.1, conditions]]
    latent = more.pop("latent", torch.zeros_like(noise))
    if more.get("disable_noise"):
        noise = torch.zeros_like(noise)
    return comfy.sample.sample(
        model, noise, steps, cfg, sampler, "simple", prompt, prompt, latent, disable_pbar=True, seed=1, **more
    )
