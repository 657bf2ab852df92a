"""The small video VAE: Wan 2.1's layout (``comfy/ldm/wan/vae.py``) at width 8, with weights set by hand.

The encoder averages 8x8 pixels and keeps four frames in 12 of the 16 channels, the decoder separates them and smooths:
every frame of a clip comes back in its place at 1/8 of the resolution. Normalised with :data:`MEAN` and :data:`STD`,
the latent is the colour in [-1, 1].

To pass colours through norms and SiLU unchanged, every value is stored with its negative (SiLU(z) - SiLU(-z) = z) and
with a constant so large that an RMS norm divides by it alone. Residual and attention branches add a random thousandth,
so that an error in them shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DIM, LATENT, MULT, RES_BLOCKS = 8, 16, (1, 2, 4, 4), 2
TEMPORAL_DOWN = (False, True, True)
# the latent's mean and standard deviation by channel (upstream's wan/modules/vae2_1.py)
MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
COLOURS, FRAMES = 3, 4
CONSTANT = 64.0
WHISPER = 1e-3


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


def vae_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """The VAE's tensors in bfloat16."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in vae_shapes().items():
        if name.endswith("gamma"):
            weights[name] = torch.ones(shape)
        elif ".residual." in name or "to_qkv" in name or "proj" in name:
            last = ".residual.6." in name or "proj" in name
            random = torch.randn(shape, generator=generator) / math.sqrt(max(math.prod(shape[1:]), 1))
            weights[name] = random * (WHISPER if last else 1) * (not name.endswith("bias"))
        else:
            weights[name] = torch.zeros(shape)
    _encoder(weights)
    _decoder(weights)
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}


def _pairs(count: int) -> list[tuple[int, int, float]]:
    """(channel, value, sign) of ``count`` values: the values, then their negatives; the constant comes after them."""
    return [(value + half * count, value, 1.0 - 2 * half) for half in (0, 1) for value in range(count)]


def _carry(matrix: torch.Tensor, sources: dict[int, int], before: int, after: int, constant: bool = True) -> None:
    """Fill ``matrix`` [out, in] so that value ``a`` of ``after`` is value ``sources[a]`` of ``before``."""
    for channel, value, _ in _pairs(after):
        if value in sources:
            half = channel // after
            matrix[channel, sources[value] + half * before] = 1
    if constant:
        matrix[2 * after, 2 * before] = 1


def _same(weights: dict[str, torch.Tensor], name: str, values: int) -> None:
    """A 1x1x1 shortcut that passes ``values`` pairs and the constant."""
    for channel in range(2 * values + 1):
        weights[f"{name}.shortcut.weight"][channel, channel, 0, 0, 0] = 1


def _head(weights: dict[str, torch.Tensor], name: str, values: int) -> None:
    """The norm divides by the constant and multiplies by sqrt(width); gamma undoes both."""
    gamma = weights[f"{name}.0.gamma"]
    gamma.fill_(CONSTANT / math.sqrt(gamma.shape[0]))
    gamma[2 * values] = 0


def _encoder(weights: dict[str, torch.Tensor]) -> None:
    first = weights["encoder.conv1.weight"]
    for channel, value, sign in _pairs(COLOURS):
        first[channel, value, -1, 1, 1] = sign
    weights["encoder.conv1.bias"][2 * COLOURS] = CONSTANT
    values, index = COLOURS, 0
    widths = [DIM * m for m in (1, *MULT)]
    for stage, (into, out) in enumerate(zip(widths[:-1], widths[1:])):
        if into != out:
            _same(weights, f"encoder.downsamples.{index}", values)
        index += RES_BLOCKS
        if stage == len(MULT) - 1:
            break
        name = f"encoder.downsamples.{index}"
        index += 1
        grown = 2 * values if TEMPORAL_DOWN[stage] else values
        # average of 2x2 pixels; where time is halved next, twice: a first frame, which skips that, fills both places
        quarter = weights[f"{name}.resample.1.weight"]
        for row in range(2):
            for column in range(2):
                _carry(quarter[:, :, row, column], {a: a % values for a in range(grown)}, values, grown)
        quarter *= 0.25
        if TEMPORAL_DOWN[stage]:
            time = weights[f"{name}.time_conv.weight"]  # taps: the frame before, the earlier, the later of the two
            _carry(time[:, :, 2, 0, 0], {a: a for a in range(values)}, grown, grown)
            _carry(time[:, :, 1, 0, 0], {a: a for a in range(values, grown)}, grown, grown, constant=False)
        values = grown
    _head(weights, "encoder.head", values)
    last, bias = weights["encoder.head.2.weight"], weights["encoder.head.2.bias"]
    for value in range(values):
        last[value, value, -1, 1, 1], last[value, values + value, -1, 1, 1] = STD[value], -STD[value]
    for channel in range(LATENT):
        bias[channel], bias[LATENT + channel] = MEAN[channel], -20.0  # mean and log-variance
    for channel in range(2 * LATENT):
        weights["conv1.weight"][channel, channel, 0, 0, 0] = 1


def _decoder(weights: dict[str, torch.Tensor]) -> None:
    for channel in range(LATENT):
        weights["conv2.weight"][channel, channel, 0, 0, 0] = 1 / STD[channel]
        weights["conv2.bias"][channel] = -MEAN[channel] / STD[channel]
    values = COLOURS * FRAMES
    first = weights["decoder.conv1.weight"]
    for channel, value, sign in _pairs(values):
        first[channel, value, -1, 1, 1] = sign
    weights["decoder.conv1.bias"][2 * values] = CONSTANT
    smooth = (0.25, 0.5, 0.25)
    widths, index = [DIM * m for m in (MULT[-1], *reversed(MULT))], 0
    for stage, (into, out) in enumerate(zip(widths[:-1], widths[1:])):
        into = into if stage == 0 else into // 2
        if into != out:
            _same(weights, f"decoder.upsamples.{index}", values)
        index += RES_BLOCKS + 1
        if stage == len(MULT) - 1:
            break
        name = f"decoder.upsamples.{index}"
        index += 1
        fewer = values
        if tuple(reversed(TEMPORAL_DOWN))[stage]:
            fewer = values // 2
            # the first half of what comes out is the earlier frame, which the encoder put second
            time = weights[f"{name}.time_conv.weight"][:, :, -1, 0, 0]
            width = time.shape[1]
            for half, start in ((time[:width], fewer), (time[width:], 0)):
                _carry(half, {a: start + a for a in range(fewer)}, values, values)
        # a latent's first frame comes here as it is: its own values are the first in both layouts
        blur = weights[f"{name}.resample.1.weight"]
        for row in range(3):
            for column in range(3):
                step = blur.new_zeros(blur.shape[:2])
                _carry(step, {a: a for a in range(fewer)}, values, fewer)
                blur[:, :, row, column] = step * smooth[row] * smooth[column]
        values = fewer
    _head(weights, "decoder.head", values)
    last = weights["decoder.head.2.weight"]
    for colour in range(COLOURS):
        last[colour, colour, -1, 1, 1], last[colour, values + colour, -1, 1, 1] = 1, -1
