"""The Wan 2.1 VAE as stages, each of layers with one frame size.

A stage takes as many frames as fit an element budget; the host's two are too few where frames are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .layers import Attention, Down, First, Head, Pointwise, Residual, Up, Weights


@dataclass(frozen=True)
class Still:
    """The last frame repeats ``count`` more times."""

    count: int


class Stage:
    """Layers at one frame size: an :class:`Up` only first, a :class:`Down` only last.

    Attributes:
        channels: most of any layer, per input pixel.
    """

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        upscale = layers[0].upscale if isinstance(layers[0], Up) else 1
        self.channels = max(layer.channels for layer in layers) * upscale
        self.past_frames = sum(layer.past_frames for layer in layers)
        self.halves_time = isinstance(layers[-1], Down) and layers[-1].time is not None

    def run(self, stream: Iterable, budget: int, check: Callable[[], None]) -> Iterator:
        seen = 0
        last: torch.Tensor | None = None
        for chunk in chunks(stream, budget, self.channels):
            if isinstance(chunk, Still):
                # once every layer has seen nothing but the repeated frame, its output repeats too
                settle = self.past_frames + (self.past_frames + seen - 1) % 2 * self.halves_time
                settle = min(settle, chunk.count)
                again = [last.expand(settle, *last.shape[1:])] if settle and last is not None else []
                for part in chunks(again, budget, self.channels):
                    yield from self._layers([part.contiguous()], check)
                if chunk.count > settle:
                    yield Still((chunk.count - settle) // (2 if self.halves_time else 1))
                return
            seen, last = seen + len(chunk), chunk[-1:].clone()
            box = [chunk]
            del chunk
            yield from self._layers(box, check)

    def _layers(self, box: list[torch.Tensor], check: Callable[[], None]) -> Iterator[torch.Tensor]:
        """Empties ``box``, so that frames are freed when consumed."""
        x = box.pop()
        for layer in self.layers:
            check()
            x = layer(x)
            if not len(x):
                return
        box.append(x)
        del x
        yield box.pop()


def chunks(stream: Iterable, budget: int, channels: int) -> Iterator:
    """Frames [n, H, W, C] joined or split to ``n * H * W * channels <= budget``, at least one."""
    held: list[torch.Tensor] = []
    count = 0
    for part in stream:
        if isinstance(part, Still):
            if held:
                yield join(held)
            yield part
            return
        size = frames_in(budget, part.shape[1], part.shape[2], channels)
        held.append(part)
        count += len(part)
        del part
        while count >= size:
            box = [join(held)]
            count -= size
            if count:
                held.append(box[0][size:])
                box[0] = box[0][:size]
            yield box.pop()
    if held:
        yield join(held)


def frames_in(budget: int, height: int, width: int, channels: int) -> int:
    return max(1, budget // (height * width * channels))


def join(parts: list[torch.Tensor]) -> torch.Tensor:
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    parts.clear()
    return whole


def run(stages: list[Stage], stream: Iterable, budget: int, check: Callable[[], None]) -> Iterator:
    for stage in stages:
        stream = stage.run(stream, budget, check)
    return iter(stream)


def whole(stream: Iterable) -> torch.Tensor:
    """All frames, those that repeat the last one too."""
    parts: list[torch.Tensor] = []
    for part in stream:
        parts.append(parts[-1][-1:].expand(part.count, -1, -1, -1) if isinstance(part, Still) else part)
    return torch.cat(parts)


def layer(weights: Weights, module: Any) -> Any:
    """Raises NotImplementedError for an unknown module."""
    import comfy.ldm.wan.vae as host

    if isinstance(module, host.ResidualBlock):
        return Residual(weights, module)
    if isinstance(module, host.AttentionBlock):
        return Attention(weights, module)
    if isinstance(module, host.Resample) and module.mode.startswith("down"):
        return Down(weights, module)
    if isinstance(module, host.Resample) and module.mode.startswith("up"):
        return Up(weights, module)
    raise NotImplementedError(f"{type(module).__name__} in the VAE")


def encoder(weights: Weights, vae: Any) -> list[Stage]:
    """Pixels [n, H, W, 3] in -1..1 -> mean and log-variance [m, h, w, 2 * 16]."""
    part = vae.encoder
    layers = [First(weights, part.conv1), *(layer(weights, m) for m in [*part.downsamples, *part.middle])]
    return stages([*layers, Head(weights, part.head), Pointwise(weights, vae.conv1)])


def decoder(weights: Weights, vae: Any) -> list[Stage]:
    """Latent [n, h, w, 16] -> pixels [m, H, W, 3] in -1..1."""
    part = vae.decoder
    layers = [Pointwise(weights, vae.conv2), First(weights, part.conv1)]
    layers += [layer(weights, m) for m in [*part.middle, *part.upsamples]]
    return stages([*layers, Head(weights, part.head)])


def stages(layers: list[Any]) -> list[Stage]:
    cut: list[list[Any]] = [[]]
    for number, current in enumerate(layers):
        if isinstance(current, Up) or (number and isinstance(layers[number - 1], Down)):
            cut.append([])
        cut[-1].append(current)
    return [Stage(part) for part in cut]
