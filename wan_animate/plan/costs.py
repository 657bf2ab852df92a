"""What segments cost: tokens, seconds, memory and bytes on disk, from figures measured on one card.

Sources: ``benchmarks/results`` (one H100 or H200, 14B, ComfyUI 0.33.0): a step on a server without flags
(step_480p_default), the VAE (vae_*), whole jobs (clip_*), memory with and without blocks on the card (step_*_bf16,
offload_*_bf16).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..chain.segments import Segment
from .cards import MEASURED, Card

GB = 10**9
FACE = 512  # pixels a side

# Of the 14B transformer: parameters that every token passes, blocks, width.
PARAMETERS, BLOCKS, WIDTH = 14e9, 40, 5120
STEP_SECONDS = 2.690, 32_760  # measured at so many tokens: 832x480, 77 frames
# Seconds for a million pixels of all frames, VAE in half precision: encode, encode a still scene, decode.
ENCODE, ENCODE_STILL, DECODE = 0.4273 / 30.75, 0.1415 / 30.75, 0.6773 / 30.75
SEGMENT_SECONDS = 0.5  # reading, cropping, saving in the way of sampling
START_SECONDS = 1.7  # before the first step and after the last frame, of a server that has the models loaded
COLD_SECONDS = 18.1  # what a first job adds: loading, kernels made for VAE, blocks and attention

WEIGHTS = {"bf16": 34.5 * GB, "fp8": 17.3 * GB}
"""Bytes of the transformer's file."""
ACTIVATIONS, RESIDENT, OFFLOADED = 123e3, 0.35 * GB, {"bf16": 2.8 * GB, "fp8": 1.4 * GB}
"""VRAM: bytes a token; beside weights on the card; with all blocks in host memory."""
DIFFUSERS_VAE = 24e3
"""Bytes that diffusers' VAE takes for a pixel of a frame to decode in float32, measured on a CPU."""
SERVER = 3.5 * GB
"""RAM of the program with PyTorch and CUDA, without weights and frames."""
LATENTS = 256 << 20
"""RAM of kept latents, at most (:data:`..chain.latents.LIMIT`)."""
MP4_SHARE = 0.06
"""Bytes of the mp4 for one of the lossless frames, before a run here has measured it."""


def tokens(size: tuple[int, int], latent_frames: int, references: int = 1) -> int:
    """Tokens of one segment, the reference included: latents of 8x8 pixels in patches of 2x2.

    Args:
        size: sampled width and height.
        latent_frames: of the segment, without the reference.
        references: pictures of the character, a latent frame each.
    """
    return (latent_frames + references) * (size[0] // 16) * (size[1] // 16)


def step_flops(count: int) -> float:
    """Floating-point operations of one step on ``count`` tokens: products with the weights, and attention."""
    return 2 * PARAMETERS * count + 4 * BLOCKS * WIDTH * float(count) ** 2


def step_seconds(count: int, card: Card) -> float:
    """One step of one pass, by the card's rate of products."""
    seconds, measured_at = STEP_SECONDS
    return seconds * step_flops(count) / step_flops(measured_at) * MEASURED.tflops / card.tflops


def other_seconds(segment: Segment, size: tuple[int, int], mode: str, card: Card) -> float:
    """What a segment takes beside its steps; the VAE by the card's memory bandwidth."""
    pixels = segment.length * size[0] * size[1] / 1e6
    scene = ENCODE if mode == "replace" else ENCODE_STILL
    return SEGMENT_SECONDS + pixels * (ENCODE + scene + DECODE) * MEASURED.bandwidth / card.bandwidth


@dataclass(frozen=True)
class Memory:
    """Bytes of VRAM with all weights on the card, with all blocks in host memory, and bytes of RAM."""

    resident: float
    offloaded: float
    ram: float


def memory(size: tuple[int, int], segment: Segment, mode: str, weights: str, references: int = 1) -> Memory:
    """What one segment needs; ``weights`` is a key of :data:`WEIGHTS`."""
    activations = ACTIVATIONS * tokens(size, segment.latent_frames, references)
    pixels = segment.length * size[0] * size[1]
    controls = 3 + (4 if mode == "replace" else 0)  # bytes a pixel: pose; background and mask
    frames = 2 * (controls * pixels + 3 * FACE * FACE * segment.length)  # this segment's and the next one's
    made = 12 * pixels * 2 + 3 * pixels  # decoded float32 frames and a copy of them, and as they are saved
    ram = SERVER + WEIGHTS[weights] + LATENTS + frames + made
    return Memory(WEIGHTS[weights] + RESIDENT + activations, OFFLOADED[weights] + activations, ram)


@dataclass(frozen=True)
class Disk:
    """Bytes of finished segments, of the frames carried over between them, and of the mp4."""

    segments: float
    tails: float
    video: float

    @property
    def total(self) -> float:
        return self.segments + self.tails + self.video


def disk(
    size: tuple[int, int],
    frames: int,
    boundaries: int,
    previous_frames: int,
    lossless: float,
    video: float | None = None,
    shown: tuple[int, int] | None = None,
) -> Disk:
    """What a job writes.

    Args:
        size: of the segments.
        boundaries: segments whose last frames are carried over.
        lossless, video: bytes a pixel; ``video`` None takes :data:`MP4_SHARE` of the other.
        shown: size of the mp4, where it is another.
    """
    pixels = size[0] * size[1]
    width, height = shown or size
    tails = boundaries * previous_frames * pixels * 3 * 4  # float32
    each = lossless * MP4_SHARE if video is None else video
    return Disk(lossless * pixels * frames, tails, each * width * height * frames)
