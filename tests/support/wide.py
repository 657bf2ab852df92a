"""A small Animate MODEL with four attention heads of random weights, and samplings of any size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from demo.small_transformer import random_weights
from wan_animate.weights.transformer import transformer_shapes

HEADS, DIM, FFN, BLOCKS = 4, 512, 256, 5


def write(path: Path) -> Path:
    generator = torch.Generator().manual_seed(2)
    weights = random_weights()
    for name, shape in transformer_shapes(DIM, FFN, BLOCKS).items():
        if tuple(weights[name].shape) == tuple(shape):
            continue
        if "norm" in name and name.endswith("weight") or name.startswith("img_emb.proj.") and len(shape) == 1:
            weights[name] = torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
        elif name.endswith("bias"):
            weights[name] = torch.randn(shape, generator=generator) * 0.1
        else:
            fan = shape[-1] if "modulation" in name or "tokens" in name else math.prod(shape[1:])
            weights[name] = torch.randn(shape, generator=generator) / math.sqrt(fan)
    save_file({name: one.to(torch.float32).contiguous() for name, one in weights.items()}, path)
    return path


def conditioning(frames: int, rows: int, columns: int, face: bool = False) -> tuple[Any, Any]:
    """(positive, negative) for a latent of ``frames`` and so many rows and columns of tokens."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    size = 2 * rows, 2 * columns
    values: dict[str, Any] = {
        "concat_latent_image": random(1, 16, frames, *size),
        "concat_mask": torch.ones(1, 4, frames, *size),
        "pose_video_latent": random(1, 16, frames - 1, *size),
    }
    blank = dict(values)
    if face:
        values["face_video_pixels"] = random(1, 3, 1, 512, 512).clamp(-1, 1)
        blank["face_video_pixels"] = torch.full((1, 3, 1, 512, 512), -1.0)
    return [[random(1, 512, 4096) * 0.1, values]], [[random(1, 512, 4096) * 0.1, blank]]


def sample(
    model: Any, prompts: tuple[Any, Any], steps: int = 1, cfg: float = 1.0, callback: Any = None
) -> torch.Tensor:
    """What the host's KSampler makes."""
    import comfy.sample

    shape = prompts[0][0][1]["concat_latent_image"].shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    return comfy.sample.sample(
        model, noise, steps, cfg, "euler", "simple", *prompts, torch.zeros_like(noise),
        disable_pbar=True, seed=1,
    )  # fmt: skip
