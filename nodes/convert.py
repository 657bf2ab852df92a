"""Between FRAMES and the host's IMAGE and MASK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from .types import Frames, as_frames, as_images, as_masks

if TYPE_CHECKING:
    import torch

    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/convert"
_MEMORY = "A 1280x720 picture takes 11 MB as IMAGE (3.7 MB as MASK), so 300 frames take 3.3 GB (1.1 GB)."
_CHANNELS = ["luma", "red", "green", "blue"]


def _window_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "start",
            display_name="start frame",
            default=0,
            min=0,
            max=1_000_000,
            tooltip="The first frame to take, counted from 0.",
        ),
        io.Int.Input(
            "limit",
            display_name="limit (0: all)",
            default=0,
            min=0,
            max=1_000_000,
            tooltip=f"How many frames to take at most; 0 takes all of them. {_MEMORY}",
        ),
    ]


def _to_tensor(source: FrameSource, start: int, limit: int) -> torch.Tensor:
    """float32 ``[n, H, W, 3]`` or ``[n, H, W]``, read in batches.

    Raises:
        InputError: no frames, or not enough free memory.
    """
    import psutil
    import torch

    from ..wan_animate.errors import InputError
    from ..wan_animate.video.frames import as_float
    from .host.progress import progress_bar

    if start >= len(source):
        raise InputError(
            f"start is {start}, but the clip has {len(source)} frames (0 to {len(source) - 1}): choose a smaller start."
        )
    count = min(limit or len(source), len(source) - start)
    shape = (count, source.height, source.width) + ((3,) if source.kind == "image" else ())
    needed, free = 4 * torch.Size(shape).numel(), psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            f"limit: {count} frames of {source.width}x{source.height} take {needed / 1e9:.1f} GB of memory and "
            f"{free / 1e9:.1f} GB are free: set limit to {max(free // 2 // (needed // count), 1)} or less."
        )
    report, tensor = progress_bar(count, "Reading"), torch.empty(shape)
    for first, last, frames in source.batches(16, start, start + count):
        tensor[first - start : last - start] = as_float(frames)
        report(last - start, count)
    return tensor


class FramesToImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitFramesToImage",
            display_name="Frames to Image",
            category=CATEGORY,
            description="Reads frames into an IMAGE batch, to look at them or to hand them to other nodes.",
            search_aliases=["frames to images", "preview frames", "extract frames", "pose to image"],
            inputs=[
                Frames.Input(
                    "frames",
                    display_name="frames",
                    tooltip="Any FRAMES of pictures: the video, the drawn pose, the face crops, the background.",
                ),
                *_window_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The frames as one batch in memory."),
            ],
        )

    @classmethod
    def execute(cls, frames: FrameSource, start: int, limit: int) -> io.NodeOutput:
        return io.NodeOutput(_to_tensor(as_images(frames, "frames", lazily=True), start, limit))


class ImageToFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitImageToFrames",
            display_name="Image to Frames",
            category=CATEGORY,
            description=(
                "Gives an IMAGE batch from any node a frame rate and passes it on as FRAMES; nothing is copied."
            ),
            search_aliases=["images to frames", "dwpose", "batch to frames"],
            inputs=[
                io.Image.Input("image", display_name="image", tooltip="The frames, in order."),
                io.Float.Input(
                    "fps",
                    display_name="fps",
                    default=30.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames a second. Animate Character writes its video at this rate.",
                ),
            ],
            outputs=[Frames.Output(display_name="frames", tooltip="The same pictures as FRAMES.")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, fps: float) -> io.NodeOutput:
        return io.NodeOutput(as_frames(image, fps))


class FramesToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitFramesToMask",
            display_name="Frames to Mask",
            category=CATEGORY,
            description="Reads frames into a MASK batch, to look at them or to hand them to other nodes.",
            search_aliases=["preview mask", "mask batch", "frames to masks"],
            inputs=[
                Frames.Input(
                    "frames",
                    display_name="frames",
                    tooltip="FRAMES of masks, or of pictures that show a mask (a black and white video).",
                ),
                io.Combo.Input(
                    "channel",
                    display_name="channel",
                    options=_CHANNELS,
                    tooltip="For pictures: what becomes the mask. luma is the brightness. Not used for masks.",
                ),
                *_window_inputs(),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="The masks as one batch in memory; 1 is the character.")
            ],
        )

    @classmethod
    def execute(cls, frames: FrameSource, channel: str, start: int, limit: int) -> io.NodeOutput:
        return io.NodeOutput(_to_tensor(_mask_source(frames, channel), start, limit))


class MaskToFrames(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitMaskToFrames",
            display_name="Mask to Frames",
            category=CATEGORY,
            description=(
                "Makes FRAMES of masks from a MASK batch (SAM 3, any segmenter), or from a black and white video."
            ),
            search_aliases=["mask to frames", "sam", "segment", "video to mask", "alpha matte"],
            inputs=[
                io.MultiType.Input(
                    "mask",
                    [Frames, io.Mask, io.Image],
                    display_name="mask",
                    tooltip="A MASK batch, or pictures that show a mask (white is the character).",
                ),
                io.Combo.Input(
                    "channel",
                    display_name="channel",
                    options=_CHANNELS,
                    tooltip="For pictures: what becomes the mask. luma is the brightness. Not used for masks.",
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps",
                    default=30.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frames a second. Not used for FRAMES, which have a rate of their own.",
                ),
            ],
            outputs=[Frames.Output(display_name="mask", tooltip="The same masks as FRAMES.")],
        )

    @classmethod
    def execute(cls, mask: FrameSource | torch.Tensor, channel: str, fps: float) -> io.NodeOutput:
        return io.NodeOutput(_mask_source(mask, channel, fps))


def _mask_source(value: FrameSource | torch.Tensor, channel: str, fps: float = 30) -> FrameSource:
    from ..wan_animate.mask.convert import MaskFromImages

    source = as_frames(value, fps)
    return as_masks(source if source.kind == "mask" else MaskFromImages(source, channel), "mask")
