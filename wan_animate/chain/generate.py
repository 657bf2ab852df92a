"""The chain: plan, condition, denoise, decode, keep, segment after segment, over the two ports.

While one segment is sampled, the controls of the next are read (:mod:`.control_reader`) and the one before goes to disk
and into the clip (:mod:`.saver`). Memory is bounded by that: a segment's controls ahead and a finished segment's
frames, both uint8. A segment is on disk (:mod:`.store`) before the one after the next starts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from ..errors import InputError
from ..finite import check_finite
from ..log import get_logger
from ..video.derived import lasting
from ..video.frames import FrameSource
from ..video.resample import letterbox
from .conditioning import build_conditioning, latent_names
from .control_reader import BACKGROUND, FACE, MASK, POSE, ControlReader
from .latents import encode_once, picture_name
from .saver import GrowingVideo, SegmentSaver
from .segments import Segment, SegmentPlan, plan_segments
from .store import SegmentStore

MODES = ("animate", "replace")
# Where NaN comes from when nothing that was given holds any: half precision that overflows, or damaged weights.
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
        reference: the character, ``[H, W, 3]`` float32 RGB in 0..1, any size; letterboxed onto the result's size.
        pose: the drawn skeleton; its size is the result's size and its length the result's length.
        face: 512x512 face crops, as long as the pose; None leaves the face to the prompt and the pose.
        mode: ``"animate"`` (the reference's own scene) or ``"replace"`` (the driver's scene).
        background: replace only: the driver's frames with the character blacked out; one stands for every frame.
        character_mask: replace only: where the character goes, 1 = character; one stands for every frame.
        segment_length, previous_frames: frames, both 4n+1.
        seed: of the first segment; segment k uses ``seed + k``.
        fps: of the result; None takes the pose's.
    """

    reference: torch.Tensor
    pose: FrameSource
    face: FrameSource | None = None
    mode: str = "animate"
    background: FrameSource | None = None
    character_mask: FrameSource | None = None
    segment_length: int = 77
    previous_frames: int = 1
    seed: int = 0
    fps: Fraction | None = None

    def __post_init__(self):
        self.fps = Fraction(self.fps) if self.fps else self.pose.fps
        if self.background is not None:
            self.background = lasting(self.background, self.pose)
        if self.character_mask is not None:
            self.character_mask = lasting(self.character_mask, self.pose)

    def plan(self) -> SegmentPlan:
        return plan_segments(len(self.pose), self.segment_length, self.previous_frames)

    def check(self) -> None:
        """Raises InputError for anything that could not come out right, before any long work."""
        self.plan()
        check_scene(self.mode, self.background is not None, self.character_mask is not None)
        if self.reference.ndim != 3 or self.reference.shape[-1] != 3:
            raise InputError(
                f"the reference image must be one RGB picture, but its shape is {list(self.reference.shape)}: "
                "connect one image."
            )
        check_finite(self.reference, "the reference image", "connect another picture, or look at what made this one")
        self._check_kinds()
        width, height = self.pose.width, self.pose.height
        if width % 16 or height % 16:
            near = f"{max(16, round(width / 16) * 16)}x{max(16, round(height / 16) * 16)}"
            raise InputError(
                f"the pose video is {width}x{height}, but width and height must be divisible by 16: make it {near}."
            )
        for name, source in self._others():
            if len(source) != len(self.pose):
                raise InputError(
                    f"the {name} video has {len(source)} frames and the pose video has {len(self.pose)}: all must "
                    "come from the same frames of the driving video, so give them the same start, limit and fps."
                )
            if name != "face" and (source.width, source.height) != (width, height):
                raise InputError(
                    f"the {name} video is {source.width}x{source.height} and the pose video is {width}x{height}: "
                    "bring them to the same size (Draw Pose takes a width and height; 0 keeps the driving video's)."
                )
        for name, source in self.controls().items():
            if source.is_finite() is False:
                raise InputError(
                    f"the {name} input holds values that are NaN or infinite: look at the node that made it, or "
                    "connect another."
                )
        self._check_black()

    def _check_black(self) -> None:
        """A mask without a character is refused, a pose without a body said, where it is known without reading them."""
        if self.character_mask is not None and self.character_mask.is_black():
            raise InputError(
                f"the character mask is black in all {len(self.pose)} frames, so nobody would be put into the scene: "
                "look at the mask with Pose Report or Frames to Mask, and choose another person, point or segmenter, "
                "or invert it if black is the character."
            )
        if self.pose.is_black():
            log.warning(
                "the pose video is black in all %d frames: no body was found, so nothing of the motion is taken over; "
                "detect the pose of a part of the video that shows the person.",
                len(self.pose),
            )

    def controls(self) -> dict[str, FrameSource]:
        """The sources that are given, by name, the pose first."""
        named = {POSE: self.pose, FACE: self.face, BACKGROUND: self.background, MASK: self.character_mask}
        return {name: source for name, source in named.items() if source is not None}

    def _others(self) -> list[tuple[str, FrameSource]]:
        return list(self.controls().items())[1:]

    def _check_kinds(self) -> None:
        for name, source in self.controls().items():
            wanted = "mask" if name == "character mask" else "image"
            if source.kind != wanted:
                remedy = "convert it with Frames to Mask" if wanted == "mask" else "connect frames or images"
                raise InputError(f"the {name} input holds {source.kind}s, but needs {wanted}s: {remedy}.")

    def reference_pixels(self) -> torch.Tensor:
        """``[1, H, W, 3]`` at the result's size: as it is where the size fits, else letterboxed on black."""
        fitted = letterbox(self.reference.float().cpu().numpy(), self.pose.width, self.pose.height)
        return torch.from_numpy(np.ascontiguousarray(fitted))[None].clamp(0.0, 1.0)

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """The fingerprints of the sources that are given, by input; a clip held in memory is read through for its."""
        return {name: source.fingerprint() for name, source in self.controls().items()}

    def key(self, extra: str = "") -> str:
        """A hash of all that decides the frames; ``extra`` stands for model, prompt and sampler."""
        digest = hashlib.blake2b(digest_size=12)
        settings = [self.mode, self.segment_length, self.previous_frames, self.seed, str(self.fps), extra]
        digest.update(json.dumps([settings, list(self.names.values()), list(self.reference.shape)]).encode())
        digest.update(np.ascontiguousarray(self.reference.float().cpu().numpy()).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Progress:
    """Where the work stands, given to the progress callback.

    Attributes:
        segment, segments: current segment (from 0) and how many there are.
        stage: ``"encode"``, ``"denoise"``, ``"decode"``, ``"save"``, or ``"write"`` while the disk is waited for.
        done, total: sampling steps over the whole job; resumed segments count as done.
        latent: while denoising, the current guess of the clean latent ``[1, 16, T+1, h, w]``, reference first.
    """

    segment: int
    segments: int
    stage: str
    done: int
    total: int
    latent: torch.Tensor | None = None


def segment_noise(seed: int, segment: Segment, shape: tuple[int, ...]) -> torch.Tensor:
    """Unit noise for one segment, float32 on the CPU: ``seed + segment.index`` (64 bits), drawn as ComfyUI draws it."""
    generator = torch.Generator(device="cpu").manual_seed((seed + segment.index) % 2**64)
    return torch.randn(shape, dtype=torch.float32, generator=generator)


@torch.no_grad()
def generate(
    job: AnimateJob,
    denoiser,
    vae,
    store: SegmentStore,
    progress: Callable[[Progress], None] | None = None,
    video: str | os.PathLike | None = None,
    audio: dict | None = None,
) -> FrameSource:
    """Make the clip.

    Args:
        job: what to make.
        denoiser, vae: the ports (:mod:`wan_animate.chain.ports`).
        store: where finished segments go; segments found there are not made again.
        progress: called at every stage and step, and while the disk is waited for; may raise to stop, which leaves
            the finished segments in the store.
        video: an mp4 to write the clip to as well, as its segments come (:func:`..video.write.write_video`).
        audio: the sound of ``video``.

    Returns:
        The frames, uint8 at the result's size, exactly as many as the driving clip has, read from the store.

    Raises:
        InputError: see :meth:`AnimateJob.check`; a source cannot be read, a segment or the clip not be written.
    """
    job.check()
    plan = job.plan()
    total = len(plan) * denoiser.steps

    first = store.finished(len(plan))
    names = job.names if getattr(vae, "memo", None) is not None else {}
    tail = store.tail(first - 1) if 0 < first < len(plan) else None
    reference_latent = None
    left = plan.segments[first:]
    with (
        SegmentSaver(store, job.fps, _growing(job, video, audio)) as saver,
        ControlReader(job.controls(), left, lambda segment: _needed(job, segment, vae, names)) as reader,
    ):

        def report(segment: int, stage: str, steps: int = 0, latent: torch.Tensor | None = None) -> None:
            saver.check()
            if progress is not None:
                progress(Progress(segment, len(plan), stage, segment * denoiser.steps + steps, total, latent))

        saver.resume(plan.segments[:first])
        for segment in left:
            report(segment.index, "encode")
            reader.begin(segment)
            if reference_latent is None:
                reference = job.reference_pixels()
                reference_latent = encode_once(vae, picture_name(reference), lambda pixels=reference: pixels)
                check_finite(reference_latent, "what the VAE made of the reference image", OTHER_VAE)
            conditioning = build_conditioning(
                segment, vae, reference_latent, job.pose, job.face, job.background, job.character_mask,
                previous=tail, face_size=denoiser.face_size,
                pose_name=names.get(POSE), background_name=names.get(BACKGROUND), take=reader.take,
            )  # fmt: skip
            for made, of in ((conditioning.concat_latent, "scene"), (conditioning.pose_latent, "pose")):
                check_finite(made, f"what the VAE made of the {of} of segment {segment.index + 1}", OTHER_VAE)
            noise = segment_noise(job.seed, segment, conditioning.noise_shape)
            latent = denoiser.denoise(
                conditioning, noise, lambda done, _, x0=None, at=segment.index: report(at, "denoise", done, x0)
            )
            del conditioning, noise
            check_finite(latent, f"what the sampler made of segment {segment.index + 1}", OTHER_MODEL)
            report(segment.index, "decode", denoiser.steps)
            frames = vae.decode(latent[:, :, 1:])
            check_finite(frames, f"what the VAE decoded of segment {segment.index + 1}", OTHER_VAE)
            del latent
            # What the clip shows last, also where a segment makes fewer new frames than it takes over.
            new = frames[segment.previous_frames :]
            last = new if tail is None or len(new) >= job.previous_frames else torch.cat((tail, new))
            # Nothing follows the last: on a full disk, frames that nobody reads must not cost a clip that is whole.
            tail = last[-job.previous_frames :].clone() if segment.index + 1 < len(plan) else None
            report(segment.index, "save", denoiser.steps)
            saver.save(segment, new[: segment.keep], tail, lambda at=segment.index: report(at, "write", denoiser.steps))
            del frames, new, last
        saver.finish(lambda: report(len(plan) - 1, "write", denoiser.steps))
    return store.clip(plan, job.fps)


def _growing(job: AnimateJob, path: str | os.PathLike | None, audio: dict | None) -> GrowingVideo | None:
    size = job.pose.width, job.pose.height
    return None if path is None else GrowingVideo(path, size, len(job.pose), job.fps, audio)


def _needed(job: AnimateJob, segment: Segment, vae, names: dict[str, str]) -> list[str]:
    """The controls that have to be read for a segment: all but those whose latent the VAE remembers."""
    pose, scene = latent_names(segment, job.pose, names.get(POSE), job.background, names.get(BACKGROUND))
    memo = getattr(vae, "memo", None)
    known = {name for name, key in ((POSE, pose), (BACKGROUND, scene)) if memo is not None and key and key in memo}
    return [name for name in job.controls() if name not in known]
