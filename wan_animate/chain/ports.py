"""The two ports between the engine and whatever runs the networks: a video VAE and a denoiser.

ComfyUI and diffusers are adapters to them (``nodes/host/`` and ``wan_animate/backends/``). A latent is opaque to the
engine: it is shaped ``[1, 16, T, H/8, W/8]`` and only ever joined along ``T``, so each adapter keeps its own scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from .conditioning import SegmentConditioning

StepCallback = Callable[[int, int, "torch.Tensor | None"], None]
"""``on_step(done, total, x0)``: after each sampling step, with the current guess of the clean latent (the adapter's own
scaling, reference frame included) or None. May raise to stop the work."""


class VideoVAE(Protocol):
    """Frames to latent and back: 4x in time (first frame alone), 8x in space.

    One with an attribute ``memo`` (:class:`.latents.LatentMemo`) does not encode again what is remembered there.
    """

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        """``[n, H, W, 3]`` -> ``[1, 16, k+1, H/8, W/8]``, where n + still = 4k+1.

        Args:
            frames: float32 in 0..1, or uint8 (a quarter of the memory), which is divided by 255.
            still: how many times more the last frame is shown.
        """

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """``[1, 16, k+1, h, w]`` -> ``[4k+1, 8h, 8w, 3]`` float32 in 0..1 on the CPU."""


class Denoiser(Protocol):
    """The transformer with its sampler, prompt and settings."""

    steps: int
    face_size: int
    """Sides of the face crops that the motion encoder takes, in pixels (512 for the published model)."""

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        """Noise ``[1, 16, T+1, h, w]`` (float32, unit variance) -> clean latent of that shape, reference first."""
