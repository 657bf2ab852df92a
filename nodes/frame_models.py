"""More frames a second, and larger ones, by models that the host runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .types import Frames, Track, as_images, fitted, frames_input

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack

CATEGORY = "WanAnimateKit/video"
InterpolationModel = io.Custom("INTERP_MODEL")


class InterpolateFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitInterpolateFrames",
            display_name="Interpolate Frames",
            category=CATEGORY,
            description=(
                "Makes frames between frames with ComfyUI's own RIFE or FILM: 16 or 24 frames a second become 30 or "
                "60, at the same speed. Two frames are in memory at a time; they are made when they are read."
            ),
            search_aliases=[
                "frame interpolation",
                "rife",
                "film",
                "vfi",
                "fps",
                "60 fps",
                "smooth video",
                "slow motion",
            ],
            inputs=[
                InterpolationModel.Input(
                    "interp_model",
                    display_name="interpolation model",
                    tooltip="From Load Frame Interpolation Model (RIFE or FILM).",
                ),
                frames_input(
                    "frames",
                    display_name="frames",
                    tooltip="The clip, before or after Upscale Frames; before takes less time.",
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps",
                    default=60.0,
                    min=1.0,
                    max=1000.0,
                    step=0.01,
                    tooltip=(
                        "Frames a second to make; at least the clip's own. A multiple of the clip's keeps all of its "
                        "frames; at another rate most are new."
                    ),
                ),
                io.Int.Input(
                    "multiplier",
                    display_name="multiplier (0: by fps)",
                    default=0,
                    min=0,
                    max=16,
                    optional=True,
                    advanced=True,
                    tooltip="In place of fps: how many times the clip's rate, as in ComfyUI's own node. 0 takes fps.",
                ),
                Track.Input(
                    "pose",
                    display_name="pose",
                    optional=True,
                    advanced=True,
                    tooltip="The clip's pose, which knows its cuts: no frame is made between two shots.",
                ),
            ],
            outputs=[
                Frames.Output(display_name="frames", tooltip="The clip at the new rate: connect Save Clip."),
                io.Float.Output(display_name="fps", tooltip="Its frames a second."),
                io.Int.Output(display_name="count", tooltip="Number of frames."),
            ],
        )

    @classmethod
    def execute(
        cls, interp_model: Any, frames: Any, fps: float, multiplier: int = 0, pose: PoseTrack | None = None
    ) -> io.NodeOutput:
        from ..wan_animate.video.modelled import InterpolatedSource
        from .host.frame_models import HostInterpolator, check_interpolator

        check_interpolator(interp_model)
        source = as_images(frames, "frames", lazily=True)
        cuts = () if pose is None else tuple(fitted(pose, source).cuts)
        rate = source.fps * multiplier if multiplier else fps
        made = InterpolatedSource(source, HostInterpolator(interp_model), rate, cuts)
        return io.NodeOutput(made, float(made.fps), len(made))


class UpscaleFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitUpscaleFrames",
            display_name="Upscale Frames",
            category=CATEGORY,
            description=(
                "Makes a clip larger with any upscaling model that ComfyUI loads (ESRGAN, DAT, SPAN, ...): 480p "
                "becomes 1080p. One frame is in memory at a time; they are made when they are read."
            ),
            search_aliases=["upscale video", "esrgan", "super resolution", "1080p", "4k", "hires", "enlarge frames"],
            inputs=[
                io.UpscaleModel.Input(
                    "upscale_model",
                    display_name="upscaling model",
                    tooltip="From Load Upscale Model. A 2x model is quicker than a 4x one.",
                ),
                frames_input("frames", "The clip."),
                io.Int.Input(
                    "short_side",
                    display_name="short side",
                    default=1080,
                    min=0,
                    max=8192,
                    step=2,
                    tooltip=(
                        "Pixels of the shorter side; the clip keeps its shape: 832x480 at 1080 becomes 1872x1080. 0 "
                        "leaves what the model makes."
                    ),
                ),
            ],
            outputs=[
                Frames.Output(display_name="frames", tooltip="The larger clip: connect Save Clip."),
                io.Int.Output(display_name="width", tooltip="Width of the frames in pixels."),
                io.Int.Output(display_name="height", tooltip="Height of the frames in pixels."),
            ],
        )

    @classmethod
    def execute(cls, upscale_model: Any, frames: Any, short_side: int) -> io.NodeOutput:
        from ..wan_animate.video.derived import ResizedSource
        from ..wan_animate.video.frames import FrameSource
        from ..wan_animate.video.modelled import UpscaledSource, upright_size
        from .host.frame_models import HostUpscaler, check_upscaler

        check_upscaler(upscale_model)
        made: FrameSource = UpscaledSource(as_images(frames, "frames", lazily=True), HostUpscaler(upscale_model))
        if short_side:
            size = upright_size(made.width, made.height, short_side)
            made = made if size == (made.width, made.height) else ResizedSource(made, *size)
        return io.NodeOutput(made, made.width, made.height)
