"""A few steps of the host's own sampler on a small Animate MODEL."""

from __future__ import annotations

import torch

WIDTH, HEIGHT, STEPS = 64, 48, 2


def conditioning(face: bool = True, clip_vision: bool = False):
    """(positive, negative) with what the model can be told: two prompts, a face and a blank one, CLIP tokens, a pose.

    One crop is the whole face video: each takes the motion encoder seconds on a CPU.
    """
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    latent = (1, 16, 3, HEIGHT // 8, WIDTH // 8)
    values = {
        "concat_latent_image": random(*latent),
        "concat_mask": torch.ones(1, 4, *latent[2:]),
        "pose_video_latent": random(1, 16, 2, *latent[3:]),
    }
    if clip_vision:
        import comfy.clip_vision

        values["clip_vision_output"] = comfy.clip_vision.Output()
        values["clip_vision_output"]["penultimate_hidden_states"] = random(1, 257, 1280)
    crops = random(1, 3, 1, 512, 512).clamp(-1, 1)
    seen = {"face_video_pixels": crops} if face else {}
    blank = {"face_video_pixels": torch.full_like(crops, -1.0)} if face else {}
    return [[random(1, 512, 4096) * 0.1, values | seen]], [[random(1, 512, 4096) * 0.1, values | blank]]


def sample(model, conditioning, steps: int = STEPS, cfg: float = 1.0, callback=None) -> torch.Tensor:
    """What the host's KSampler makes, without its progress bar."""
    import comfy.sample

    noise = torch.randn(1, 16, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(5))
    return comfy.sample.sample(
        model, noise, steps, cfg, "euler", "simple", *conditioning, torch.zeros_like(noise), callback=callback,
        disable_pbar=True, seed=1,
    )  # fmt: skip


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative L2 distance."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())
