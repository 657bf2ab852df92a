"""The chain: plan, condition, denoise, decode and save, segment after segment.

While a segment is sampled, the next one's controls are read (:mod:`.control_reader`) and the one before is written
(:mod:`.saver`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import InputError
from ..finite import check_finite
from ..log import get_logger
from ..video.frames import FrameSource
from ..video.resample import letterbox
from .conditioning import build_conditioning, latent_keys
from .control_reader import ControlReader
from .control_sources import BACKGROUND, POSE, Controls
from .latents import CachedVAE, picture_key
from .ports import Denoiser, StepCallback, VideoVAE
from .saver import GrowingVideo, SegmentSaver
from .segments import Segment, SegmentPlan, plan_segments
from .store import SegmentStore

if TYPE_CHECKING:
    from ..record.clip_record import ClipRecord

MODES = ("animate", "replace")
# Where NaN comes from when the inputs hold none: half precision that overflows, or damaged weights.
OTHER_VAE = "load the VAE's file anew, or compute it in bfloat16 or float32"
OTHER_MODEL = "compute the model in bfloat16, leave out its patches and LoRAs one by one, or load its file anew"
log = get_logger(__name__)


def check_scene(mode: str, has_background: bool, has_mask: bool) -> None:
    """Raises InputError unless background and character mask are given exactly when the mode needs them."""
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}: choose animate or replace.")
    if mode == "replace":
        for name, given in (("a background", has_background), ("a character mask", has_mask)):
            if not given:
                raise InputError(
                    f"replace mode needs {name}, and none is connected: connect one, or set mode to animate."
                )
    elif has_background or has_mask:
        raise InputError(
            "a background or character mask is connected, but mode is animate, which makes its own scene: set mode to "
            "replace, or disconnect them."
        )


@dataclass
class AnimateJob:
    """One clip to make.

    Attributes:
        reference: the character, ``[H, W, 3]`` float32 RGB in 0..1, of any size.
        controls: the control videos.
        mode: ``"animate"`` (the reference's scene) or ``"replace"`` (the driver's).
        segment_length, previous_frames: frames, 4n+1.
        seed: segment k uses ``seed + k``.
        fps: of the result; 0 takes the pose's.
    """

    reference: torch.Tensor
    controls: Controls
    mode: str = "animate"
    segment_length: int = 77
    previous_frames: int = 1
    seed: int = 0
    fps: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        self.fps = Fraction(self.fps) if self.fps else self.controls.pose.fps

    def plan(self) -> SegmentPlan:
        return plan_segments(len(self.controls), self.segment_length, self.previous_frames)

    def check(self) -> None:
        """Raises InputError for what cannot work, before any long work."""
        self.plan()
        check_scene(self.mode, self.controls.background is not None, self.controls.character_mask is not None)
        if self.reference.ndim != 3 or self.reference.shape[-1] != 3:
            raise InputError(
                f"the reference image must be one RGB picture, but its shape is {list(self.reference.shape)}: "
                "connect one image."
            )
        check_finite(self.reference, "the reference image", "connect another picture, or look at what made this one")
        self.controls.check()

    def reference_pixels(self) -> torch.Tensor:
        """``[1, H, W, 3]`` at the result's size, letterboxed on black."""
        fitted = letterbox(self.reference.float().cpu().numpy(), *self.controls.size)
        return torch.from_numpy(np.ascontiguousarray(fitted))[None].clamp(0.0, 1.0)

    def key(self, extra: str = "") -> str:
        """A hash of what decides the frames; ``extra`` for model, prompt and sampler."""
        digest = hashlib.blake2b(digest_size=12)
        settings = [self.mode, self.segment_length, self.previous_frames, self.seed, str(self.fps), extra]
        fingerprints = list(self.controls.fingerprints.values())
        digest.update(json.dumps([settings, fingerprints, list(self.reference.shape)]).encode())
        digest.update(np.ascontiguousarray(self.reference.float().cpu().numpy()).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Progress:
    """What is done, for the progress callback.

    Attributes:
        segment, segments: current segment (from 0), number of segments.
        stage: ``"encode"``, ``"denoise"``, ``"decode"``, ``"save"``, or ``"write"`` (waiting for the disk).
        done, total: sampling steps of the job, resumed segments included.
        latent: while denoising, the current clean latent ``[1, 16, T+1, h, w]``, reference first.
        frames: while saving, the segment's new frames, float32 ``[keep, H, W, 3]`` in 0..1; not to be changed.
    """

    segment: int
    segments: int
    stage: str
    done: int
    total: int
    latent: torch.Tensor | None = None
    frames: torch.Tensor | None = None


def segment_noise(seed: int, segment: Segment, shape: tuple[int, ...]) -> torch.Tensor:
    """Unit noise, float32 on the CPU, as ComfyUI draws it from ``seed + segment.index`` (64 bits)."""
    generator = torch.Generator(device="cpu").manual_seed((seed + segment.index) % 2**64)
    return torch.randn(shape, dtype=torch.float32, generator=generator)


@torch.no_grad()
def generate(
    job: AnimateJob,
    denoiser: Denoiser,
    vae: VideoVAE,
    store: SegmentStore,
    progress: Callable[[Progress], None] | None = None,
    video: str | os.PathLike | None = None,
    audio: dict | None = None,
    record: ClipRecord | None = None,
) -> FrameSource:
    """Make the clip.

    Args:
        vae: a :class:`.latents.CachedVAE` encodes nothing twice.
        store: for finished segments; those found there are not made again.
        progress: called at every stage and step; may raise to stop, finished segments stay.
        video: an mp4 that is written meanwhile (:func:`..video.write.write_video`), with ``audio`` and ``record``.

    Returns:
        The frames, uint8, as many as the driving clip has, read from the store.

    Raises:
        InputError: see :meth:`AnimateJob.check` and :meth:`.store.SegmentStore.locked`; or a file cannot be read or
            written.
    """
    job.check()
    with store.locked():
        return _generate(job, denoiser, vae, store, progress, video, audio, record)


def _generate(
    job: AnimateJob,
    denoiser: Denoiser,
    vae: VideoVAE,
    store: SegmentStore,
    progress: Callable[[Progress], None] | None,
    video: str | os.PathLike | None,
    audio: dict | None,
    record: ClipRecord | None,
) -> FrameSource:
    plan = job.plan()
    total = len(plan) * denoiser.steps
    cached = vae if isinstance(vae, CachedVAE) else CachedVAE(vae)

    first = store.finished(len(plan))
    tail = store.tail(first - 1) if 0 < first < len(plan) else None
    reference_latent = None
    left = plan.segments[first:]
    with (
        SegmentSaver(store, job.fps, _growing(job, video, audio, record)) as saver,
        ControlReader(
            job.controls.checked_sources, left, lambda segment: _needed(segment, job.controls, cached)
        ) as reader,
    ):

        def report(
            segment: int,
            stage: str,
            steps: int = 0,
            latent: torch.Tensor | None = None,
            frames: torch.Tensor | None = None,
        ) -> None:
            saver.check()
            if progress is not None:
                progress(Progress(segment, len(plan), stage, segment * denoiser.steps + steps, total, latent, frames))

        saver.resume(plan.segments[:first])
        for segment in left:
            here = functools.partial(report, segment.index)
            here("encode")
            reader.begin(segment)
            if reference_latent is None:
                reference_latent = _encode_reference(job, cached)
            conditioning = build_conditioning(
                segment, job.controls, cached, reference_latent, tail, denoiser.face_size, reader.take
            )
            for made, of in ((conditioning.concat_latent, "scene"), (conditioning.pose_latent, "pose")):
                check_finite(made, f"what the VAE made of the {of} of segment {segment.index + 1}", OTHER_VAE)
            noise = segment_noise(job.seed, segment, conditioning.noise_shape)
            latent = denoiser.denoise(conditioning, noise, _on_step(here))
            del conditioning, noise
            check_finite(latent, f"what the sampler made of segment {segment.index + 1}", OTHER_MODEL)
            here("decode", denoiser.steps)
            frames = cached.decode(latent[:, :, 1:])
            check_finite(frames, f"what the VAE decoded of segment {segment.index + 1}", OTHER_VAE)
            del latent
            # What the clip shows last, also where a segment makes fewer new frames than it takes over.
            new = frames[segment.previous_frames :]
            last = new if tail is None or len(new) >= job.previous_frames else torch.cat((tail, new))
            # None after the last segment: on a full disk, frames that nobody reads must not cost a clip that is whole.
            tail = last[-job.previous_frames :].clone() if segment.index + 1 < len(plan) else None
            here("save", denoiser.steps, frames=new[: segment.keep])
            saver.save(segment, new[: segment.keep], tail, functools.partial(here, "write", denoiser.steps))
            del frames, new, last
        saver.finish(lambda: report(len(plan) - 1, "write", denoiser.steps))
    return store.clip(plan, job.fps)


def _encode_reference(job: AnimateJob, vae: CachedVAE) -> torch.Tensor:
    pixels = job.reference_pixels()
    latent = vae.encode_once(picture_key(pixels), lambda: pixels)
    check_finite(latent, "what the VAE made of the reference image", OTHER_VAE)
    return latent


def _on_step(report: Callable[..., None]) -> StepCallback:
    def on_step(done: int, total: int, x0: torch.Tensor | None = None) -> None:
        report("denoise", done, x0)

    return on_step


def _growing(
    job: AnimateJob, path: str | os.PathLike | None, audio: dict | None, record: ClipRecord | None
) -> GrowingVideo | None:
    if path is None:
        return None
    return GrowingVideo(path, job.controls.size, len(job.controls), job.fps, audio, record)


def _needed(segment: Segment, controls: Controls, vae: CachedVAE) -> list[str]:
    """The controls whose latent is not cached."""
    if vae.cache is None:
        return list(controls.sources)
    cached = {name for name, key in zip((POSE, BACKGROUND), latent_keys(segment, controls)) if key in vae}
    return [name for name in controls.sources if name not in cached]
