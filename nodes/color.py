"""Colours of one clip given to another."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from .below import preview
from .types import Frames, as_images, as_masks, frames_input, mask_input

CATEGORY = "WanAnimateKit/color"


class MatchColor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitMatchColor",
            display_name="Match Color",
            category=CATEGORY,
            description=(
                "Gives a video the colours of a picture or of another video, without flicker and without holding the "
                "video in memory: measured once, then each frame is changed when it is read. Masks say what is "
                "measured. Shows a frame before and after."
            ),
            search_aliases=[
                "color match",
                "color transfer",
                "color grading",
                "color correction",
                "mkl",
                "reinhard",
                "histogram matching",
                "optimal transport",
                "white balance",
            ],
            inputs=[
                frames_input("frames", tooltip="The video, or pictures, whose colours change."),
                frames_input(
                    "reference", tooltip="The colours to take: a picture, or a video. Any size; it does not change."
                ),
                io.Combo.Input(
                    "method",
                    display_name="method",
                    options=["mkl", "mkl_lab", "reinhard_lab", "histogram"],
                    tooltip=(
                        "mkl: mean and covariance by linear optimal transport (Monge-Kantorovich) in RGB, the "
                        "gentlest and fastest; mkl_lab: the same in CIELAB. reinhard_lab: mean and deviation of "
                        "lightness and of the two colour axes. histogram: each of red, green and blue gets the "
                        "reference's whole histogram, strong and apt to make bands."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    display_name="strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far each pixel goes to its matched colour. 0 passes the frames on untouched.",
                ),
                mask_input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "What is measured of the frames, such as the background or the person; the whole frame is "
                        "changed all the same. A mask for every frame, or one for all."
                    ),
                ),
                mask_input("reference_mask", optional=True, tooltip="What is measured of the reference."),
                io.Combo.Input(
                    "reference_frames",
                    display_name="reference frames",
                    options=["first", "mean", "frame by frame"],
                    default="first",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Which frames of the reference count, if it has several: its first, the mean of all, or for "
                        "each frame its own, for a reference of the same length (averaged as the frames are)."
                    ),
                ),
                io.Combo.Input(
                    "over",
                    display_name="match over",
                    options=["shot", "window"],
                    default="shot",
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "shot: one change for all of a shot, so that nothing in it flickers and light that really "
                        "changes stays. window: the change follows the video, for colours that drift; slow changes "
                        "of light go too."
                    ),
                ),
                io.Int.Input(
                    "smooth",
                    display_name="averaged frames",
                    default=12,
                    min=0,
                    max=10_000,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "With window: frames before and after over which the change is averaged, so that somebody who "
                        "walks through the picture does not make it flicker. 0 matches each frame on its own."
                    ),
                ),
                io.Boolean.Input(
                    "per_shot",
                    display_name="each shot alone",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip="A cut in the video begins a new shot. Off takes the whole video for one.",
                ),
            ],
            outputs=[
                Frames.Output(display_name="frames", tooltip="The frames in the reference's colours, in their order.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        frames: Any,
        reference: Any,
        method: str,
        strength: float,
        mask: Any = None,
        reference_mask: Any = None,
        reference_frames: str = "first",
        over: str = "shot",
        smooth: int = 12,
        per_shot: bool = True,
    ) -> io.NodeOutput:

        from ..wan_animate.color.match import match_color
        from ..wan_animate.preview.side_by_side import side_by_side
        from ..wan_animate.video.frames import read_uint8
        from .host.device import compute_device
        from .host.progress import progress_bar

        source = as_images(frames, "frames")
        if strength == 0:
            return io.NodeOutput(source)
        wanted = as_images(reference, "reference")
        matched = match_color(
            source,
            wanted,
            method,
            strength,
            mask=None if mask is None else as_masks(mask, "mask"),
            reference_mask=None if reference_mask is None else as_masks(reference_mask, "reference_mask"),
            reference_frames=reference_frames,
            smooth=smooth if over == "window" else None,
            per_shot=per_shot,
            device=compute_device(),
            progress=progress_bar(phase="Measuring colours"),
        )
        middle = len(source) // 2
        shown = middle if reference_frames == "frame by frame" and len(wanted) > 1 else 0
        picture = side_by_side(
            [
                ("before", read_uint8(source, middle, middle + 1)[0]),
                ("reference", read_uint8(wanted, shown, shown + 1)[0]),
                ("after", read_uint8(matched, middle, middle + 1)[0]),
            ]
        )
        return io.NodeOutput(matched, ui=preview(cls, picture))
