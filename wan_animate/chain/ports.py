"""What the engine asks of a host: a video VAE and a denoiser (``nodes/host/ports.py``, ``backends/diffusers.py``).

Latents ``[1, 16, T, H/8, W/8]`` are only joined along ``T``, so each host keeps its own scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from .segments import Segment

StepCallback = Callable[[int, int, "torch.Tensor | None"], None]
"""``on_step(done, total, x0)`` after each sampling step; ``x0`` is the current guess of the clean latent (reference
included) or None. May raise to stop."""


@dataclass
class SegmentConditioning:
    """The transformer's inputs for one segment, without noise, prompt and image features.

    Attributes:
        segment: its frames.
        concat_latent: ``[1, 16, T+R, h, w]``: R reference latents, latent of the conditioning pixels.
        unknown_mask: ``[1, 4, T+R, h, w]``, 1 = to be made, 0 = known.
        pose_latent: ``[1, 16, T+R-1, h, w]``, of latent frame 1 on.
        face: ``[1, 3, L+4(R-1), S, S]`` in -1..1, of latent frame 1 on, or None without a face video.
        seed: for samplers that draw noise of their own; None leaves it to the denoiser.
    """

    segment: Segment
    concat_latent: torch.Tensor
    unknown_mask: torch.Tensor
    pose_latent: torch.Tensor
    face: torch.Tensor | None
    seed: int | None = None

    @property
    def known_mask(self) -> torch.Tensor:
        """As the transformer takes it: 1 = known."""
        return 1.0 - self.unknown_mask

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return tuple(self.concat_latent.shape)

    @property
    def reference_latents(self) -> int:
        """R: one latent frame for each picture of the character."""
        return self.concat_latent.shape[2] - self.segment.latent_frames


class VideoVAE(Protocol):
    """Frames to latent and back: 4x in time (first frame alone), 8x in space."""

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        """``[n, H, W, 3]`` -> ``[1, 16, k+1, H/8, W/8]``, where n + still = 4k+1.

        Args:
            frames: float32 in 0..1, or uint8 (divided by 255).
            still: how often the last frame is repeated.
        """

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """``[1, 16, k+1, h, w]`` -> ``[4k+1, 8h, 8w, 3]`` float32 in 0..1 on the CPU."""


class Denoiser(Protocol):
    """The transformer with its sampler, prompt and settings."""

    steps: int
    face_size: int
    """Width and height of the face crops that the motion encoder takes (512 for the published model)."""
    face_dtype: torch.dtype
    """What they are computed in: half as much memory in half precision."""

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        """Noise ``[1, 16, T+R, h, w]`` (float32, unit variance) -> clean latent of that shape, reference first."""
