"""The main node: one character picture and one driving video in, a finished clip out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import InputImpl, io

from .finished import finished_report
from .host.sampling import sampler_names, scheduler_names
from .types import Frames, Options, as_images, as_masks, frames_input, mask_input, pictures, valid

if TYPE_CHECKING:
    import torch

    from ..wan_animate.chain.options import ClipOptions
    from ..wan_animate.video.frames import FrameSource

UNLINKED = object()


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
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    display_name="model",
                    tooltip="Wan 2.2 Animate 14B, from any loader; LoRAs and other patches apply.",
                ),
                io.Conditioning.Input(
                    "positive",
                    display_name="positive",
                    tooltip=(
                        "What the clip shows. The model was trained with a plain sentence; long prompts add little."
                    ),
                ),
                io.Conditioning.Input("negative", display_name="negative", tooltip="Only used when cfg is above 1."),
                io.Vae.Input("vae", display_name="vae", tooltip="The Wan 2.1 VAE (wan_2.1_vae.safetensors)."),
                io.Image.Input(
                    "reference_image",
                    display_name="reference image",
                    tooltip=(
                        "The character. A picture of another shape is fitted onto black, as the model was trained; "
                        "transparent parts become black. A batch is up to 5 pictures, the best first; each makes "
                        "every segment a latent frame longer. The model was trained with one."
                    ),
                ),
                frames_input(
                    "pose", "The drawn skeleton, from Draw Pose or any pose node. Its size and length are the clip's."
                ),
                frames_input(
                    "face",
                    "512x512 crops of the driver's face, from Detect Pose and Face. Without it the expression "
                    "is left to the pose.",
                    optional=True,
                ),
                frames_input(
                    "background",
                    "Replace: the driving video with the character blacked out, from Background without Character.",
                    optional=True,
                ),
                mask_input(
                    "character_mask",
                    "Replace: where the character goes (white), from Shape Mask or any segmentation node.",
                    optional=True,
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    display_name="clip vision output",
                    optional=True,
                    tooltip=(
                        "CLIP ViT-H of the reference image (CLIP Vision Encode). The model was trained with it: "
                        "leave it out only to save memory."
                    ),
                ),
                io.Audio.Input(
                    "audio",
                    display_name="audio",
                    optional=True,
                    tooltip="Sound for the clip, usually the driving video's.",
                ),
                io.Combo.Input(
                    "mode",
                    display_name="mode",
                    options=["animate", "replace"],
                    tooltip=(
                        "animate: the reference's own scene. replace: the driver's scene; needs background and "
                        "character_mask."
                    ),
                ),
                io.Int.Input(
                    "seed",
                    display_name="seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Noise of the first segment; the k-th segment uses seed + k.",
                ),
                io.Int.Input(
                    "steps",
                    display_name="steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Sampling steps a segment. 20 as trained; 4 to 6 with a distillation LoRA.",
                ),
                io.Float.Input(
                    "cfg",
                    display_name="cfg",
                    default=1.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    round=0.01,
                    tooltip=(
                        "1 is what the model is meant for and twice as fast. Above 1 strengthens expression: the "
                        "negative sees a blank face."
                    ),
                ),
                io.Combo.Input(
                    "sampler_name",
                    display_name="sampler name",
                    options=sampler_names(),
                    default="uni_pc",
                    advanced=True,
                    tooltip="Upstream uses UniPC or DPM++ (uni_pc, dpmpp_2m).",
                ),
                io.Combo.Input(
                    "scheduler",
                    display_name="scheduler",
                    options=scheduler_names(),
                    default="simple",
                    advanced=True,
                    tooltip="How the steps are spread over the noise levels. simple matches upstream.",
                ),
                io.Float.Input(
                    "shift",
                    display_name="shift",
                    default=5.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    advanced=True,
                    tooltip=(
                        "Shift of the noise schedule, 5 as upstream. 0 keeps the model's own, for a model that was "
                        "patched with ModelSamplingSD3."
                    ),
                ),
                io.Int.Input(
                    "segment_length",
                    display_name="segment length",
                    default=77,
                    min=5,
                    max=1001,
                    step=4,
                    advanced=True,
                    tooltip="Frames a segment, 4n+1. 77 as trained; fewer saves memory, more drifts.",
                ),
                io.Int.Input(
                    "guidance_frames",
                    display_name="previous frames",
                    default=1,
                    min=1,
                    max=997,
                    step=4,
                    tooltip=(
                        "Frames that each segment takes over from the one before, 4n+1: 1 or 5 as trained. More "
                        "holds motion better and makes fewer new frames a segment."
                    ),
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps (0: as pose)",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    round=0.001,
                    advanced=True,
                    tooltip=(
                        "Frame rate of the clip. 0 takes the pose's (frames from Load Driving Video know it; plain "
                        "images count as 30)."
                    ),
                ),
                io.Combo.Input(
                    "color",
                    display_name="color",
                    options=["anchor", "previous", "off"],
                    default="anchor",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "How colour drift from segment to segment is taken out. anchor: each segment is matched to the "
                        "frames it takes over, and to what stays the same: the driver's scene in replace, the parts "
                        "that stand still in animate. previous: to the frames it takes over alone. off: nothing is "
                        "changed. The first segment never is."
                    ),
                ),
                Options.Input(
                    "options",
                    display_name="options",
                    optional=True,
                    tooltip="Clip Options: seams, shots, parts of the clip, seeds of single segments, continuing.",
                ),
            ],
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
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(
        cls,
        mode: str | None,
        segment_length: int | None,
        guidance_frames: int | None,
        background: Any = UNLINKED,
        character_mask: Any = UNLINKED,
    ) -> bool | str:
        """Before anything runs; what is linked is None here, and checked by the job."""
        from ..wan_animate.chain.job import check_scene
        from ..wan_animate.chain.segments import check_segment_settings

        def all_inputs() -> None:
            if mode is not None:
                check_scene(mode, background is not UNLINKED, character_mask is not UNLINKED)
            if segment_length is not None and guidance_frames is not None:
                check_segment_settings(segment_length, guidance_frames)

        return valid(all_inputs)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        vae: Any,
        reference_image: torch.Tensor,
        pose: FrameSource | torch.Tensor,
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
        face: FrameSource | torch.Tensor | None = None,
        background: FrameSource | torch.Tensor | None = None,
        character_mask: FrameSource | torch.Tensor | None = None,
        clip_vision_output: Any = None,
        audio: dict | None = None,
        color: str = "anchor",
        options: ClipOptions | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.chain.control_sources import Controls
        from ..wan_animate.chain.generate import generate, result_plan
        from ..wan_animate.chain.job import AnimateJob
        from ..wan_animate.chain.job_folder import clip_name
        from ..wan_animate.chain.reuse import take_over
        from ..wan_animate.chain.store import SegmentStore
        from ..wan_animate.plan.measured import begin_clock, run_of
        from ..wan_animate.record.clip_record import record_tags
        from ..wan_animate.video.resample import as_rate
        from .host.device import device_here
        from .host.jobs import (
            finished_folder,
            finished_meanwhile,
            model_signature,
            other_jobs,
            run_mark,
            runs,
            unfinished_folder,
        )
        from .host.ports import HostDenoiser, cached_vae
        from .host.record import node_record
        from .host.sampling import SamplingProgress

        video_vae = cached_vae(vae)
        denoiser = HostDenoiser(
            model, positive, negative, clip_vision_output, steps, cfg, sampler_name, scheduler, shift, seed
        )
        reference, *more = pictures(reference_image, "reference_image")
        controls = Controls(
            pose=as_images(pose, "pose"),
            face=None if face is None else as_images(face, "face"),
            background=None if background is None else as_images(background, "background"),
            character_mask=None if character_mask is None else as_masks(character_mask, "character_mask"),
        )
        job = AnimateJob(reference, controls, mode, segment_length, guidance_frames, seed, as_rate(fps), color)
        job.options, job.more_references = options or job.options, tuple(more)
        job.check()
        name = clip_name(audio)
        prompts = denoiser.set_clip(job.plan())
        sampling = f"{steps} {cfg} {sampler_name} {scheduler} {shift}"
        linked = ["model", "positive", "negative", "vae", "clip_vision_output"]
        signature = model_signature(cls.hidden, linked)
        anew = run_mark(cls.hidden)
        key = job.key(f"{signature} {sampling}") + anew
        # A segment is known by its own prompt, so that another one elsewhere does not make it again.
        if prompts is not None and cls.hidden is not None:
            signature = model_signature(cls.hidden, ["model", "vae", "clip_vision_output"])
        extra = f"{signature} {sampling}", prompts or []
        device = device_here().name
        clock = begin_clock(runs(), device, job, denoiser.passes)
        progress = SamplingProgress(denoiser.model, clock, getattr(cls.hidden, "unique_id", None))
        record = node_record(job, denoiser, cls.hidden, linked, device)
        # The job stays where it is found again until its clip is whole: a full disk or Cancel loses nothing.
        with SegmentStore(unfinished_folder(key), progress.check) as store:
            store = finished_meanwhile(store, key, job.wanted())
            others = [] if anew else other_jobs()
            take_over(store, job.segment_keys(*extra), others, job.former_keys(*extra))
            frames = generate(job, denoiser, video_vae, store, progress, store.folder / name, audio, record)
            shown = result_plan(job, store)
            frames.close()
            took = run_of(clock, device, job, store.folder, denoiser.passes)
            if took is not None and len(shown) == len(job.plan()):
                runs().add(took)
            if len(shown) == len(job.plan()):  # a part is kept for the rest
                store = store.move_to(finished_folder(key))
        frames = store.clip(shown, job.fps, len(job.controls))
        below = finished_report(cls, store, shown, job, frames, progress.check)
        frames.close()
        frames.tags = record_tags(store.folder / name)
        video = InputImpl.VideoFromFile(str(store.folder / name))
        return io.NodeOutput(video, frames, len(frames), ui=below)
