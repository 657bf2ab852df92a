"""The window around the character: cut out before sampling, put back after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import InputImpl, io

from .below import Shown, below
from .types import Frames, Track, Window, as_images, as_masks, frames_input, mask_input

if TYPE_CHECKING:
    import numpy as np

    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.stitch.window import CropWindow
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/stitch"
SIZES = {"pixel budget": "budget", "as the window is": "window", "factor": "factor"}


class CropToCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCropToCharacter",
            display_name="Crop to Character",
            category=CATEGORY,
            description=(
                "A window around the character, for replace: the model works on it in place of the whole frame, and "
                "Stitch Character puts the result back at the video's own size. The window stands still or glides: its "
                "edges move by less than 2 pixels a frame, unless the character is so fast that the window would have "
                "to be much larger for that. Its size changes only where the character grows or shrinks. Each shot has "
                "its own."
            ),
            search_aliases=["crop and stitch", "inpaint crop", "crop by mask", "zoom to person", "4k", "uncrop"],
            inputs=[
                frames_input("frames", tooltip="The driving video at its own size: full_size of Load Driving Video."),
                Track.Input("pose", display_name="pose", tooltip="The pose of this video, found at any size."),
                mask_input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "The character, from Segment Character, found at any size. Parts that do not touch the "
                        "skeleton do not count. Without it the skeleton's silhouette is taken."
                    ),
                ),
                io.Combo.Input(
                    "size",
                    display_name="window sampled at",
                    options=list(SIZES),
                    tooltip=(
                        "What the window is sampled at. pixel budget: width x height pixels in the window's shape, so "
                        "that a small person becomes large; as the window is: a pixel for each of the video's; factor: "
                        "factor times that. At most 4096 a side."
                    ),
                ),
                io.Int.Input(
                    "width",
                    display_name="area width",
                    default=832,
                    min=64,
                    max=4096,
                    step=16,
                    tooltip="For pixel budget: with height, how many pixels. 832 x 480 is quick.",
                ),
                io.Int.Input(
                    "height",
                    display_name="area height",
                    default=480,
                    min=64,
                    max=4096,
                    step=16,
                    tooltip="For pixel budget: with width, how many pixels; the order does not matter.",
                ),
                io.Float.Input(
                    "factor",
                    display_name="factor",
                    default=1.0,
                    min=0.05,
                    max=8.0,
                    step=0.05,
                    tooltip="For factor: sampled pixels for each pixel of the video, along a side.",
                ),
                io.Float.Input(
                    "margin",
                    display_name="margin",
                    default=0.08,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip=(
                        "How much of the scene is seen around the character, on every side, as a fraction of the "
                        "character's longer side. More shows the model more of the light and of the floor."
                    ),
                ),
                io.Float.Input(
                    "room",
                    display_name="room to stand still",
                    default=1.25,
                    min=1.0,
                    max=4.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "How many times as high as necessary the window may be, to stand still or to move by less than "
                        "2 pixels a frame. Where that is not enough, it moves as slowly as this size allows."
                    ),
                ),
            ],
            outputs=[
                Frames.Output(
                    display_name="frames", tooltip="What lies in the window, for Background without Character."
                ),
                Track.Output(display_name="pose", tooltip="The pose in the window, for Draw Pose."),
                Frames.Output(display_name="mask", tooltip="The mask in the window, for Shape Mask."),
                Window.Output(display_name="window", tooltip="Where the window is, for Stitch Character."),
                io.String.Output(
                    display_name="report", tooltip="Its size, share of the frame, cost and motion, in words."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        frames: Any,
        pose: PoseTrack,
        size: str,
        width: int,
        height: int,
        factor: float,
        margin: float,
        room: float,
        mask: Any = None,
    ) -> io.NodeOutput:
        from ..wan_animate.stitch.character import crop_character
        from ..wan_animate.stitch.plan import WindowSize
        from ..wan_animate.stitch.report import window_report
        from .host.progress import progress_bar

        frames = as_images(frames, "frames")
        masks = None if mask is None else as_masks(mask, "mask", fps=float(frames.fps))
        found = crop_character(
            frames, pose, masks, WindowSize(SIZES.get(size, size), width * height, factor), margin, room,
            progress=progress_bar(len(frames), "Finding the window"),
        )  # fmt: skip
        picture = _preview(cls, frames, found.window, found.boxes)
        report = window_report(found.window)
        return io.NodeOutput(found.frames, found.pose, found.mask, found.window, report, ui=picture)


def _preview(cls: type[io.ComfyNode], frames: FrameSource, window: CropWindow, boxes: np.ndarray) -> Shown:
    import numpy as np

    from ..wan_animate.stitch.report import draw_window, told_places
    from ..wan_animate.video.frames import read_uint8

    seen = np.flatnonzero(~np.isnan(boxes).any(axis=1))
    at = int(seen[len(seen) // 2])
    picture = draw_window(read_uint8(frames, at, at + 1)[0], window, at, boxes[at])
    return Shown(cls, [picture], window={"of": window.source_size, "places": told_places(window)})


class StitchCharacter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitStitchCharacter",
            display_name="Stitch Character",
            category=CATEGORY,
            description=(
                "Puts the generated window back into the driving video, at the video's own size: 4K in, 4K out. The "
                "character goes over into the scene along a feathered edge; beyond it every pixel is the video's own."
            ),
            search_aliases=["crop and stitch", "uncrop", "paste back", "composite", "inpaint stitch", "4k"],
            inputs=[
                frames_input(
                    "generated",
                    tooltip=(
                        "The finished window: frames of Animate Character, whole or a part of the clip, upscaled or "
                        "not."
                    ),
                ),
                frames_input("frames", tooltip="The video that Crop to Character was given: full_size of the loader."),
                Window.Input("window", display_name="window", tooltip="From Crop to Character."),
                mask_input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "The mask that Animate Character was given, from Shape Mask: only this is taken, with its "
                        "edge. Without it the whole window is taken."
                    ),
                ),
                io.Audio.Input(
                    "audio",
                    display_name="audio",
                    optional=True,
                    tooltip="Sound for the clip, usually the driving video's; a part gets its own part of it.",
                ),
                io.Float.Input(
                    "feather",
                    display_name="feather",
                    default=16.0,
                    min=0.0,
                    max=512.0,
                    step=1.0,
                    tooltip=(
                        "Width of the soft edge, in pixels of the video: around the mask; without a mask along the "
                        "window's edge, inwards."
                    ),
                ),
                io.Float.Input(
                    "grow",
                    display_name="grow",
                    default=0.0,
                    min=0.0,
                    max=512.0,
                    step=1.0,
                    tooltip="How far the mask grows before the soft edge begins, in pixels of the video.",
                ),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The clip with its sound: connect Save Video."),
                Frames.Output(
                    display_name="frames", tooltip="The clip's frames at the video's size, made when they are read."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_inputs: Any) -> int:
        """Another after the clip is gone from the temp folder, so that it is not taken from ComfyUI's cache."""
        from .host.results import results_lost

        return results_lost()

    @classmethod
    def execute(
        cls,
        generated: Any,
        frames: Any,
        window: CropWindow,
        feather: float,
        grow: float,
        mask: Any = None,
        audio: dict | None = None,
    ) -> io.NodeOutput:
        from ..wan_animate.stitch.stitch import StitchedSource, write_stitched
        from .host.folders import served_file
        from .host.jobs import stitched_path
        from .host.progress import progress_bar
        from .host.results import remember

        rate = float(window.fps)
        stitched = StitchedSource(
            as_images(frames, "frames", rate),
            as_images(generated, "generated", rate),
            window,
            None if mask is None else as_masks(mask, "mask", rate),
            feather,
            grow,
        )
        path = stitched_path(stitched.fingerprint(), audio, stitched.generated.tags)
        write_stitched(path, stitched, audio, progress=progress_bar(len(stitched), "Writing the clip"))
        remember(stitched, path.parent, [path])
        first = (stitched.part_of or (0, 0))[0]
        clip = {"file": served_file(path), "first": first, "frames": len(stitched), "fps": float(stitched.fps)}
        shown = below(cls, [], [], clip=clip)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), stitched, ui=shown)
