"""The host's frame interpolation and upscaling models, as the engine's ports."""

from __future__ import annotations

import hashlib
from typing import Any

import comfy.model_management
import comfy.utils
import torch
from comfy.ldm.common_dit import pad_to_patch_size

from ...wan_animate.errors import InputError

# As the host's Upscale Image (using Model): comfy_extras/nodes_upscale_model.py.
_TILE, _LEAST_TILE, _OVERLAP = 512, 128, 32


class HostInterpolator:
    """INTERP_MODEL: RIFE or FILM, as run by the host's FrameInterpolate (comfy_extras/nodes_frame_interpolation.py)."""

    def __init__(self, patcher: Any) -> None:
        self._patcher, self._at_once = patcher, 0
        self._features: tuple[int, Any] | None = None  # of a frame, and its number

    def fingerprint(self) -> str:
        return _weights(self._patcher.model)

    @torch.inference_mode()
    def between(self, first: torch.Tensor, second: torch.Tensor, number: int, times: list[float]) -> torch.Tensor:
        height, width = first.shape[:2]
        patcher, network = self._patcher, self._patcher.model
        memory = network.memory_used_forward((1, *first.shape), patcher.model_dtype())
        comfy.model_management.load_models_gpu([patcher], memory_required=memory)
        one, two = (self._prepared(frame) for frame in (first, second))
        known = self._features
        features: dict[str, Any] = {
            "img0": known[1] if known is not None and known[0] == number else network.extract_features(one),
            "img1": network.extract_features(two),
        }
        self._features = number + 1, features["img1"]
        made = self._at_times(network, one, two, times, features)
        made = made[:, :, :height, :width].to(comfy.model_management.intermediate_dtype())
        return made.movedim(1, -1).clamp(0.0, 1.0).float().cpu()

    def _at_times(
        self, network: Any, one: torch.Tensor, two: torch.Tensor, times: list[float], features: dict[str, Any]
    ) -> torch.Tensor:
        if hasattr(network, "forward_multi_timestep"):
            try:
                return network.forward_multi_timestep(one, two, times, cache=features)
            except comfy.model_management.OOM_EXCEPTION:
                self._at_once = 1
                comfy.model_management.soft_empty_cache()
        return self._batched(network, one, two, times, features)

    def _batched(
        self, network: Any, one: torch.Tensor, two: torch.Tensor, times: list[float], features: dict[str, Any]
    ) -> torch.Tensor:
        """Half as many at once where memory ends, and from then on."""
        self._at_once = self._at_once or len(times)
        steps = torch.tensor(times, device=one.device, dtype=one.dtype).reshape(-1, 1, 1, 1)
        steps = steps.expand(-1, 1, *one.shape[2:])
        made: list[torch.Tensor] = []
        done = 0
        while done < len(times):
            count = min(self._at_once, len(times) - done)
            try:
                pair = (frame.expand(count, -1, -1, -1) for frame in (one, two))
                made.append(network(*pair, timestep=steps[done : done + count], cache=features))
            except comfy.model_management.OOM_EXCEPTION:
                if count <= 1:
                    raise
                self._at_once = count // 2
                comfy.model_management.soft_empty_cache()
            else:
                done += count
        return torch.cat(made)

    def _prepared(self, frame: torch.Tensor) -> torch.Tensor:
        patcher = self._patcher
        image = frame[None].movedim(-1, 1).to(dtype=patcher.model_dtype(), device=patcher.load_device)
        align = getattr(patcher.model, "pad_align", 1)
        return pad_to_patch_size(image, (align, align), padding_mode="reflect") if align > 1 else image

    def close(self) -> None:
        self._features = None


class HostUpscaler:
    """UPSCALE_MODEL, as run by the host's ImageUpscaleWithModel."""

    def __init__(self, model: Any) -> None:
        self._model, self._tile = model, _TILE

    @property
    def scale(self) -> float:
        return float(self._model.scale)

    def fingerprint(self) -> str:
        return _weights(self._model.model)

    @torch.inference_mode()
    def upscale(self, frames: torch.Tensor) -> torch.Tensor:
        model, management = self._model, comfy.model_management
        memory = 512 * 512 * 3 * frames.element_size() * max(model.scale, 1.0) * 384.0  # the host's estimate
        memory += frames.nelement() * frames.element_size()
        management.load_models_gpu([model.patcher], memory_required=memory, force_full_load=True)
        images = frames.movedim(-1, -3).to(model.patcher.load_device)
        while True:
            try:
                made = comfy.utils.tiled_scale(
                    images,
                    lambda part: model(part.float()),
                    tile_x=self._tile,
                    tile_y=self._tile,
                    overlap=_OVERLAP,
                    upscale_amount=model.scale,
                    output_device=management.intermediate_device(),
                )
            except Exception as error:
                management.raise_non_oom(error)
                if self._tile // 2 < _LEAST_TILE:
                    raise
                self._tile //= 2
            else:
                return made.movedim(-3, -1).clamp(0.0, 1.0).to(management.intermediate_dtype()).float().cpu()

    def close(self) -> None:
        """Nothing is kept."""


def check_interpolator(model: Any) -> None:
    """Raises InputError for what the host's loader did not make."""
    if not hasattr(getattr(model, "model", None), "extract_features"):
        raise InputError("interp_model is not the host's: connect Load Frame Interpolation Model.")


def check_upscaler(model: Any) -> None:
    """Raises InputError for what the host's loader did not make."""
    if not hasattr(model, "patcher") or not hasattr(model, "scale"):
        raise InputError("upscale_model is not the host's: connect Load Upscale Model.")


def _weights(network: torch.nn.Module) -> str:
    """A hash of names and values."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
