"""Small untrained weights in the layout of RIFE 4.25 and of Real-ESRGAN's compact network, for the host's loaders."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

INTERPOLATION, UPSCALING = "small_rife.safetensors", "small_upscale_{}x.safetensors"
_BLOCKS = 5


def _conv(
    out: dict[str, torch.Tensor], name: str, shape: tuple[int, int, int, int], rng: torch.Generator, bias: int = 0
) -> None:
    """``shape`` of the weight; ``bias`` where it is not as long as that."""
    out[f"{name}.weight"] = 0.5 * torch.randn(shape, generator=rng) / (shape[1] * shape[2] * shape[3]) ** 0.5
    out[f"{name}.bias"] = 0.01 * torch.randn(bias or shape[0], generator=rng)


def write_interpolation(folder: Path, width: int = 16, head: int = 4) -> Path:
    """A RIFE of ``width`` channels."""
    rng, out = torch.Generator().manual_seed(1), dict[str, torch.Tensor]()
    _conv(out, "encode.cnn0", (16, 3, 3, 3), rng)
    _conv(out, "encode.cnn1", (16, 16, 3, 3), rng)
    _conv(out, "encode.cnn2", (16, 16, 3, 3), rng)
    _conv(out, "encode.cnn3", (16, head, 4, 4), rng, head)
    for block in range(_BLOCKS):
        name, planes = f"blocks.{block}", 7 + 2 * head if block == 0 else 20 + 2 * head
        _conv(out, f"{name}.conv0.0.0", (width // 2, planes, 3, 3), rng)
        _conv(out, f"{name}.conv0.1.0", (width, width // 2, 3, 3), rng)
        for layer in range(8):
            _conv(out, f"{name}.convblock.{layer}.conv", (width, width, 3, 3), rng)
            out[f"{name}.convblock.{layer}.beta"] = torch.ones(1, width, 1, 1)
        _conv(out, f"{name}.lastconv.0", (width, 4 * 13, 4, 4), rng, 4 * 13)
    return _saved(out, folder / INTERPOLATION)


def write_upscaling(folder: Path, scale: int = 2, width: int = 8, layers: int = 2) -> Path:
    """A compact network of ``width`` channels, which adds little to the nearest pixel."""
    rng, out = torch.Generator().manual_seed(2), dict[str, torch.Tensor]()
    _conv(out, "body.0", (width, 3, 3, 3), rng)
    out["body.1.weight"] = torch.full((width,), 0.25)
    for layer in range(layers):
        _conv(out, f"body.{2 * layer + 2}", (width, width, 3, 3), rng)
        out[f"body.{2 * layer + 3}.weight"] = torch.full((width,), 0.25)
    _conv(out, f"body.{2 * layers + 2}", (3 * scale * scale, width, 3, 3), rng)
    out[f"body.{2 * layers + 2}.weight"] *= 0.2
    return _saved(out, folder / UPSCALING.format(scale))


def _saved(weights: dict[str, torch.Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path
