"""Retargeting, and prompts for measuring both bodies in edited pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from .below import preview
from .types import Track, as_images, first_picture, fitted, frames_input

if TYPE_CHECKING:
    import torch

    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/pose"
_ONE_PICTURE = "from Detect Pose and Face run on that one image"


class RetargetPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitRetargetPose",
            display_name="Retarget Pose",
            category=CATEGORY,
            description=(
                "Puts the driver's motion on the character's body: bone lengths, size and place of the reference "
                "picture, angles and steps of the driver. For animate mode; in replace mode the character must fit "
                "into the video, so leave it out there."
            ),
            search_aliases=["pose retargeting", "retarget skeleton", "bone length", "proportions", "align pose"],
            inputs=[
                Track.Input(
                    "pose",
                    display_name="pose",
                    tooltip="The driver's pose, from Detect Pose and Face or a loaded track.",
                ),
                Track.Input(
                    "reference_pose",
                    display_name="reference pose",
                    tooltip=f"The pose of the reference picture: {_ONE_PICTURE}.",
                ),
                io.Float.Input(
                    "proportions",
                    display_name="proportions",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "Whose limbs: 1 the character's bone lengths, 0 the driver's at the character's size, between "
                        "the two a mixture. Less when a cartoon's limbs come out too extreme."
                    ),
                ),
                io.Combo.Input(
                    "travel",
                    display_name="sideways motion",
                    options=["in picture", "full", "none"],
                    tooltip=(
                        "How the body moves sideways. in picture: as the driver does, and if that path does not fit "
                        "into the picture, the view pans along. full: as the driver does, out of the picture too. "
                        "none: it stays where the character stands; walking is on the spot."
                    ),
                ),
                io.Boolean.Input(
                    "follow_depth",
                    display_name="follow depth",
                    default=True,
                    tooltip=(
                        "On: the body grows and shrinks as the driver comes nearer and goes away, and has the "
                        "character's size when nearest. Off: it always has the character's size."
                    ),
                ),
                io.Combo.Input(
                    "align",
                    display_name="align by",
                    options=["auto", "feet", "hips", "neck"],
                    advanced=True,
                    tooltip=(
                        "What is put where it is in the reference picture. auto: the feet on its ground when both "
                        "pictures show feet, else the neck."
                    ),
                ),
                io.Int.Input(
                    "width",
                    display_name="area width (0: video's)",
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip=(
                        "With height, how large the clip is to be: the result has the reference picture's shape and at "
                        "most width x height pixels in all, sides divisible by 16. 0: as many as the driving video."
                    ),
                ),
                io.Int.Input(
                    "height",
                    display_name="area height (0: video's)",
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip="See width; 0 (with width 0) takes as many pixels as the driving video has.",
                ),
                frames_input(
                    "frames",
                    optional=True,
                    tooltip=(
                        "The driving video, to be shown in the preview's upper row. A pose of a longer part of it is "
                        "cut to these frames."
                    ),
                ),
                io.Image.Input(
                    "reference_image",
                    display_name="reference image",
                    optional=True,
                    tooltip="The reference picture, only to be shown behind the result in the preview.",
                ),
                Track.Input(
                    "driver_edit_pose",
                    display_name="driver edit pose",
                    optional=True,
                    tooltip=(
                        "The pose of an edited frame of the driver in a plain standing pose (Edit Prompts says which "
                        f"frame and how), {_ONE_PICTURE}. Its bone lengths are used in place of the clip's."
                    ),
                ),
                Track.Input(
                    "reference_edit_pose",
                    display_name="reference edit pose",
                    optional=True,
                    tooltip=(
                        f"The pose of the edited reference picture in a plain standing pose, {_ONE_PICTURE}. Its bone "
                        "lengths are used in place of the picture's; worth it when the character sits or stands "
                        "side-on."
                    ),
                ),
            ],
            outputs=[
                Track.Output(
                    display_name="pose",
                    tooltip="The character's pose in every frame, in pixels of the reference picture, for Draw Pose.",
                ),
                io.Int.Output(display_name="width", tooltip="Width of the result: make the clip at this size."),
                io.Int.Output(display_name="height", tooltip="Height of the result."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        pose: PoseTrack,
        reference_pose: PoseTrack,
        proportions: float,
        travel: str,
        follow_depth: bool,
        align: str,
        width: int,
        height: int,
        frames: Any = None,
        reference_image: torch.Tensor | None = None,
        driver_edit_pose: PoseTrack | None = None,
        reference_edit_pose: PoseTrack | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.errors import InputError
        from ..wan_animate.retarget.placement import sized
        from ..wan_animate.retarget.retarget import check, retarget_bodies

        frames = None if frames is None else as_images(frames, "frames")
        pose = fitted(pose, frames)
        if (width > 0) != (height > 0):
            raise InputError(
                f"width is {width} and height {height}: set both, or both to 0 for the video's pixel count."
            )
        check(pose, reference_pose, driver_edit_pose, reference_edit_pose, proportions, align, travel)
        reference_pose = sized(reference_pose, (width * height) or pose.width * pose.height)
        track, bodies = retarget_bodies(
            pose,
            reference_pose,
            driver_edit_pose,
            reference_edit_pose,
            proportions=proportions,
            align=align,
            travel=travel,
            follow_depth=follow_depth,
        )
        shown = _preview(cls, pose, reference_pose, track, frames, reference_image, bodies.best_frame)
        return io.NodeOutput(track, track.width, track.height, ui=shown)


def _preview(
    cls: type[io.ComfyNode],
    pose: PoseTrack,
    reference_pose: PoseTrack,
    track: PoseTrack,
    frames: FrameSource | None,
    image: torch.Tensor | None,
    first: int,
) -> ui.PreviewImage:
    import numpy as np

    from ..wan_animate.pose.found import warn_if_rarely_found
    from ..wan_animate.preview.canvas import with_warnings
    from ..wan_animate.preview.retarget import retarget_sheet

    picture = None
    if image is not None:
        picture = np.rint(first_picture(image, "reference_image").cpu().numpy() * 255).astype(np.uint8)
    sheet = retarget_sheet(pose, reference_pose, track, frames, picture, first)
    warning = warn_if_rarely_found(pose, "retarget pose")
    warnings = [warning] if warning else []
    return preview(cls, with_warnings(sheet, warnings), warnings)


class EditPrompts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitEditPrompts",
            display_name="Edit Prompts",
            category=CATEGORY,
            description=(
                "What to ask an image-edit model (FLUX.1 Kontext, Qwen-Image-Edit) for, so that driver and character "
                "stand in a plain pose in which Retarget Pose can measure their bones; and which frame to edit."
            ),
            search_aliases=["kontext prompt", "qwen edit prompt", "t-pose", "retarget edit"],
            inputs=[
                Track.Input("pose", display_name="pose", tooltip="The driver's pose, from Detect Pose and Face."),
                Track.Input(
                    "reference_pose",
                    display_name="reference pose",
                    tooltip=f"The pose of the reference picture: {_ONE_PICTURE}.",
                ),
                frames_input("frames", optional=True, tooltip="The driving video; gives out the frame to edit."),
            ],
            outputs=[
                io.String.Output(display_name="driver_prompt", tooltip="The prompt for editing the driver's frame."),
                io.String.Output(
                    display_name="reference_prompt", tooltip="The prompt for editing the reference picture."
                ),
                io.Int.Output(
                    display_name="frame", tooltip="The driver's frame that shows most of the body, counted from 0."
                ),
                io.Image.Output(
                    display_name="frame_image", tooltip="That frame as an IMAGE, to edit; needs frames connected."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose: PoseTrack, reference_pose: PoseTrack, frames: Any = None) -> io.NodeOutput:
        from comfy_execution.graph_utils import ExecutionBlocker

        from ..wan_animate.retarget.edit_prompts import edit_prompts
        from ..wan_animate.video.frames import read_float

        pose = fitted(pose, frames)
        prompts = edit_prompts(pose, reference_pose)
        image = ExecutionBlocker("Edit Prompts: connect the driving video to frames to get the frame to edit.")
        if frames is not None:
            image = read_float(as_images(frames, "frames"), prompts.frame, prompts.frame + 1)
        text = f"Frame {prompts.frame}:\n{prompts.driver}\n\nReference:\n{prompts.reference}"
        return io.NodeOutput(prompts.driver, prompts.reference, prompts.frame, image, ui=ui.PreviewText(text))
