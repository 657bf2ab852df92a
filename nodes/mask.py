"""Character masks, their shape, and the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .below import Shown, preview
from .types import Frames, Track, as_images, as_masks, drawn_at_inputs, fitted, frames_input, mask_input
from .warning import rarely_found, uncovered

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/mask"
MASK_PIXELS, VIDEO_PIXELS = "of the mask", "of the video file"
UNLINKED = object()
_NO_FRAMES = (
    f"pixels is {VIDEO_PIXELS!r}, but how large these are is not known: connect the driving video to frames, or choose "
    f"{MASK_PIXELS!r}."
)


class MaskFromPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitMaskFromPose",
            display_name="Mask from Pose",
            category=CATEGORY,
            description=(
                "Makes a character mask out of the pose alone: limbs, torso, head and hands with some flesh on them, "
                "and room for hair and hat. It needs no further model. Wide clothes and long hair need Segment "
                "Character instead, or another pack's segmenter through Mask to Frames."
            ),
            search_aliases=["silhouette", "character mask", "body mask", "segment person", "pose to mask"],
            inputs=[
                Track.Input(
                    "pose", display_name="pose", tooltip="The pose of the driving video, from Detect Pose and Face."
                ),
                io.Float.Input(
                    "grow",
                    display_name="thickness",
                    default=1.0,
                    min=0.2,
                    max=5.0,
                    step=0.05,
                    tooltip=(
                        "How thick the body is drawn, as a multiple of a usual build. More for wide clothes, less if "
                        "the mask takes too much of the scene."
                    ),
                ),
                *_size_inputs(),
                *drawn_at_inputs(),
            ],
            outputs=[
                Frames.Output(
                    display_name="mask",
                    tooltip="One mask a frame; the character is 1. Usually goes through Shape Mask next.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, pose: PoseTrack, grow: float, width: int, height: int, fit: str = "fill", frames: Any = None
    ) -> io.NodeOutput:
        from ..wan_animate.mask.from_pose import PoseMaskSource

        pose = fitted(pose, frames, size=True)
        mask = PoseMaskSource.at_size(pose, width, height, fit, grow=grow)
        video = None if frames is None else as_images(frames, "frames")
        return io.NodeOutput(mask, ui=rarely_found(cls, pose, "mask from pose", mask, video))


def _size_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            name,
            display_name=f"{name} (0: video's)",
            default=0,
            min=0,
            max=8192,
            step=16,
            advanced=True,
            tooltip=(
                f"{name.capitalize()} of the result in pixels; 0 takes the size of the video the pose was found in."
            ),
        )
        for name in ("width", "height")
    ]


class ShapeMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitShapeMask",
            display_name="Shape Mask",
            category=CATEGORY,
            description=(
                "Steadies the character mask, grows it and rounds it to blocks, as the model was trained, so that the "
                "old outline does not show through and a character of another build fits in. With the pose connected, "
                "frames in which a hand, a foot or the head lies outside the mask are named before anything is sampled."
            ),
            search_aliases=["grow mask", "dilate mask", "blockify mask", "expand mask", "feather mask", "smooth mask"],
            inputs=[
                mask_input(
                    "mask",
                    tooltip="The character mask: from Segment Character or Mask from Pose, or any segmenter's MASK.",
                ),
                io.Int.Input(
                    "iterations",
                    display_name="grow iterations",
                    default=3,
                    min=0,
                    max=100,
                    tooltip="How many times the mask grows. 0 leaves it as it is, without blocks.",
                ),
                io.Int.Input(
                    "kernel",
                    display_name="grow brush size",
                    default=7,
                    min=1,
                    max=63,
                    step=2,
                    advanced=True,
                    tooltip=(
                        "Size in pixels of the brush that grows the mask; odd. Each iteration adds half of it all "
                        "around."
                    ),
                ),
                io.Int.Input(
                    "blocks_wide",
                    display_name="blocks across",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip=(
                        "How many blocks lie side by side over the mask's width. 1 fills its whole bounding box; 10 "
                        "follows the outline more closely."
                    ),
                ),
                io.Int.Input(
                    "blocks_high",
                    display_name="blocks down",
                    default=1,
                    min=1,
                    max=64,
                    advanced=True,
                    tooltip=(
                        "The same over the mask's height. 1 fills its whole bounding box; 20 follows the outline more "
                        "closely."
                    ),
                ),
                io.Int.Input(
                    "steady",
                    display_name="steady over frames",
                    default=2,
                    min=0,
                    max=16,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Frames before and after that each mask is compared with: what appears or disappears for a "
                        "moment is taken out before the mask grows. 0 leaves the masks as they come."
                    ),
                ),
                io.Float.Input(
                    "feather",
                    display_name="feather",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Width of a soft edge in pixels, for compositing the finished clip. The model and Background "
                        "without Character go by the middle of the edge, so it changes nothing for them."
                    ),
                ),
                io.Boolean.Input(
                    "whole_cells",
                    display_name="fill whole 8x8 cells",
                    default=True,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Fill every 8x8 pixels that the shape touches: the model knows the scene in such cells only, "
                        "and black pixels in a cell that counts as known show as blocks around the character. Off "
                        "ends the mask at any pixel, as Wan's own preprocessing does."
                    ),
                ),
                io.Combo.Input(
                    "pixels",
                    display_name="pixels are",
                    options=[MASK_PIXELS, VIDEO_PIXELS],
                    default=MASK_PIXELS,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "The pixels that kernel and feather are given in. of the mask: of the size that the video was "
                        "loaded at, as the model was trained. of the video file: the same edge at every size; needs "
                        "frames."
                    ),
                ),
                frames_input(
                    "frames",
                    optional=True,
                    tooltip=(
                        "The driving video: tells how large the file's pixels are, and is shown below a mask that is "
                        "warned of."
                    ),
                ),
                Track.Input(
                    "pose",
                    display_name="pose",
                    optional=True,
                    tooltip=(
                        "The pose of the driving video, to check the shaped mask by. Where hands, feet, head, arms or "
                        "legs lie outside, the old person would show: these frames are named below the node."
                    ),
                ),
            ],
            outputs=[
                Frames.Output(
                    display_name="mask",
                    tooltip="The grown, block-shaped mask, for Background without Character and for Animate Character.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, pixels: str | None = MASK_PIXELS, frames: Any = UNLINKED) -> bool | str:
        """Before anything runs; what is linked is None here."""
        if pixels not in (None, MASK_PIXELS, VIDEO_PIXELS):
            return f"pixels is {pixels!r}, but it must be {MASK_PIXELS!r} or {VIDEO_PIXELS!r}."
        return _NO_FRAMES if pixels == VIDEO_PIXELS and frames is UNLINKED else True

    @classmethod
    def execute(
        cls,
        mask: Any,
        iterations: int,
        kernel: int,
        blocks_wide: int,
        blocks_high: int,
        steady: int = 0,  # workflows saved before this input existed
        feather: float = 0.0,
        whole_cells: bool = False,
        pixels: str = MASK_PIXELS,
        frames: Any = None,
        pose: PoseTrack | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.errors import InputError
        from ..wan_animate.mask.shape import ShapedMaskSource, scale_to

        mask = as_masks(mask, "mask")
        frames = None if frames is None else as_images(frames, "frames")
        scale = 1.0
        if pixels == VIDEO_PIXELS:
            if frames is None:
                raise InputError(_NO_FRAMES)
            scale = scale_to(mask, frames)
        shaped = ShapedMaskSource(
            mask, iterations, kernel, blocks_wide, blocks_high, steady, feather, whole_cells, scale
        )
        return io.NodeOutput(shaped, ui=_check(cls, shaped, pose, frames))


def _check(cls: type[io.ComfyNode], mask: FrameSource, pose: PoseTrack | None, frames: FrameSource | None) -> Shown:
    """Moments of the mask; or frames that it fills, in which it is empty, or (by the pose) does not hold the person."""
    from ..wan_animate.mask.coverage import checked_masks
    from ..wan_animate.preview.moments import moments_picture
    from .host.progress import progress_bar

    masks = checked_masks(mask, None if pose is None else fitted(pose, frames))
    coverage = masks.coverage(progress_bar(len(masks), "Looking through the mask"))
    return uncovered(cls, coverage, masks, frames, "shape mask") or preview(cls, moments_picture(mask, frames))


class MaskBackground(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitMaskBackground",
            display_name="Background without Character",
            category=CATEGORY,
            description="The driving video with the masked person blacked out: the scene that replace mode keeps.",
            search_aliases=["background video", "remove person", "draw mask on image", "cut out character"],
            inputs=[
                frames_input(
                    "frames", tooltip="The driving video, or one picture of its scene that stands for every frame."
                ),
                mask_input(
                    "mask",
                    tooltip=(
                        "Where the person is, usually from Shape Mask. Same number of frames and same size as the "
                        "video; a single mask stands for every frame."
                    ),
                ),
            ],
            outputs=[
                Frames.Output(
                    display_name="background",
                    tooltip="The video with black where the mask is 1, for Animate Character in replace mode.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, frames: Any, mask: Any) -> io.NodeOutput:
        from ..wan_animate.mask.background import BackgroundSource
        from ..wan_animate.preview.moments import moments_picture

        frames = as_images(frames, "frames")
        background = BackgroundSource(frames, as_masks(mask, "mask", fps=float(frames.fps)))
        return io.NodeOutput(background, ui=preview(cls, moments_picture(background)))
