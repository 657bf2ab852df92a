"""The chain: plan, condition, denoise, decode and save, segment after segment.

While a segment is sampled, the next one's controls are read (:mod:`.control_reader`), its pose is encoded where the VAE
has a card of its own (:mod:`.pose_ahead`), and the one before is written (:mod:`.saver`).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..buffers import map_large_buffers
from ..errors import InputError
from ..finite import check_finite
from ..log import get_logger
from ..video.frames import FrameSource, as_float
from .boundaries import Boundary, boundary_report
from .colors import SegmentColors
from .conditioning import build_conditioning, latent_keys
from .control_reader import ControlReader
from .control_sources import BACKGROUND, POSE, Controls
from .job import AnimateJob
from .latents import CachedVAE, picture_key
from .options import continued_frames
from .ports import Denoiser, StepCallback, VideoVAE
from .pose_ahead import PoseAhead
from .saver import GrowingVideo, SegmentSaver
from .seams import RETURN, DriverMotion, FrameDifferences, crossfade, join, measure_boundaries
from .segments import Segment, SegmentPlan
from .store import SegmentStore

if TYPE_CHECKING:
    from ..record.clip_record import ClipRecord

# Where NaN comes from when the inputs hold none: half precision that overflows, or damaged weights.
OTHER_VAE = "load the VAE's file anew, or compute it in bfloat16 or float32"
OTHER_MODEL = "compute the model in bfloat16, leave out its patches and LoRAs one by one, or load its file anew"
log = get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """What is done, for the progress callback.

    Attributes:
        segment, segments: current segment (from 0), number of segments.
        stage: ``"verify"`` (reading finished segments), ``"encode"``, ``"load"`` (the denoiser begins, and may load its
            weights), ``"denoise"``, ``"decode"``, ``"save"``, or ``"write"`` (waiting for the disk), ``"measure"``
            (comparing where segments meet).
        done, total: sampling steps of the job, resumed segments included.
        latent: while denoising, the current clean latent ``[1, 16, T+R, h, w]``, reference first.
        frames: while saving, the segment's new frames, float32 ``[keep, H, W, 3]`` in 0..1; not to be changed.
        steps: sampling steps of a segment.
        reference_latents: R.
        later: segments that are made after this one; None: not known.
    """

    segment: int
    segments: int
    stage: str
    done: int
    total: int
    latent: torch.Tensor | None = None
    frames: torch.Tensor | None = None
    steps: int = 0
    reference_latents: int = 1
    later: int | None = None


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
    check_model: Callable[[], None] = lambda: None,
    look: Callable[[FrameSource], None] = lambda clip: None,
) -> FrameSource:
    """Make the clip.

    Args:
        vae: a :class:`.latents.CachedVAE` encodes nothing twice.
        store: for finished segments; those found there are not made again, unless they are damaged.
        progress: called at every stage and step; may raise to stop, finished segments stay.
        video: an mp4 that is written meanwhile (:func:`..video.write.write_video`), with ``audio`` and ``record``. One
            of a finished job that is in the store and whole is left as it is.
        check_model: called with every segment that is made, before it joins the others; raises where the denoiser or
            the VAE is not what it was (:class:`..weights.held.HeldFiles`).
        look: called with what is returned, while the rest of the mp4 is written; may raise to stop, then finished
            segments stay and the mp4 is not there.

    Returns:
        The frames, uint8, as many as the driving clip has (:func:`result_plan` where only some segments are made),
        read from the store.

    Raises:
        InputError: see :meth:`AnimateJob.check` and :meth:`.store.SegmentStore.locked`; or a file cannot be read or
            written.
    """
    job.check()
    map_large_buffers()
    with store.locked():
        return _generate(job, denoiser, vae, store, progress, video, audio, record, check_model, look)


def result_plan(job: AnimateJob, store: SegmentStore) -> SegmentPlan:
    """The segments that the result shows: those to be made, and finished ones that join on to them."""
    plan, wanted = job.plan(), job.wanted().segments
    first, last = wanted[0].index, wanted[-1].index
    while first > 0 and job.options.continue_from is None and store.is_whole(plan.segments[first - 1]):
        first -= 1
    while last + 1 < len(plan) and store.is_whole(plan.segments[last + 1]):
        last += 1
    return plan.part(first, last)


def check_start(job: AnimateJob, store: SegmentStore) -> None:
    """Raises InputError where what a segment starts from, or fades back into, was never made."""
    left = [segment for segment in result_plan(job, store) if not store.is_whole(segment)]
    for segment in left:
        number = segment.index + 1
        before = segment.index == job.options.continued or not segment.previous_frames
        if segment is left[0] and not before and not store.has_tail(segment.index - 1):
            raise InputError(
                f"segment {number} is to be made, but segment {number - 1}, from which it goes on, is not finished "
                "with these settings: make that first, start at segment 1, or give a clip to continue from."
            )
        if job.returns(segment) and not store.has_former(segment.index):
            raise InputError(
                f"the rest is to be kept beside a new segment {number}, but no clip with these settings is finished up "
                "to there: make it first without segment seeds, or do not keep the rest."
            )


def _generate(
    job: AnimateJob,
    denoiser: Denoiser,
    vae: VideoVAE,
    store: SegmentStore,
    progress: Callable[[Progress], None] | None,
    video: str | os.PathLike | None,
    audio: dict | None,
    record: ClipRecord | None,
    check_model: Callable[[], None],
    look: Callable[[FrameSource], None],
) -> FrameSource:
    count = len(job.plan())
    done = sum(map(store.is_whole, job.plan())) * denoiser.steps
    begun = Progress(
        job.wanted().segments[0].index, count, "verify", done, count * denoiser.steps, steps=denoiser.steps
    )
    store.verify(job.plan(), lambda: None if progress is None else progress(begun))
    plan = result_plan(job, store)
    record = None if record is None else record.showing(plan)
    total = len(plan) * denoiser.steps
    cached = vae if isinstance(vae, CachedVAE) else CachedVAE(vae)
    left = [segment for segment in plan if not store.is_whole(segment)]
    unfinished = {segment.index for segment in left}
    check_start(job, store)
    reference_latent = tail = None
    colors = SegmentColors(job.color, job.controls, job.plan())
    differences, driver = FrameDifferences(), DriverMotion(job.controls)
    written = video is None or (not left and store.has_clip(video, plan, record is not None))
    growing = None if written else _growing(job, plan, video, audio, record)
    with (
        SegmentSaver(store, job.fps, growing, differences) as saver,
        ControlReader(
            job.controls.checked_sources, left, lambda s: [*_needed(s, job.controls, cached), *colors.reads]
        ) as reader,
        closing(PoseAhead(reader, cached, job.controls)) as pose_ahead,
    ):

        def report(
            segment: Segment,
            stage: str,
            steps: int = 0,
            latent: torch.Tensor | None = None,
            frames: torch.Tensor | None = None,
        ) -> None:
            saver.check()
            if progress is not None:
                done = (segment.index - plan.segments[0].index) * denoiser.steps + steps
                later, references = sum(one.index > segment.index for one in left), job.reference_latents
                progress(
                    Progress(
                        segment.index, count, stage, done, total, latent, frames, denoiser.steps, references, later
                    )
                )

        def take(name: str) -> np.ndarray:
            if name != POSE:  # which is encoded meanwhile
                saver.wait_converted()
            return reader.take(name)

        for segment in plan:
            here = functools.partial(report, segment)
            waiting = functools.partial(here, "write", denoiser.steps)
            if segment.index not in unfinished:
                saver.resume([segment], waiting)
                tail = None
                continue
            store.check_room()
            here("encode")
            reader.begin(segment)
            if reference_latent is None:
                reference_latent = _encode_reference(job, cached)
            if tail is None:  # the first of a chain, or the one before is in the store
                tail, state = _handed_over(job, segment, store)
                colors = SegmentColors(job.color, job.controls, job.plan(), state)
            conditioning = build_conditioning(
                segment, job.controls, cached, reference_latent, tail, denoiser.face_size, denoiser.face_dtype,
                driver.watching(segment, colors.watching(segment, take)), pose_ahead.take(segment),
            )  # fmt: skip
            reader.read_on()
            pose_ahead.begin()
            conditioning.seed = job.seed_of(segment.index)
            for made, of in ((conditioning.concat_latent, "scene"), (conditioning.pose_latent, "pose")):
                check_finite(made, f"what the VAE made of the {of} of segment {segment.index + 1}", OTHER_VAE)
            noise = job.noise(segment, conditioning.noise_shape)
            here("load")
            latent = denoiser.denoise(conditioning, noise, _on_step(here))
            pose_ahead.wait()
            del conditioning, noise
            check_finite(latent, f"what the sampler made of segment {segment.index + 1}", OTHER_MODEL)
            here("decode", denoiser.steps)
            frames = _decode(segment, latent[:, :, job.reference_latents :], cached)
            check_finite(frames, f"what the VAE decoded of segment {segment.index + 1}", OTHER_VAE)
            del latent
            colors.correct(segment, frames, tail)
            # What the clip shows last, also where a segment makes fewer new frames than it takes over.
            new = frames[segment.previous_frames :]
            last = new if tail is None or len(new) >= job.previous_frames else torch.cat((tail, new))
            # None where no segment follows: on a full disk, frames that nobody reads must not cost a whole clip.
            # None as well where the next starts from the former frames: these are in the store.
            handed = segment.hands_over and not job.returns(segment)
            before, tail = tail, last[-job.previous_frames :].clone() if handed else None
            shown = _shown(job, segment, frames, before, store)
            check_model()
            try:
                here("save", denoiser.steps, frames=shown)
            except BaseException:  # to stop here costs no segment
                saver.keep(segment, shown, tail, colors.state, colors.record)
                raise
            saver.save(segment, shown, tail, waiting, colors.state, colors.record)
            del frames, new, last, shown, before
        saver.wait_saved(waiting)
        clip = store.clip(plan, job.fps, len(job.controls))
        if any(segment.previous_frames for segment in plan) and (left or store.boundaries() is None):
            end = Progress(plan.segments[-1].index, count, "measure", total, total, steps=denoiser.steps, later=0)
            check = lambda: None if progress is None else progress(end)  # noqa: E731
            _measure(job, plan, clip, differences, driver, store, check)  # while the rest of the mp4 is written
        try:
            look(clip)
        finally:
            clip.close()  # opened anew where it is read
        saver.finish(waiting)
        if video is not None and not written:
            store.save_clip(video, plan, record is not None, waiting)
    return clip


def _measure(
    job: AnimateJob,
    plan: SegmentPlan,
    clip: FrameSource,
    differences: FrameDifferences,
    driver: DriverMotion,
    store: SegmentStore,
    check: Callable[[], None],
) -> None:
    """Compares the boundaries with the frames around them; what shows is logged. It costs no clip that is whole."""
    try:
        boundaries = _boundaries(job, plan, clip, differences, driver, store, check)
        store.save_boundaries(boundaries)
    except InputError as error:
        log.warning("the boundaries between segments were not measured: %s", error)
        return
    finally:
        driver.close()
        clip.close()
    if any(boundary.shows for boundary in boundaries):
        log.warning("%s", boundary_report(boundaries))


def _boundaries(
    job: AnimateJob,
    plan: SegmentPlan,
    clip: FrameSource,
    differences: FrameDifferences,
    driver: DriverMotion,
    store: SegmentStore,
    check: Callable[[], None],
) -> list[Boundary]:
    returning = [segment.index for segment in plan if job.returns(segment)]
    given = None
    if plan.segments[0].index == job.options.continued:
        given, _ = _handed_over(job, plan.segments[0], store)
    before = None if given is None else given[-1].numpy()
    return measure_boundaries(plan, clip, differences, driver, returning, before, check)


def _handed_over(
    job: AnimateJob, segment: Segment, store: SegmentStore
) -> tuple[torch.Tensor | None, dict[str, torch.Tensor] | None]:
    """The previous frames ``[previous_frames, H, W, 3]`` and colours that a segment starts from."""
    if segment.index == job.options.continued and job.options.continue_from is not None:
        return continued_frames(job.options.continue_from, job.previous_frames, *job.controls.size), None
    if not segment.previous_frames:
        return None, None
    return store.tail(segment.index - 1), store.state(segment.index - 1)


def _decode(segment: Segment, latent: torch.Tensor, vae: CachedVAE) -> torch.Tensor:
    """The frames that are needed. In time the VAE is causal: a frame is made of its own latent and those before."""
    return vae.decode(latent[:, :, : -(-(segment.needed - 1) // 4) + 1])[: segment.needed]


def _shown(
    job: AnimateJob, segment: Segment, frames: torch.Tensor, tail: torch.Tensor | None, store: SegmentStore
) -> torch.Tensor:
    """What the clip shows of a segment's frames, ``[keep, H, W, 3]``."""
    if segment.fade and tail is not None:
        join(segment, frames, tail)
    shown = frames[segment.first - segment.start :][: segment.keep]
    if job.returns(segment):
        back = min(RETURN, segment.keep - segment.fade)
        former = store.former(segment, job.fps).read(segment.keep - back, segment.keep)
        shown[-back:] = crossfade(shown[-back:], as_float(former))
    return shown


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
    job: AnimateJob,
    plan: SegmentPlan,
    path: str | os.PathLike | None,
    audio: dict | None,
    record: ClipRecord | None,
) -> GrowingVideo | None:
    if path is None:
        return None
    return GrowingVideo(path, job.controls.size, plan.keep, job.fps, audio, float(plan.first / job.fps), record)


def _needed(segment: Segment, controls: Controls, vae: CachedVAE) -> list[str]:
    """The controls whose latent is not cached."""
    if vae.cache is None:
        return list(controls.sources)
    cached = {name for name, key in zip((POSE, BACKGROUND), latent_keys(segment, controls)) if key in vae}
    return [name for name in controls.sources if name not in cached]
