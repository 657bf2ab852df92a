"""A drawn pose that moves, and when a clip shows it."""

from __future__ import annotations

import torch


def moving_pose(length: int = 13, height: int = 32, width: int = 96) -> torch.Tensor:
    """A white square that crosses black frames ``[length, height, width, 3]``, a step with every latent frame."""
    frames = torch.zeros(length, height, width, 3)
    for at in range(length):
        left = 24 * ((at + 3) // 4)
        frames[at, :, left : left + 24] = 1.0
    return frames


def shift_of(clip: torch.Tensor, pose: torch.Tensor) -> int:
    """How many frames later (negative: earlier) than in the pose its square shows in a clip; the best fit."""

    def changes(frames: torch.Tensor) -> torch.Tensor:
        grey = frames.mean(3)
        return (grey - grey.mean(0)).flatten(1)

    there, wanted = changes(clip), changes(pose)

    def fit(shift: int) -> float:
        kept = slice(max(shift, 0), len(clip) + min(shift, 0))
        source = slice(max(-shift, 0), len(clip) + min(-shift, 0))
        return float(torch.nn.functional.cosine_similarity(there[kept].detach(), wanted[source]).mean())

    return max(range(-8, 9, 4), key=fit)
