"""A chain whose networks are arithmetic: what a test of reading ahead and saving behind needs, in milliseconds.

The denoiser's latent depends on all that it is told, and the decoded frames on the latent, so that equal results mean
equal conditioning in the same order.
"""

from __future__ import annotations

from dataclasses import fields

import torch
import torch.nn.functional as F

from wan_animate.chain.control_sources import Controls
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.latents import with_still
from wan_animate.video.frames import as_unit_float


def make_job(reference: torch.Tensor, **settings) -> AnimateJob:
    """A job from settings of its own and of its controls, all by name."""
    names = [field.name for field in fields(Controls)]
    controls = Controls(**{name: settings.pop(name) for name in names if name in settings})
    return AnimateJob(reference, controls, **settings)


class PlainVAE:
    """16 channels from means over 8x8 pixels and groups of four frames; its frames are smooth."""

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        frames = with_still(as_unit_float(frames), still)
        grouped = torch.cat((frames[:1].expand(3, -1, -1, -1), frames)).movedim(-1, 0)[None]
        small = F.avg_pool3d(grouped, (4, 8, 8))
        weights = torch.linspace(-1, 1, 48).view(16, 3)
        return torch.einsum("oc,bcthw->bothw", weights, small)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        count = 4 * latent.shape[2] - 3
        video = F.interpolate(
            latent[:, :3], size=(count, 8 * latent.shape[3], 8 * latent.shape[4]), mode="trilinear", align_corners=True
        )
        return video[0].movedim(0, -1).sigmoid()


class PlainDenoiser:
    """Adds up all that it is told; ``during(segment index, step)`` is called in the middle of each step."""

    face_size, face_dtype = 16, torch.float32

    def __init__(self, steps: int = 2, during=None):
        self.steps, self.during, self.told = steps, during, []

    def denoise(self, conditioning, noise, on_step):
        self.told.append(conditioning)
        latent = noise * 0.3 + conditioning.concat_latent + conditioning.unknown_mask.mean(1, keepdim=True)
        latent[:, :, 1:] += conditioning.pose_latent
        if conditioning.face is not None:
            latent += conditioning.face.mean()
        for step in range(self.steps):
            if self.during is not None:
                self.during(conditioning.segment.index, step)
            on_step(step + 1, self.steps, None)
        return latent
