"""A model that drifts by known errors: a stand-in denoiser and VAE, scenes that stand or move, light that changes.

The denoiser goes on in the colours in which it is given the previous frames (a smooth map fitted between the clean
scene and these, exact where a pixel stands still), and adds the error of its segment. The scene's light is in the clean
frames: in replace in the background it is given, in animate of its own making.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from einops import rearrange

from wan_animate.chain.control_sources import Controls
from wan_animate.chain.generate import AnimateJob
from wan_animate.chain.latents import with_still
from wan_animate.mask.background import BackgroundSource
from wan_animate.video.frames import FrameSource, as_unit_float, reflected_index

WIDTH, HEIGHT = 160, 96
Error = Callable[[np.ndarray, float], np.ndarray]
"""``error(frames, size)``: float frames in 0..1, changed by ``size`` times the error of one segment."""


def gain(frames: np.ndarray, size: float) -> np.ndarray:
    return frames * 1.015**size


def warm(frames: np.ndarray, size: float) -> np.ndarray:
    return frames * np.array([1.01, 1.0, 0.99], np.float32) ** size


def gamma(frames: np.ndarray, size: float) -> np.ndarray:
    return np.clip(frames, 0, 1) ** (1.02**size)


def contrast(frames: np.ndarray, size: float) -> np.ndarray:
    return (frames - 0.5) * 1.02**size + 0.5


def together(frames: np.ndarray, size: float) -> np.ndarray:
    return contrast(gamma(warm(gain(frames, size), size), size), size)


ERRORS: dict[str, Error] = {"gain": gain, "warm": warm, "gamma": gamma, "contrast": contrast, "together": together}


def walk(segment: int) -> Error:
    """All errors, each of another size and direction in every segment: a random walk."""
    sizes = np.random.default_rng(100 + segment).normal(size=4)

    def error(frames: np.ndarray, size: float) -> np.ndarray:
        for one, of in zip((gain, warm, gamma, contrast), sizes * size):
            frames = one(frames, of)
        return frames

    return error


@dataclass
class World:
    """Clean frames of a clip.

    Attributes:
        moves: whether the character crosses the picture and a part of the scene streams; else it only sways.
        light: frame -> factors that the scene is multiplied with, a number or ``[H, W, 1]``.
        cut: frame from which on another scene is shown, 0 for none.
    """

    count: int
    moves: bool = False
    light: Callable[[int], float | np.ndarray] | None = None
    cut: int = 0
    width: int = WIDTH
    height: int = HEIGHT

    def __post_init__(self) -> None:
        self.scenes = [picture(seed, self.width, self.height) for seed in (1, 2)]

    def mask(self, frame: int) -> np.ndarray:
        """float32 ``[H, W]``: the character."""
        way = 0.5 + (0.38 * np.sin(frame / 9) if self.moves else 0.01 * np.sin(frame / 5))
        out = np.zeros((self.height, self.width), np.float32)
        center = (round(way * self.width), round(self.height * 0.6))
        cv2.ellipse(out, center, (self.width // 14, round(self.height * 0.35)), 0, 0, 360, 1.0, -1)
        return out

    def still(self) -> np.ndarray:
        """bool ``[H, W]``: where neither the character nor the scene ever moves."""
        seen = np.max([self.mask(frame) for frame in range(min(self.count, 64))], axis=0)
        seen = cv2.dilate(seen, np.ones((5, 5))) > 0
        if self.moves:
            seen[self._stream()] = True
        return ~seen

    def frame(self, number: int) -> np.ndarray:
        """float32 ``[H, W, 3]`` in 0..1, the character in it."""
        out = self.scene(number)
        inside = self.mask(number)[..., None]
        body = np.array([0.7, 0.35, 0.3], np.float32) + 0.1 * np.sin(np.arange(self.height) / 3)[:, None, None]
        lit = body * (self.light(number) if self.light else 1.0)
        return np.clip(out * (1 - inside) + lit * inside, 0, 1).astype(np.float32)

    def scene(self, number: int) -> np.ndarray:
        out = self.scenes[1 if self.cut and number >= self.cut else 0].copy()
        if self.moves:
            part = self._stream()
            out[part] = np.roll(out[part], 2 * number, axis=1)
        return np.clip(out * (self.light(number) if self.light else 1.0), 0, 1).astype(np.float32)

    def _stream(self) -> tuple[slice, slice]:
        return slice(self.height // 8, self.height // 3), slice(0, self.width)

    def source(self, make: Callable[[int], np.ndarray]) -> FrameSource:
        return Made(self, make)

    def job(self, mode: str, **settings) -> AnimateJob:
        """A job on this world; face crops are left out."""
        controls = Controls(self.source(self.frame))
        if mode == "replace":
            mask = self.source(self.mask)
            controls = Controls(controls.pose, None, BackgroundSource(self.source(self.frame), mask), mask)
        return AnimateJob(torch.from_numpy(self.frame(0)), controls, mode, **settings)


class Made(FrameSource):
    """Frames made when they are read, 8-bit as a video's."""

    def __init__(self, world: World, make: Callable[[int], np.ndarray]) -> None:
        self._count, self._make = world.count, make
        self.width, self.height = world.width, world.height
        self.kind = "mask" if make(0).ndim == 2 else "image"

    def __len__(self) -> int:
        return self._count

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.stack([np.round(self._make(at) * 255).astype(np.uint8) for at in range(start, stop)])

    def fingerprint(self) -> str:
        return f"made:{self.kind}:{self._count}"


def picture(seed: int, width: int, height: int) -> np.ndarray:
    """A colourful scene: slopes, soft clouds, boxes with edges, fine texture; float32 in 0..1, nothing clipped."""
    rng = np.random.default_rng(seed)
    out = np.zeros((height, width, 3), np.float32)
    for cells, size in ((2, 0.5), (5, 0.3), (12, 0.12)):
        small = rng.uniform(-1, 1, (cells, cells * 2, 3)).astype(np.float32)
        out += size * cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        x, y = rng.integers(0, width), rng.integers(0, height)
        color = rng.uniform(-0.9, 0.9, 3)
        cv2.rectangle(out, (int(x), int(y)), (int(x + width // 7), int(y + height // 6)), color.tolist(), -1)
    out += 0.04 * rng.normal(size=(height, width, 1)).astype(np.float32)
    low, high = np.quantile(out, 0.002, axis=(0, 1)), np.quantile(out, 0.998, axis=(0, 1))
    return np.clip(0.05 + 0.75 * (out - low) / (high - low), 0.03, 0.85).astype(np.float32)


class PackingVAE:
    """Pixels packed into channels, without loss.

    Args:
        loss: a VAE's, once a way: slight blur, noise, rounding to 8 bits.
        after: changes decoded frames ``[n, H, W, 3]`` (a peer's correction).
    """

    def __init__(self, loss: bool = False, after: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.loss, self.after = loss, after

    def encode(self, frames: torch.Tensor, still: int = 0) -> torch.Tensor:
        frames = with_still(as_unit_float(frames), still)
        return pack(self._lose(frames.numpy()) if self.loss else frames.numpy())

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = np.clip(unpack(latent), 0, 1)
        if self.after is not None:
            frames = self.after(frames)
        return torch.from_numpy(np.ascontiguousarray(frames, np.float32))

    def _lose(self, frames: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(len(frames) + int(frames[0].sum() * 1000) % 100_000)
        noise = 0.006 * rng.normal(size=frames.shape).astype(np.float32)
        soft = np.stack([cv2.GaussianBlur(np.ascontiguousarray(frame), (0, 0), 0.35) for frame in frames])
        return np.round(np.clip(soft + noise, 0, 1) * 255).astype(np.float32) / 255


def pack(frames: np.ndarray) -> torch.Tensor:
    """``[4k+1, H, W, 3]`` -> ``[1, 768, k+1, H/8, W/8]``."""
    video = torch.from_numpy(np.concatenate([np.repeat(frames[:1], 3, axis=0), frames]))
    return rearrange(video, "(t a) (h b) (w c) d -> 1 (a b c d) t h w", a=4, b=8, c=8).float()


def unpack(latent: torch.Tensor) -> np.ndarray:
    return rearrange(latent, "1 (a b c d) t h w -> (t a) (h b) (w c) d", a=4, b=8, c=8, d=3)[3:].numpy()


class DriftingDenoiser:
    """See the module.

    Args:
        error: the error of a segment by its index.
        grows: within a segment the error grows from none in the previous frames to its size at the end.
        vae: by whose loss the picture that is passed through is encoded.
    """

    steps, face_size, face_dtype = 1, 16, torch.float32

    def __init__(self, world: World, error: Callable[[int], Error], vae: PackingVAE, grows: bool = False) -> None:
        self.world, self.error, self.vae, self.grows = world, error, vae, grows

    def denoise(self, conditioning, noise, on_step):
        segment = conditioning.segment
        known = segment.previous_frames
        numbers = [reflected_index(at, self.world.count) for at in range(segment.start, segment.stop)]
        clean = np.stack([self.world.frame(number) for number in numbers])
        out = clean
        if known:
            given = unpack(conditioning.concat_latent[:, :, 1:])[:known]
            out = np.concatenate([given, continued(clean[known - 1], given[-1], clean[known:])])
        error = self.error(segment.index)
        if self.grows:
            size = np.clip((np.arange(len(out)) - known) / (len(out) - 1 - known), 0, 1)
            out = np.stack([error(frame, float(of)) for frame, of in zip(out, size)])
        else:
            out = error(out, 1.0)
        on_step(1, 1, None)
        latent = self.vae.encode(torch.from_numpy(np.clip(out, 0, 1).astype(np.float32)))
        return torch.cat((conditioning.concat_latent[:, :, :1], latent), dim=2)


def continued(clean: np.ndarray, shown: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """``frames`` in the colours in which ``clean`` is ``shown``; a pixel that stays as it was is passed through."""
    small, seen = (cv2.resize(one, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for one in (clean, shown))
    weights, *_ = np.linalg.lstsq(powers(small.reshape(-1, 3)), seen.reshape(-1, 3), rcond=None)
    out = (powers(frames.reshape(-1, 3)) @ weights).reshape(frames.shape)
    same = np.abs(frames - clean).max(axis=-1, keepdims=True) < 1e-3
    return np.where(same, shown, out).astype(np.float32)


def powers(colors: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(colors), 1)), colors, colors**2, colors**3], axis=1)


def errors_of(name: str) -> Callable[[int], Error]:
    """The error of each segment, by a name of :data:`ERRORS`, "walk" or "none"."""
    if name == "none":
        return lambda segment: lambda frames, size: frames
    return walk if name == "walk" else lambda segment: ERRORS[name]
