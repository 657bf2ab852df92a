"""A small Wan 2.2 Animate transformer that was never trained, but whose result can be looked at.

Its weights are random except for a path set by hand through the real layers, which predicts a clean latent T and
returns the flow (x - T) / sigma to it:

- T is the conditioning latent where the mask says known;
- elsewhere it is the reference latent at the same place (self-attention of block 0, aimed by its rotary positions),
  plus the drawn pose (feed-forward of block 0, gated by the mask);
- text, face and every other layer add a few hundredths, so that an error in them shows.

So a wrong trim, mask, pose frame or segment overlap shows in the picture. Names and shapes: the host's
``comfy/ldm/wan/model_animate.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DIM, FFN, BLOCKS, HEAD = 256, 512, 5, 128
TEXT_DIM, IMAGE_DIM, FREQ_DIM = 4096, 1280, 256
IN_CHANNELS, LATENT_CHANNELS, FACE_HEADS = 36, 16, 4
MOTION_WIDTHS = (32, 64, 128, 256, 512, 512, 512, 512)

# the dimensions of a token; a patch of 2x2 positions and 16 channels takes 64
NOISY, TARGET, POSE = slice(0, 64), slice(64, 128), slice(128, 192)
KNOWN, AFTER_REFERENCE = 192, 193
LEVEL, ZERO = slice(194, 210), slice(210, 226)
HEIGHT = 100.0  # of the constant dimensions; they are most of a token's length, so LayerNorm divides by about SPREAD
SPREAD = HEIGHT * math.sqrt((LEVEL.stop - LEVEL.start) / DIM)
# the pose's lines are thin, and the small VAE shows 1/8 of the size: strong, but never over the whole range
POSE_STRENGTH, POSE_LIMIT = 3.0, 0.8
WHISPER = 0.02  # scale of the random layers


def transformer_shapes(dim: int = DIM, ffn: int = FFN, blocks: int = BLOCKS) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Wan 2.2 Animate checkpoint of this width, name -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    for name, channels in (("patch_embedding", IN_CHANNELS), ("pose_patch_embedding", LATENT_CHANNELS)):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (dim, channels, 1, 2, 2), (dim,)
    linear("text_embedding.0", dim, TEXT_DIM)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, FREQ_DIM)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    for i in range(blocks):
        block = f"blocks.{i}"
        shapes[f"{block}.modulation"] = (1, 6, dim)
        for attention, names in (("self_attn", "qkvo"), ("cross_attn", ("q", "k", "v", "o", "k_img", "v_img"))):
            for name in names:
                linear(f"{block}.{attention}.{name}", dim, dim)
            for name in ("norm_q", "norm_k") + (("norm_k_img",) if attention == "cross_attn" else ()):
                shapes[f"{block}.{attention}.{name}.weight"] = (dim,)
        shapes[f"{block}.norm3.weight"] = shapes[f"{block}.norm3.bias"] = (dim,)
        linear(f"{block}.ffn.0", ffn, dim)
        linear(f"{block}.ffn.2", dim, ffn)
    shapes["head.modulation"] = (1, 2, dim)
    linear("head.head", 4 * LATENT_CHANNELS, dim)
    for index, width in ((0, IMAGE_DIM), (4, dim)):
        shapes[f"img_emb.proj.{index}.weight"] = shapes[f"img_emb.proj.{index}.bias"] = (width,)
    linear("img_emb.proj.1", IMAGE_DIM, IMAGE_DIM)
    linear("img_emb.proj.3", dim, IMAGE_DIM)

    for i in range(blocks // 5):
        fuser = f"face_adapter.fuser_blocks.{i}"
        linear(f"{fuser}.linear1_kv", 2 * dim, dim)
        linear(f"{fuser}.linear1_q", dim, dim)
        linear(f"{fuser}.linear2", dim, dim)
        shapes[f"{fuser}.q_norm.weight"] = shapes[f"{fuser}.k_norm.weight"] = (128,)
    for name, out, into in (("conv1_local", 1024 * FACE_HEADS, 512), ("conv2", 1024, 1024), ("conv3", 1024, 1024)):
        shapes[f"face_encoder.{name}.conv.weight"] = (out, into, 3)
        shapes[f"face_encoder.{name}.conv.bias"] = (out,)
    linear("face_encoder.out_proj", dim, 1024)
    shapes["face_encoder.padding_tokens"] = (1, 1, 1, dim)

    net = "motion_encoder.enc.net_app.convs"
    shapes[f"{net}.0.0.weight"], shapes[f"{net}.0.1.bias"] = (32, 3, 1, 1), (1, 32, 1, 1)
    for i, (into, out) in enumerate(zip(MOTION_WIDTHS[:-1], MOTION_WIDTHS[1:]), 1):
        shapes[f"{net}.{i}.conv1.0.weight"], shapes[f"{net}.{i}.conv1.1.bias"] = (into, into, 3, 3), (1, into, 1, 1)
        shapes[f"{net}.{i}.conv2.0.kernel"] = shapes[f"{net}.{i}.skip.0.kernel"] = (4, 4)
        shapes[f"{net}.{i}.conv2.1.weight"], shapes[f"{net}.{i}.conv2.2.bias"] = (out, into, 3, 3), (1, out, 1, 1)
        shapes[f"{net}.{i}.skip.1.weight"] = (out, into, 1, 1)
    shapes[f"{net}.8.weight"] = (512, 512, 4, 4)
    for i in range(5):
        linear(f"motion_encoder.enc.fc.{i}", 512 if i < 4 else 20, 512)
    shapes["motion_encoder.dec.direction.weight"] = (512, 20)
    return shapes


def random_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """The transformer's tensors in float32: random, scaled so that activations keep their size."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in transformer_shapes().items():
        if name.endswith(".kernel"):
            row = torch.tensor([1.0, 3.0, 3.0, 1.0])
            tensor = row[None, :] * row[:, None] / row.sum() ** 2
        elif "norm" in name and name.endswith("weight") or name in ("img_emb.proj.0.weight", "img_emb.proj.4.weight"):
            tensor = torch.ones(shape)
        elif name.endswith("bias"):
            tensor = torch.zeros(shape)
        elif name.startswith("motion_encoder.enc"):
            tensor = torch.randn(shape, generator=generator)  # its layers scale by 1/sqrt(fan-in) themselves
        elif name.endswith("modulation") or name.endswith("padding_tokens"):
            tensor = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        elif name.endswith("direction.weight"):
            tensor = torch.linalg.qr(torch.randn(shape, generator=generator))[0]
        else:
            tensor = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
        weights[name] = tensor
    return weights


def transformer_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """The transformer's tensors in bfloat16: :func:`random_weights` and the path set by hand."""
    import torch

    weights = random_weights(seed)
    _whisper(weights)
    _patches(weights)
    _copy_reference(weights)
    _add_pose(weights)
    _flow(weights)
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in weights.items()}


def _only_into_target(tensor: torch.Tensor, scale: float) -> torch.Tensor:
    """A layer's weight whose output is in the target's dimensions only."""
    kept = tensor.new_zeros(tensor.shape)
    kept[TARGET] = tensor[TARGET] * scale
    return kept


def _whisper(weights: dict[str, torch.Tensor]) -> None:
    for i in range(BLOCKS):
        block = f"blocks.{i}"
        weights[f"{block}.modulation"].zero_()
        weights[f"{block}.cross_attn.o.weight"] = _only_into_target(weights[f"{block}.cross_attn.o.weight"], WHISPER)
        if i:
            weights[f"{block}.modulation"][0, (2, 5)] = 1.0
            for name in ("self_attn.o", "ffn.2"):
                weights[f"{block}.{name}.weight"] = _only_into_target(weights[f"{block}.{name}.weight"], WHISPER / 2)
    for i in range(BLOCKS // 5):
        name = f"face_adapter.fuser_blocks.{i}.linear2.weight"
        weights[name] = _only_into_target(weights[name], 2 * WHISPER)
    weights["time_projection.1.weight"].zero_()


def _patches(weights: dict[str, torch.Tensor]) -> None:
    """Tokens: noise, conditioning and pose side by side, how much is known, and constants."""
    for name in ("patch_embedding", "pose_patch_embedding"):
        weights[f"{name}.weight"].zero_()
    image, pose = weights["patch_embedding.weight"], weights["pose_patch_embedding.weight"]
    for row in range(2):
        for column in range(2):
            for channel in range(LATENT_CHANNELS):
                index = (row * 2 + column) * LATENT_CHANNELS + channel
                image[NOISY.start + index, channel, 0, row, column] = 1
                image[TARGET.start + index, LATENT_CHANNELS + 4 + channel, 0, row, column] = 1
                pose[POSE.start + index, channel, 0, row, column] = 1
    image[KNOWN, LATENT_CHANNELS : LATENT_CHANNELS + 4] = 1 / 16
    bias = weights["patch_embedding.bias"]
    bias[LEVEL] = HEIGHT
    bias[LEVEL.start : LEVEL.stop : 2] = -HEIGHT
    weights["pose_patch_embedding.bias"][AFTER_REFERENCE] = 1  # the pose is added to every frame but the reference's


def _reads(matrix: torch.Tensor, rows: Iterable[int], columns: Iterable[int]) -> None:
    """Set rows of a layer that follows a LayerNorm to output dimensions ``columns`` as they were before the norm."""
    width = ZERO.stop - ZERO.start
    for row, column in zip(rows, columns):
        matrix[row, column] += SPREAD
        matrix[row, ZERO] -= SPREAD / width  # dimensions that are always 0 show the mean that was subtracted


def _copy_reference(weights: dict[str, torch.Tensor]) -> None:
    """Block 0's attention: head 0 attends to the reference's token at the same place (a known token to itself), head 1
    to the token itself; the difference of both replaces the conditioning by the reference."""
    import torch

    name = "blocks.0.self_attn"
    weights["blocks.0.modulation"][0, 2] = 1.0
    parts = {part: torch.zeros(DIM, DIM) for part in "qkvo"}
    biases = {part: torch.zeros(DIM) for part in "qk"}
    time, rows, columns = 0, 44, 86  # where the axes' rotary pairs start in a head of 128: 44 + 42 + 42
    sharp, aim = 9.5, 14.0

    def at(head: int, start: int, count: int) -> list[int]:
        return [head * HEAD + start + 2 * pair for pair in range(count)]  # the fastest pairs come first

    place = at(0, rows, 10) + at(0, columns, 10) + at(1, time, 6) + at(1, rows, 10) + at(1, columns, 10)
    for part in "qk":
        biases[part][place] = sharp
    biases["k"][at(0, time, 6)] = sharp
    content = at(0, time, 22)[-1]  # the slowest pair turns by 1e-4 a frame: it carries what, not where
    _reads(parts["q"], at(0, time, 6), [KNOWN] * 6)
    parts["q"][at(0, time, 6)] *= sharp
    _reads(parts["q"], [content], [KNOWN])
    parts["q"][content] *= -2 * aim
    biases["q"][content] = aim
    _reads(parts["k"], [content], [AFTER_REFERENCE])
    parts["k"][content] *= -aim
    biases["k"][content] = aim
    # RMSNorm over the whole width divides by about this length; its weight puts it back
    length = math.sqrt((len(place) + 3) * sharp**2 / DIM)
    target = range(TARGET.start, TARGET.stop)
    for head, sign in ((0, 1), (1, -1)):
        _reads(parts["v"], range(head * HEAD, head * HEAD + 64), target)
        for i in range(64):
            parts["o"][TARGET.start + i, head * HEAD + i] = sign
    for part, matrix in parts.items():
        weights[f"{name}.{part}.weight"] = matrix
        if part in biases:
            weights[f"{name}.{part}.bias"] = biases[part]
            weights[f"{name}.norm_{part}.weight"] = torch.full((DIM,), length)


def _add_pose(weights: dict[str, torch.Tensor]) -> None:
    """Block 0's feed-forward: where nothing is known, adds the pose's brightness to the target, times POSE_STRENGTH and
    up to POSE_LIMIT (a second unit subtracts what is above)."""
    import torch

    gain, shut = 8.0, 4.0
    weights["blocks.0.modulation"][0, 5] = 1.0
    into, bias = torch.zeros(FFN, DIM), torch.zeros(FFN)
    out = torch.zeros(DIM, FFN)
    for unit in range(64):
        if unit % LATENT_CHANNELS < 12:  # the small VAE's pictures are in the first 12 channels
            _reads(into, [unit], [POSE.start + unit])
            _reads(gate := torch.zeros(1, DIM), [0], [KNOWN])
            into[unit] = into[64 + unit] = gain * (into[unit] - shut * gate[0])
            bias[unit], bias[64 + unit] = gain, gain * (1 - POSE_LIMIT / POSE_STRENGTH)
            out[TARGET.start + unit, unit], out[TARGET.start + unit, 64 + unit] = (
                POSE_STRENGTH / gain,
                -POSE_STRENGTH / gain,
            )
    weights["blocks.0.ffn.0.weight"], weights["blocks.0.ffn.0.bias"] = into, bias
    weights["blocks.0.ffn.2.weight"] = out


def _flow(weights: dict[str, torch.Tensor]) -> None:
    """Head: (x - T) / sigma. The time embedding approximates 1 / sigma - 1 by least squares over random features."""
    import torch

    half, slow = FREQ_DIM // 2, 96
    first = weights["time_embedding.0.weight"]
    first[:, : half - slow] = first[:, half : FREQ_DIM - slow] = 0  # the fastest waves only disturb a smooth function
    sigma = torch.linspace(0.04, 1, 400, dtype=torch.float64)
    angle = (sigma * 1000)[:, None] * torch.pow(10000.0, -torch.arange(half, dtype=torch.float64) / half)[None, :]
    waves = torch.cat([torch.cos(angle), torch.sin(angle)], 1)
    hidden = torch.nn.functional.silu(waves @ first.to(torch.bfloat16).double().T)
    weight = sigma**2  # errors count relative to 1 / sigma
    # the ridge keeps the solution small, so that rounding it to bfloat16 does little
    normal = hidden.T @ (hidden * weight[:, None]) + 1e-4 * torch.eye(DIM, dtype=torch.float64)
    solved = torch.linalg.solve(normal, hidden.T @ ((1 / sigma - 1) * weight))
    weights["time_embedding.2.weight"] = solved.float()[None, :].repeat(DIM, 1)
    weights["head.modulation"].zero_()
    head = torch.zeros(4 * LATENT_CHANNELS, DIM)
    for i in range(64):
        head[i, NOISY.start + i], head[i, TARGET.start + i] = SPREAD, -SPREAD
    weights["head.head.weight"] = head
