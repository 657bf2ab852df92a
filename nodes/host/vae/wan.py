"""The host's WanVAE with a faster ``encode`` and ``decode``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import comfy.ldm.wan.vae
import comfy.model_management
import torch
from einops import rearrange

from ....wan_animate.chain.latents import with_still
from ....wan_animate.log import get_logger
from . import memory
from .layers import Weights
from .network import Still, decoder, encoder, frames_in, run, whole

log = get_logger(__name__)
check = comfy.model_management.throw_exception_if_processing_interrupted


class FastWanVAE(comfy.ldm.wan.vae.WanVAE):
    """Shares the host's layers.

    Attributes:
        patcher: the host's.
        chunk_elements: elements at once; None: by free memory.
    """

    chunk_elements: int | None = None

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, T, H, W] in -1..1 -> mean [B, 16, t, H/8, W/8] of the first 4n+1 frames."""
        clips = rearrange(x, "b c t h w -> b t h w c")
        return torch.cat([self.encode_frames(clip, lambda part: part, x.device, x.dtype) for clip in clips])

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """[B, 16, t, h, w] -> [B, 3, T, 8h, 8w] in -1..1."""
        clips = []
        for latent in z:
            clip: torch.Tensor | None = None
            at, count = 0, 4 * latent.shape[1] - 3
            for part in self.decode_frames(latent):
                if clip is None:
                    clip = torch.empty((count, *part.shape[1:]), dtype=part.dtype, device=part.device)
                clip[at : at + len(part)].copy_(part)
                at += len(part)
            assert clip is not None  # a latent has at least one part
            clips.append(rearrange(clip, "t h w c -> c t h w"))
        return torch.stack(clips) if len(clips) > 1 else clips[0][None]

    def budget(self, direction: str, height: int, width: int, device: torch.device, dtype: torch.dtype) -> int:
        if self.chunk_elements is not None:
            return self.chunk_elements
        free = self.patcher.get_free_memory(device)
        # one frame at a time where not even that fits: the caller falls back on tiles
        return memory.budget_for(direction, height, width, self.dim, dtype.itemsize, free) or 1

    def stages(self, build: Callable, device: torch.device, dtype: torch.dtype) -> Any:
        """None unless the host's VAE is known."""
        try:
            return build(Weights(device, dtype), self)
        except (NotImplementedError, AttributeError) as error:
            log.info("this ComfyUI's Wan VAE is not the one known here (%s): it goes its own way", error)
            return None

    @torch.no_grad()
    def encode_frames(
        self, frames: torch.Tensor, prepare: Callable, device: torch.device, dtype: torch.dtype, still: int = 0
    ) -> torch.Tensor:
        """[T, H, W, C] on any device -> mean [1, 16, t, H/8, W/8] on ``device``.

        Args:
            prepare: maps frames to -1..1.
            still: repeats of the last frame; 0 detects repeats.
        """
        count = 1 + (len(frames) + still - 1) // 4 * 4
        frames, still = frames[:count], min(still, max(0, count - len(frames)))
        stages = self.stages(encoder, device, dtype)
        if stages is None:
            clip = prepare(with_still(frames, still).to(device)).to(dtype)
            return super().encode(rearrange(clip, "t h w c -> 1 c t h w"))
        height, width = frames.shape[1:3]
        budget = self.budget("encode", height, width, device, dtype)
        size = frames_in(budget, height, width, self.dim)
        moving, still = without_repeats(frames, still)
        source = pixels(moving, size, lambda part: prepare(part).to(dtype), device, still)
        mean = whole(run(stages, source, budget, check)).chunk(2, dim=-1)[0]
        return rearrange(mean, "t h w c -> 1 c t h w").contiguous()

    @torch.no_grad()
    def decode_frames(self, latent: torch.Tensor) -> Iterator[torch.Tensor]:
        """[16, t, h, w] -> chunks [n, 8h, 8w, C] in -1..1."""
        device, dtype = latent.device, latent.dtype
        stages = self.stages(decoder, device, dtype)
        if stages is None:
            return iter([rearrange(super().decode(latent[None]), "1 c t h w -> t h w c")])
        budget = self.budget("decode", 8 * latent.shape[2], 8 * latent.shape[3], device, dtype)
        return run(stages, [rearrange(latent, "c t h w -> t h w c").contiguous()], budget, check)


def still_tail(frames: torch.Tensor) -> int:
    """How many last frames equal the one before."""
    count = 0
    while count < len(frames) - 1 and torch.equal(frames[-2 - count], frames[-1]):
        count += 1
    return count


def without_repeats(frames: torch.Tensor, still: int) -> tuple[torch.Tensor, int]:
    """(frames, how often the last is repeated); where ``still`` is 0, repeats at the end are looked for."""
    found = 0 if still else still_tail(frames)
    return frames[: len(frames) - found], still + found


def pixels(frames: torch.Tensor, size: int, prepare: Callable, device: torch.device, still: int) -> Iterator:
    """Frames on the device, ``size`` at a time, then a :class:`Still` for repeats of the last."""
    side = torch.cuda.Stream(device) if device.type == "cuda" and frames.device.type == "cpu" else None
    for start in range(0, len(frames), size):
        part = frames[start : start + size]
        if side is not None:
            with torch.cuda.stream(side):
                part = part.to(device)
            torch.cuda.current_stream(device).wait_stream(side)
            part.record_stream(torch.cuda.current_stream(device))
        yield prepare(part.to(device))
    if still:
        yield Still(still)
