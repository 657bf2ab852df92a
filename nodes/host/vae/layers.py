"""The host's Wan 2.1 VAE layers (``comfy/ldm/wan/vae.py``) on channels-last frames.

The host casts the weights, so offloading and LoRAs work. Causal layers keep past frames, so chunking changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ....wan_animate.kernels import vae
from . import choice
from .channels import channels_first, fold_weight, frames_first, pad_channels


class Weights:
    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        cudnn = device.type == "cuda" and torch.version.hip is None and torch.backends.cudnn.enabled
        self.cudnn = cudnn and torch.backends.cudnn.is_available() and dtype in (torch.float16, torch.bfloat16)

    def of(self, module: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A convolution's weight, channels last, and bias."""
        import comfy.ops

        with comfy.ops.CastBiasWeightContext(
            module, dtype=self.dtype, device=self.device, bias_dtype=self.dtype, offloadable=True
        ) as (weight, bias):
            layout = torch.channels_last_3d if weight.ndim == 5 else torch.channels_last
            copy = torch.empty(weight.shape, dtype=self.dtype, device=self.device, memory_format=layout).copy_(weight)
            return copy, None if bias is None else bias.to(self.dtype, copy=True)

    def gain(self, norm: Any) -> torch.Tensor:
        """[C] float32."""
        if norm.bias is not None:
            raise NotImplementedError("a norm with a bias")
        return norm.gamma.to(device=self.device, dtype=torch.float32, copy=True).flatten() * norm.scale

    def convolve(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
    ) -> torch.Tensor:
        """Without bias; all [n, C, ...], channels last."""
        dims = weight.ndim - 2
        stride, padding = ([size] * dims if isinstance(size, int) else list(size) for size in (stride, padding))
        if self.cudnn:
            # Called directly: some versions of the host and torch avoid cuDNN for 3D in half precision.
            cudnn = torch.backends.cudnn
            return torch.cudnn_convolution(
                x, weight, padding, stride, [1] * dims, 1, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
            )
        return (F.conv3d if dims == 3 else F.conv2d)(x, weight, None, stride, padding)


class CausalConv:
    """CausalConv3d of kernel 3 in time, without bias.

    A 3D convolution over frames, or 2D over folded frames (each with the two before it as channels), which cuDNN
    computes faster at some widths.

    Attributes:
        past_frames: number of earlier frames in a result.
        reach: rows and columns around a pixel that it is made of, on each side. Every layer has it but :class:`Down`
            and :class:`Up`; None: of whole frames.
    """

    past_frames = 2

    def __init__(self, weights: Weights, module: Any) -> None:
        if module.kernel_size[0] != 3 or tuple(module.stride) != (1, 1, 1):
            raise NotImplementedError(f"a causal convolution of kernel {module.kernel_size}, stride {module.stride}")
        self.weights, (weight, self.bias) = weights, weights.of(module)
        self.out_channels = weight.shape[0]
        padded = pad_channels(pad_channels(weight, 0), 1)
        self.in_channels = padded.shape[1]
        self.weight: torch.Tensor | None = padded  # None once all later input is folded
        self.padding = module.padding[1:]
        self.reach = max(module.kernel_size[1:]) // 2
        self.past: torch.Tensor | None = None
        self.folded: bool | None = None
        self.folded_weight: torch.Tensor | None = None

    def fold(self, count: int, height: int, width: int) -> bool:
        if self.folded is None:
            self.folded = choice.folds(self, height, width)
        now = self.folded and (self.past is not None or count > 1)
        if now and self.weight is not None:
            self.folded_weight, self.weight = fold_weight(self.weight), None
        return now

    def new(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self.weights.dtype, device=self.weights.device)

    def normed(self, x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The input from ``silu(norm(x + bias))``."""
        count, height, width, channels = x.shape
        if not self.fold(count, height, width):
            frames, new = self._sequence_input(count, height, width)
            vae.norm_silu(x, gain, bias, new)
            return frames
        frames, past = self._folded_input(count, height, width)
        vae.norm_silu_folded(x, gain, bias, frames, past)
        return frames

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """The input from x [n, H, W, C], zero-padded to the weight's channels."""
        if x.shape[-1] < self.in_channels:
            x = F.pad(x, (0, self.in_channels - x.shape[-1]))
        if not self.fold(*x.shape[:3]):
            frames, new = self._sequence_input(*x.shape[:3])
            new.copy_(x)
            return frames
        frames, past = self._folded_input(*x.shape[:3])
        vae.fold(x, frames, past)
        return frames

    def _sequence_input(self, count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        # For a single first frame, run() uses only the weight's last slice in time.
        before = 0 if self.past is None and count == 1 else 2
        frames = self.new(before + count, height, width, self.in_channels)
        if self.past is None:
            frames[:before].zero_()
        elif self.past.ndim == 3:  # a single first frame leaves it folded: [H, W, 2 * C] -> [2, H, W, C]
            frames[:2].copy_(self.past.unflatten(-1, (2, -1)).movedim(2, 0))
        else:
            frames[:2].copy_(self.past)
        return frames, frames[before:]

    def _folded_input(self, count: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(folded frames with the past filled in, buffer for the last two)"""
        channels = self.in_channels
        frames, past = self.new(count, height, width, 3 * channels), self.new(height, width, 2 * channels)
        before = self.past if self.past is not None else past.new_zeros(1).expand(past.shape)
        frames[0, ..., : 2 * channels].copy_(before)
        if count > 1:
            frames[1, ..., :channels].copy_(before[..., channels:])
        else:
            past[..., :channels].copy_(before[..., channels:])
        self.past = past
        return frames, past

    def run(self, frames: torch.Tensor) -> torch.Tensor:
        """Input -> [count, H, W, out_channels]."""
        if frames.shape[-1] == 3 * self.in_channels:
            assert self.folded_weight is not None  # made by fold()
            out = self.weights.convolve(frames.permute(0, 3, 1, 2), self.folded_weight, padding=self.padding)
        elif len(frames) == 1:
            assert self.weight is not None
            weight = self.weight[:, :, -1].contiguous(memory_format=torch.channels_last)
            out = self.weights.convolve(frames.permute(0, 3, 1, 2), weight, padding=self.padding)
            self.past = torch.cat((torch.zeros_like(frames[0]), frames[0]), dim=-1)
        else:
            assert self.weight is not None
            self.past = frames[-2:].clone()
            out = self.weights.convolve(channels_first(frames), self.weight, padding=(0, *self.padding))
            out = out[0].transpose(0, 1)  # [1, C, n, H, W] -> [n, C, H, W]
        out = out.permute(0, 2, 3, 1).contiguous()  # [n, C, H, W] -> [n, H, W, C]
        return out if out.shape[-1] == self.out_channels else out[..., : self.out_channels].contiguous()


class Pointwise:
    past_frames = channels = reach = 0

    def __init__(self, weights: Weights, module: Any) -> None:
        if any(size != 1 for size in (*module.kernel_size, *module.stride)):
            raise NotImplementedError(f"a pointwise convolution of kernel {module.kernel_size}")
        weight, self.bias = weights.of(module)
        self.weight = weight.flatten(1).contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


class First:
    def __init__(self, weights: Weights, module: Any) -> None:
        self.conv = CausalConv(weights, module)
        self.past_frames, self.channels = self.conv.past_frames, self.conv.out_channels
        self.reach = self.conv.reach

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return vae.add(self.conv.run(self.conv.plain(x)), self.conv.bias, None)


class Normed:
    """RMS_norm, SiLU and causal convolution."""

    def __init__(self, weights: Weights, norm: Any, conv: Any) -> None:
        self.gain, self.conv = weights.gain(norm), CausalConv(weights, conv)
        self.past_frames, self.bias = self.conv.past_frames, self.conv.bias
        self.reach = self.conv.reach

    def input(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """``bias``: not yet added to x."""
        return self.conv.normed(x, self.gain, bias)


class Head(Normed):
    def __init__(self, weights: Weights, head: Any) -> None:
        super().__init__(weights, head[0], head[2])
        self.channels = self.conv.in_channels

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv.run(self.input(x))
        return out if self.bias is None else out.add_(self.bias)


class Residual:
    def __init__(self, weights: Weights, block: Any) -> None:
        layers = block.residual
        self.first = Normed(weights, layers[0], layers[2])
        self.second = Normed(weights, layers[3], layers[6])
        self.shortcut = None if isinstance(block.shortcut, torch.nn.Identity) else Pointwise(weights, block.shortcut)
        self.past_frames = self.first.past_frames + self.second.past_frames
        self.reach = self.first.reach + self.second.reach
        self.channels = max(block.in_dim, block.out_dim)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.first.input(x)
        y = self.first.conv.run(frames)
        del frames
        frames = self.second.input(y, self.first.bias)
        del y
        y = self.second.conv.run(frames)
        del frames
        return vae.add(y, self.second.bias, x if self.shortcut is None else self.shortcut(x))


class Attention:
    """AttentionBlock, with the host's attention function."""

    past_frames = 0
    reach = None
    TOKENS = 1 << 17  # at once

    def __init__(self, weights: Weights, block: Any) -> None:
        self.gain, self.channels = weights.gain(block.norm), block.dim
        self.qkv, self.proj = Pointwise(weights, block.to_qkv), Pointwise(weights, block.proj)
        self.attention = block.optimized_attention

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        at_once = max(1, self.TOKENS // (x.shape[1] * x.shape[2]))
        return torch.cat([self._some(part) for part in x.split(at_once)])

    def _some(self, x: torch.Tensor) -> torch.Tensor:
        y = vae.norm_silu(x, self.gain, None, torch.empty_like(x), silu=False)
        q, k, v = self.qkv(y).permute(0, 3, 1, 2).chunk(3, dim=1)  # [n, H, W, 3 * C] -> 3 of [n, C, H, W]
        y = self.attention(q, k, v).permute(0, 2, 3, 1)  # [n, C, H, W] -> [n, H, W, C]
        return vae.add(self.proj(y.contiguous()), None, x)


class Down:
    """Resample downsample2d and 3d: in time the first frame stays, pairs after it merge."""

    def __init__(self, weights: Weights, module: Any) -> None:
        self.weights, conv = weights, module.resample[1]
        self.weight, self.bias = weights.of(conv)
        self.channels = module.dim
        self.time: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self.waiting: torch.Tensor | None = None
        self.past_frames = 0
        if module.mode == "downsample3d":
            self.time = weights.of(module.time_conv)
            self.past_frames = 2

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # the padded x [n, C, H + 1, W + 1] is not held by a name, so that it is freed at once
        y = self.weights.convolve(F.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1)), self.weight, stride=2)
        y = vae.add(y.permute(0, 2, 3, 1).contiguous(), self.bias, None)  # [n, H / 2, W / 2, C]
        return y if self.time is None else self._downsample_time(y, *self.time)

    def _downsample_time(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        first = x[:1] if self.waiting is None else x[:0]
        x = x if self.waiting is None else torch.cat((self.waiting, x))
        made = (len(x) - 1) // 2
        self.waiting = x[2 * made :].clone()
        if not made:
            return first
        y = self.weights.convolve(channels_first(x[: 2 * made + 1]), weight, stride=(2, 1, 1))
        y = vae.add(frames_first(y), bias, None)
        return torch.cat((first, y)) if len(first) else y


class Up:
    """Resample upsample2d and 3d: in time the first frame stays, others are doubled."""

    past_frames = 0

    def __init__(self, weights: Weights, module: Any) -> None:
        self.weights, conv = weights, module.resample[1]
        self.weight, self.bias = weights.of(conv)
        self.time = CausalConv(weights, module.time_conv) if module.mode == "upsample3d" else None
        self.channels, self.started = 0, False
        self.upscale = 4 if self.time is None else 8

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        count, height, width, channels = x.shape
        whole = count if self.time is None else int(not self.started)
        frames = whole if self.time is None else whole + 2 * (count - whole)
        self.started = True
        big = torch.empty((frames, 2 * height, 2 * width, channels), dtype=x.dtype, device=x.device)
        if whole:
            vae.upsample(x[:whole], None, big[:whole])
        if self.time is not None and frames > whole:
            doubled = self.time.run(self.time.plain(x[whole:]))
            vae.upsample(doubled, self.time.bias, big[whole:], pairs=True)
        y = self.weights.convolve(big.permute(0, 3, 1, 2), self.weight, padding=1)  # [n, C, 2 * H, 2 * W]
        return vae.add(y.permute(0, 2, 3, 1).contiguous(), self.bias, None)
