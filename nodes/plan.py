"""The node that says what a clip will take and what is wrong with its inputs, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .animate_inputs import LONGEST
from .below import as_image, below
from .types import (
    Options,
    Track,
    as_drawn,
    as_images,
    as_masks,
    drawn_note,
    fitted,
    frames_input,
    mask_input,
    pictures,
    pose_input,
    valid,
)

if TYPE_CHECKING:
    import torch

    from ..wan_animate.chain.options import ClipOptions
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource


class PlanClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitPlanClip",
            display_name="Plan Clip",
            category="WanAnimateKit",
            description=(
                "Says before anything runs what Animate Character will do: segments, shots, overlaps, padding, tokens, "
                "disk, RAM, VRAM and minutes on this machine, and what is wrong with the inputs, each with the remedy. "
                "Loads no model; run it alone with the node's own run button. Times come from this server's own runs "
                "as soon as there is one."
            ),
            search_aliases=[
                "estimate time",
                "how long",
                "plan segments",
                "preflight check",
                "vram estimate",
                "disk space",
                "dry run",
            ],
            inputs=[
                pose_input(
                    "frames",
                    "What goes into pose of Animate Character (a pose, or its drawing), or the driving video: its "
                    "size, length and rate are the clip's.",
                ),
                io.Combo.Input(
                    "mode", display_name="mode", options=["animate", "replace"], tooltip="As in Animate Character."
                ),
                io.Int.Input(
                    "steps", display_name="steps", default=20, min=1, max=1000, tooltip="As in Animate Character."
                ),
                io.Float.Input(
                    "cfg",
                    display_name="cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    advanced=True,
                    tooltip="As in Animate Character: every step takes twice as long unless it is 1.",
                ),
                io.Int.Input(
                    "segment_length",
                    display_name="segment length",
                    default=77,
                    min=5,
                    max=LONGEST,
                    step=4,
                    advanced=True,
                    tooltip="As in Animate Character.",
                ),
                io.Int.Input(
                    "previous_frames",
                    display_name="previous frames",
                    default=1,
                    min=1,
                    max=997,
                    step=4,
                    advanced=True,
                    tooltip="As in Animate Character.",
                ),
                Track.Input(
                    "pose",
                    display_name="pose",
                    optional=True,
                    tooltip="The driver's pose, from Detect Pose and Face: frames without a person, small faces, cuts.",
                ),
                Track.Input(
                    "reference_pose",
                    display_name="reference pose",
                    optional=True,
                    tooltip="The pose of the character's picture: whether it is framed as the driver is.",
                ),
                io.Image.Input(
                    "reference_image",
                    display_name="reference image",
                    optional=True,
                    tooltip="The character's picture: tells the size on disk before a run here has measured it. "
                    "Of a batch each picture adds a latent frame.",
                ),
                mask_input(
                    "character_mask",
                    "Replace: the character mask, looked through for empty frames.",
                    optional=True,
                ),
                io.Combo.Input(
                    "weights",
                    display_name="weights",
                    options=["bf16", "fp8"],
                    default="bf16",
                    optional=True,
                    advanced=True,
                    tooltip="The transformer's file: 34.5 GB in bf16, 17.3 GB in fp8.",
                ),
                Options.Input(
                    "options",
                    display_name="options",
                    optional=True,
                    tooltip="As in Animate Character: Clip Options with its cross-fade, shots and parts of the clip.",
                ),
                frames_input(
                    "driving_video",
                    "As in Animate Character: with a pose in frames, the clip's size is that of this video where the "
                    "job takes it from there, and what it is converted from (HDR, interlaced, edges cut off) is said.",
                    optional=True,
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="The plan in Markdown, what to look at first."),
                io.Image.Output(display_name="plot", tooltip="The plan as a picture."),
                io.Int.Output(display_name="segments", tooltip="How many segments will be made."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, mode: str | None = None) -> bool | str:
        """Before anything runs; what is linked is None here. The rest is read from the graph (:mod:`.host.queued`)."""
        from ..wan_animate.chain.job import check_mode
        from ..wan_animate.chain.segments import check_segment_settings
        from .host.queued import chosen, queued_inputs

        def seen() -> None:
            if mode is not None:
                check_mode(mode)
            inputs = queued_inputs(cls) or {}
            length, previous = (chosen(cls, inputs, name) for name in ("segment_length", "previous_frames"))
            check_segment_settings(length or LONGEST, previous or 1)

        return valid(seen)

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> float:
        """Never the same: disk and measured times change."""
        return float("nan")

    @classmethod
    def execute(
        cls,
        frames: FrameSource | PoseTrack | torch.Tensor,
        mode: str,
        steps: int,
        cfg: float,
        segment_length: int,
        previous_frames: int,
        pose: PoseTrack | None = None,
        reference_pose: PoseTrack | None = None,
        reference_image: torch.Tensor | None = None,
        character_mask: FrameSource | torch.Tensor | None = None,
        weights: str = "bf16",
        options: ClipOptions | None = None,
        driving_video: FrameSource | torch.Tensor | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.chain.options import DEFAULTS
        from ..wan_animate.plan.clip_plan import plan_clip
        from ..wan_animate.plan.sample import lossless_size
        from ..wan_animate.pose.track import PoseTrack
        from ..wan_animate.preview.plan_picture import draw_plan
        from ..wan_animate.preview.report import mask_areas
        from .host.device import device_here
        from .host.jobs import free_disk, runs
        from .host.progress import progress_bar

        mask = None if character_mask is None else as_masks(character_mask, "character_mask")
        video = None if driving_video is None else as_images(driving_video, "driving_video")
        clip = as_drawn(frames, "frames", mode, [mask, video])
        notes = [*clip.notes, *(() if video is None else video.notes), drawn_note(frames, clip, [mask, video], mode)]
        if pose is None and isinstance(frames, PoseTrack):
            pose = frames
        size = clip.width, clip.height
        references = [clip] if reference_image is None else pictures(reference_image, "reference_image")
        plan = plan_clip(
            size=size,
            frames=len(clip),
            fps=clip.fps,
            lossless=lossless_size(references[0], size),
            device=device_here(),
            mode=mode,
            segment_length=segment_length,
            previous_frames=previous_frames,
            steps=steps,
            cfg=cfg,
            weights=weights,
            track=None if pose is None else fitted(pose, clip),
            reference=reference_pose,
            mask_area=None if mask is None else mask_areas(mask, progress_bar(len(mask), "Looking through the mask")),
            runs=runs(),
            free=free_disk(),
            options=options or DEFAULTS,
            references=len(references),
            notes=list(dict.fromkeys(filter(None, notes))),
        )
        # the node shows the words as text, next to the charts
        text, charts = [plan.text()], [draw_plan(plan, words=False)]
        shown = below(cls, charts, text, plan.notes, chains=plan.segments.chains())
        return io.NodeOutput(plan.text(), as_image(draw_plan(plan)), len(plan.segments), ui=shown)
