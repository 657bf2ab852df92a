"""The main node: one character picture and one driving video in, a finished clip out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from comfy_api.latest import InputImpl, io

from ..wan_animate.log import SEGMENT_MASK, get_logger, heard_now
from .animate_inputs import animate_inputs, check_queued
from .below import warned, with_notes
from .face import face_of
from .finished import boundary_picture, finished_report, stored_ends
from .types import Frames, as_drawn, as_images, as_masks, drawn_note, pictures, valid

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..wan_animate.chain.options import ClipOptions
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

log = get_logger(__name__)


class Animate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitAnimate",
            display_name="Animate Character",
            category="WanAnimateKit",
            description=(
                "Makes the character in the reference image perform the driving video with Wan 2.2 Animate, at any "
                "length: segments are planned, chained by their last frames and joined. Animate keeps the picture's "
                "own scene; replace puts the character into the driver's scene. A finished segment goes to disk while "
                "the next is made: the same job started again goes on from there."
            ),
            search_aliases=[
                "wan animate",
                "wan 2.2 animate",
                "character animation",
                "character replacement",
                "motion transfer",
                "WanAnimateToVideo",
                "face swap",
                "character swap",
                "person swap",
                "long video",
                "mimic motion",
                "animate anyone",
            ],
            essentials_category="Video Generation",
            inputs=animate_inputs(),
            outputs=[
                io.Video.Output(display_name="video", tooltip="The clip with its sound: connect Save Video."),
                Frames.Output(
                    display_name="frames",
                    tooltip="The clip's frames, lossless, read as needed: Frames to Image turns them into IMAGE.",
                ),
                io.Int.Output(
                    display_name="frame_count",
                    tooltip=("Frames in the clip: exactly as many as the pose has, unless options leaves some out."),
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.dynprompt, io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, mode: str | None = None) -> bool | str:
        """Before anything runs; what is linked is None here. The rest is read from the graph (:mod:`.host.queued`)."""
        return valid(lambda: check_queued(cls, mode))

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> int:
        """Another after files of a finished clip are gone, so that it is not taken from ComfyUI's cache."""
        from .host.results import results_lost

        return results_lost()

    @classmethod
    @functools.partial(warned, but=(SEGMENT_MASK,))
    def execute(
        cls,
        model: Any,
        vae: Any,
        reference_image: torch.Tensor,
        pose: FrameSource | PoseTrack | torch.Tensor,
        mode: str,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        shift: float,
        segment_length: int,
        guidance_frames: int,
        fps: float,
        positive: Any = None,
        negative: Any = None,
        face: FrameSource | torch.Tensor | None = None,
        background: FrameSource | torch.Tensor | None = None,
        character_mask: FrameSource | torch.Tensor | None = None,
        clip_vision_output: Any = None,
        audio: dict | None = None,
        color: str = "anchor",
        options: ClipOptions | None = None,
        driving_video: FrameSource | torch.Tensor | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.chain.control_sources import Controls
        from ..wan_animate.chain.generate import check_start, generate, result_plan
        from ..wan_animate.chain.job import AnimateJob
        from ..wan_animate.chain.job_folder import JobFolder, clip_name
        from ..wan_animate.chain.reuse import take_over
        from ..wan_animate.chain.store import SegmentStore
        from ..wan_animate.chain.timeline import Timeline
        from ..wan_animate.plan.measured import begin_clock, run_of
        from ..wan_animate.plan.room import check_room, disk_needed
        from ..wan_animate.record.clip_record import record_tags
        from ..wan_animate.video.resample import as_rate
        from .host.default_prompt import default_prompt
        from .host.device import device_here
        from .host.example_picture import example_note
        from .host.jobs import (
            agree_attention,
            clean_jobs,
            hold_models,
            job_folder,
            job_words,
            other_jobs,
            run_mark,
            runs,
        )
        from .host.parallel import devices_of
        from .host.ports import HostDenoiser, cached_vae
        from .host.progress import tell_phase
        from .host.record import node_record
        from .host.results import remember
        from .host.sampling import SamplingProgress
        from .host.timed_model import timed_model

        tell_phase("comparing the inputs with finished segments")
        agree_attention(cls.hidden)
        video_vae = cached_vae(vae, devices_of(model))
        denoiser = HostDenoiser(
            model,
            default_prompt() if positive is None else positive,
            negative,
            clip_vision_output,
            steps,
            cfg,
            sampler_name,
            scheduler,
            shift,
            seed,
        )
        reference, *more = pictures(reference_image, "reference_image")
        scene = None if background is None else as_images(background, "background")
        mask = None if character_mask is None else as_masks(character_mask, "character_mask")
        video = None if driving_video is None else as_images(driving_video, "driving_video")
        beside = scene, mask, video
        drawn = as_drawn(pose, "pose", mode, beside)
        controls = Controls(drawn, face_of(face, pose, video), scene, mask)
        job = AnimateJob(reference, controls, mode, segment_length, guidance_frames, seed, as_rate(fps), color)
        job.options, job.more_references = options or job.options, tuple(more)
        job.check()
        notes = example_note(cls.hidden, "reference_image"), drawn_note(pose, drawn, beside, mode)
        for note in filter(None, notes):
            log.warning("%s", note)
        name = clip_name(audio)
        prompts = denoiser.set_clip(job.plan())
        sampling = f"{steps} {cfg} {sampler_name} {scheduler} {shift}"
        linked = {
            "model": model,
            "positive": positive,
            "negative": negative,
            "vae": vae,
            "clip_vision_output": clip_vision_output,
        }
        held = hold_models(cls.hidden, ("model", "vae"))
        words, shared = job_words(cls.hidden, linked, sampling, prompts)
        anew = run_mark(cls.hidden)
        key = job.key(words) + anew
        # A segment is known by its own prompt, so that another one elsewhere does not make it again.
        extra = shared, prompts or []
        device = device_here().name
        timed = timed_model(denoiser.model)
        clock = begin_clock(runs(), device, job, timed, denoiser.passes)
        progress = SamplingProgress(denoiser.model, clock)
        checked = controls.checked_mask
        progress.warnings = lambda: [*heard_now(), *([] if checked is None else checked.found().warnings)]
        record = node_record(job, denoiser, cls.hidden, list(linked), device)
        # A job stays where it is found again, finished or not, until it is cleaned up.
        folder = job_folder(key)

        def waiting() -> None:
            done = JobFolder(folder).finished(job.plan())
            progress.tell(f"another process makes this clip: {done} of {len(job.plan())} segments finished")
            progress.check()

        with SegmentStore(folder, waiting) as store:
            others = [] if anew else other_jobs()
            take_over(store, job.segment_keys(*extra), others, job.former_keys(*extra))
            check_start(job, store)
            check_room(disk_needed(job, store, device, runs(), model=timed), store.folder)
            whole = [segment for segment in job.plan() if store.is_whole(segment)]
            progress.timeline = Timeline(job, [segment.index for segment in whole], clock)
            progress.begin(stored_ends(store, whole, job.fps))
            clip = store.folder / name
            boundaries: list[np.ndarray | None] = []
            frames = generate(
                job, denoiser, video_vae, store, progress, clip, audio, record, held.check,
                lambda made: boundaries.append(boundary_picture(made, result_plan(job, store), progress.check)),
            )  # fmt: skip
            shown = result_plan(job, store)
            took = run_of(clock, device, job, store.folder, timed, steps, denoiser.passes)
            if took is not None and len(shown) == len(job.plan()):
                runs().add(took)
            remember(frames, store.folder, [store.folder / name, *(store.frames_path(one.index) for one in shown)])
        clean_jobs()
        progress.timeline.finish()
        progress.tell("looking at the finished clip", state=progress.timeline.state())
        below = finished_report(cls, store, shown, job, frames, boundaries[0], progress, name)
        frames.close()
        progress.finish()
        frames.tags = record_tags(store.folder / name)
        made = InputImpl.VideoFromFile(str(store.folder / name))
        return io.NodeOutput(made, frames, len(frames), ui=with_notes(below, heard_now()))
