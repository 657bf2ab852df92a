"""The host's VAE object, with chunked transfers, tiled where memory is short."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import comfy.model_management
import comfy.sd
import torch

from ....wan_animate.chain.latents import with_still
from ....wan_animate.log import get_logger
from ....wan_animate.video.frames import as_unit_float
from . import memory, spread
from .transfer import drain

log = get_logger(__name__)


class AcceleratedVAE(comfy.sd.VAE):
    """
    Attributes:
        devices: its own and others, which take a part of each frame of a video (:mod:`.spread`); or none.
    """

    devices: tuple[torch.device, ...] = ()

    def encode(self, pixel_samples: torch.Tensor, still: int = 0) -> torch.Tensor:
        """[T, H, W, C] or [B, T, H, W, C], uint8 or 0..1 -> [B, 16, t, H/8, W/8]; ``still`` repeats the last frame."""
        self.throw_exception_if_invalid()
        pixels = self.vae_encode_crop_pixels(pixel_samples)
        clips = pixels[None] if pixels.ndim == 4 else pixels
        height, width = clips.shape[2:4]
        if len(self.devices) > 1 and len(clips) == 1:
            with self._device():
                found = spread.encode(self, clips[0], still)
            if found is not None:
                return found.to(self.output_device).to(self.vae_output_dtype())
        made, tile = self._whole("encode", height, width, lambda: self._encode_whole(clips, still))
        if made is None:
            clips = torch.stack([with_still(as_unit_float(clip), still) for clip in clips])
            made = self.encode_tiled(
                clips if pixel_samples.ndim == 5 else clips[0], tile_x=tile, tile_y=tile, overlap=tile // 4
            )
        return made

    def decode(self, samples_in: torch.Tensor, vae_options: dict | None = None) -> torch.Tensor:
        """[B, 16, t, h, w] -> [B, T, 8h, 8w, C] in 0..1."""
        self.throw_exception_if_invalid()
        height, width = 8 * samples_in.shape[-2], 8 * samples_in.shape[-1]
        if len(self.devices) > 1:
            with self._device():
                found = spread.decode(self, samples_in)
            if found is not None:
                return found
        made, tile = self._whole("decode", height, width, lambda: self.decode_whole(samples_in))
        if made is None:
            made = self.decode_tiled(samples_in, tile_x=tile // 8, tile_y=tile // 8, overlap=tile // 32)
        return made

    def _whole(
        self, direction: str, height: int, width: int, work: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor | None, int]:
        """(result, 0), or (None, tile size) if whole frames do not fit."""
        size = (direction, height, width, self.first_stage_model.dim, self.vae_dtype.itemsize)
        with self._device():
            need = memory.needed(*size)
            comfy.model_management.load_models_gpu(
                [self.patcher], memory_required=need, force_full_load=self.disable_offload
            )
            free = self.patcher.get_free_memory(self.device)
            if memory.budget_for(*size, free) is not None:
                try:
                    return work(), 0
                except Exception as error:
                    comfy.model_management.raise_non_oom(error)
                    free = 0  # the attempt's tensors are freed with the exception
        if free == 0:
            comfy.model_management.soft_empty_cache()
            free = min(self.patcher.get_free_memory(self.device), memory.needed(*size, 1)) // 2
        tile = memory.tile_for(*size, free)
        log.info(
            "the Wan VAE's %s of %dx%d needs %.1f GB at least and %.1f GB are free: in tiles of %d pixels",
            direction, width, height, memory.needed(*size, 1) / 1e9, free / 1e9, tile,
        )  # fmt: skip
        return None, tile

    def _device(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(torch.no_grad())
        stack.enter_context(comfy.model_management.cuda_device_context(self.device))
        return stack

    def _encode_whole(self, clips: torch.Tensor, still: int) -> torch.Tensor:
        def prepare(part: torch.Tensor) -> torch.Tensor:
            return self.process_input(as_unit_float(part))

        made = [
            self.first_stage_model.encode_frames(clip, prepare, self.device, self.vae_dtype, still) for clip in clips
        ]
        return torch.cat(made).to(self.output_device).to(self.vae_output_dtype())

    def decode_whole(self, samples: torch.Tensor) -> torch.Tensor:
        """Copies finished frames off the device during computation."""
        dtype = self.vae_output_dtype()
        out: torch.Tensor | None = None
        for number, latent in enumerate(samples):
            made = self.first_stage_model.decode_frames(latent.to(self.device, self.vae_dtype))
            parts = (self.process_output(part.to(dtype, copy=True)) for part in made)
            first = next(parts)  # a latent has at least one part
            if out is None:
                shape = (len(samples), 4 * samples.shape[2] - 3, *first.shape[1:])
                out = torch.empty(shape, dtype=dtype, device=self.output_device)
            drain(itertools.chain([first], parts), out[number])
        assert out is not None  # a batch is not empty
        return out
