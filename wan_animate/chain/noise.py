"""The noise that a segment starts from, drawn from seeds alone."""

from __future__ import annotations

from collections.abc import Callable

import torch


def unit_noise(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Unit noise, float32 on the CPU, as ComfyUI draws it from a seed of 64 bits."""
    generator = torch.Generator(device="cpu").manual_seed(seed % 2**64)
    return torch.randn(shape, dtype=torch.float32, generator=generator)


def shared_noise(
    seed_of: Callable[[int], int],
    index: int,
    chain_start: int,
    latents: int,
    shape: tuple[int, ...],
    references: int = 1,
) -> torch.Tensor:
    """A segment's noise, where the frames that it shares with the one before have the noise that they had there.

    Args:
        seed_of: the seed of each segment.
        index, chain_start: the segment, and the first of its chain, which shares none.
        latents: how many latent frames two segments share.
        shape: ``[1, 16, T+R, h, w]``, the reference first.
        references: R, its latent frames.
    """
    frames = shape[2] - references
    start = index - 1 if 2 * latents <= frames else chain_start  # else what is handed on was itself taken over
    noise = unit_noise(seed_of(max(start, chain_start)), shape)
    for at in range(max(start, chain_start) + 1, index + 1):
        before, noise = noise, unit_noise(seed_of(at), shape)
        noise[:, :, references : references + latents] = before[:, :, references + frames - latents :]
    return noise
