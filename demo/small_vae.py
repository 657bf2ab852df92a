"""The small video VAE: Wan 2.1's layout (``comfy/ldm/wan/vae.py``) at width 16."""

from __future__ import annotations

import math

DIM, LATENT, MULT, RES_BLOCKS = 16, 16, (1, 2, 4, 4), 2
TEMPORAL_DOWN = (False, True, True)


def vae_shapes(dim: int = DIM) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Wan 2.1 VAE checkpoint of this width, name -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, out: int, into: int, *kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, into, *kernel), (out,)

    def residual(name: str, into: int, out: int) -> None:
        shapes[f"{name}.residual.0.gamma"] = (into, 1, 1, 1)
        conv(f"{name}.residual.2", out, into, 3, 3, 3)
        shapes[f"{name}.residual.3.gamma"] = (out, 1, 1, 1)
        conv(f"{name}.residual.6", out, out, 3, 3, 3)
        if into != out:
            conv(f"{name}.shortcut", out, into, 1, 1, 1)

    def middle(name: str, width: int) -> None:
        residual(f"{name}.0", width, width)
        shapes[f"{name}.1.norm.gamma"] = (width, 1, 1)
        conv(f"{name}.1.to_qkv", 3 * width, width, 1, 1)
        conv(f"{name}.1.proj", width, width, 1, 1)
        residual(f"{name}.2", width, width)

    def head(name: str, width: int, out: int) -> None:
        shapes[f"{name}.0.gamma"] = (width, 1, 1, 1)
        conv(f"{name}.2", out, width, 3, 3, 3)

    widths = [dim * m for m in (1, *MULT)]
    conv("encoder.conv1", widths[0], 3, 3, 3, 3)
    index = 0
    for stage, (into, out) in enumerate(zip(widths[:-1], widths[1:])):
        for _ in range(RES_BLOCKS):
            residual(f"encoder.downsamples.{index}", into, out)
            into, index = out, index + 1
        if stage < len(MULT) - 1:
            conv(f"encoder.downsamples.{index}.resample.1", out, out, 3, 3)
            if TEMPORAL_DOWN[stage]:
                conv(f"encoder.downsamples.{index}.time_conv", out, out, 3, 1, 1)
            index += 1
    middle("encoder.middle", widths[-1])
    head("encoder.head", widths[-1], 2 * LATENT)
    conv("conv1", 2 * LATENT, 2 * LATENT, 1, 1, 1)
    conv("conv2", LATENT, LATENT, 1, 1, 1)

    widths = [dim * m for m in (MULT[-1], *reversed(MULT))]
    conv("decoder.conv1", widths[0], LATENT, 3, 3, 3)
    middle("decoder.middle", widths[0])
    index = 0
    for stage, (into, out) in enumerate(zip(widths[:-1], widths[1:])):
        into = into if stage == 0 else into // 2
        for _ in range(RES_BLOCKS + 1):
            residual(f"decoder.upsamples.{index}", into, out)
            into, index = out, index + 1
        if stage < len(MULT) - 1:
            conv(f"decoder.upsamples.{index}.resample.1", out // 2, out, 3, 3)
            if tuple(reversed(TEMPORAL_DOWN))[stage]:
                conv(f"decoder.upsamples.{index}.time_conv", 2 * out, out, 3, 1, 1)
            index += 1
    head("decoder.head", widths[-1], 3)
    return shapes


def vae_weights(seed: int = 0) -> dict:
    """The VAE's tensors in float32: random, scaled by fan-in."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in vae_shapes().items():
        if name.endswith("gamma"):
            weights[name] = torch.ones(shape)
        elif name.endswith("bias"):
            weights[name] = torch.zeros(shape)
        else:
            weights[name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    return weights
