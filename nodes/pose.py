"""Nodes that draw, save and load pose tracks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import folder_paths
from comfy_api.latest import io, ui

from .host.folders import annotated_path, check_prefix, chosen, file_stamp, list_input, numbered_path, said
from .types import Frames, Track, drawn_at_inputs, fitted, frames_input, valid
from .warning import rarely_found

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack

CATEGORY = "WanAnimateKit/pose"
SAVED_TRACKS = "pose_tracks"
NUMBERED = "_{:05}_.npz"


class DrawPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitDrawPose",
            display_name="Draw Pose",
            category=CATEGORY,
            description=(
                "Draws the pose as the skeleton Wan Animate was trained on: body, feet and hands in its colours and "
                "line widths."
            ),
            search_aliases=["draw skeleton", "pose to video", "vitpose draw", "openpose image", "stick figure"],
            inputs=[
                Track.Input("pose", display_name="pose", tooltip="From Detect Pose and Face, or a loaded pose track."),
                io.Boolean.Input(
                    "hands",
                    display_name="hands",
                    default=True,
                    tooltip="Draw the fingers. Off when the hands are found badly and come out wrong.",
                ),
                io.Boolean.Input(
                    "head",
                    display_name="head",
                    default=True,
                    tooltip="Draw nose, eyes and ears. The expression comes from the face crops, not from here.",
                ),
                io.Float.Input(
                    "threshold",
                    display_name="threshold",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "Points found with less confidence than this are left out. 0.5 is what the model was trained "
                        "with."
                    ),
                ),
                io.Int.Input(
                    "width",
                    display_name="width (0: video's)",
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip=(
                        "Width of the drawing in pixels; 0 (with height 0) takes the video's size. The skeleton keeps "
                        "its shape."
                    ),
                ),
                io.Int.Input(
                    "height",
                    display_name="height (0: video's)",
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip="Height of the drawing in pixels; 0 (with width 0) takes the video's size.",
                ),
                *drawn_at_inputs(),
            ],
            outputs=[Frames.Output(display_name="frames", tooltip="The drawn pose, for Animate Character.")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        pose: PoseTrack,
        hands: bool,
        head: bool,
        threshold: float,
        width: int,
        height: int,
        fit: str = "fill",
        frames: Any = None,
    ) -> io.NodeOutput:
        from ..wan_animate.pose.draw import DrawnPoseSource

        pose = fitted(pose, frames, size=True)
        drawn = DrawnPoseSource.at_size(pose, width, height, fit, threshold=threshold, hands=hands, head=head)
        return io.NodeOutput(drawn, ui=rarely_found(cls, pose, "draw pose", drawn))


class SavePoseTrack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitSavePoseTrack",
            display_name="Save Pose Track",
            category=CATEGORY,
            description=(
                "Keeps a pose track as a small .npz file (NumPy) in the output folder, to use again without detecting."
            ),
            search_aliases=["save keypoints", "export pose", "npz"],
            inputs=[
                Track.Input("pose", display_name="pose", tooltip="The pose track to keep."),
                io.String.Input(
                    "filename_prefix",
                    display_name="filename prefix",
                    default=f"{SAVED_TRACKS}/track",
                    tooltip=(
                        "Folder and name below the output folder. Load Pose Track lists what lies in "
                        f"output/{SAVED_TRACKS}."
                    ),
                ),
            ],
            outputs=[Track.Output(display_name="pose", tooltip="The same track.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        """Before anything runs: the pose may take minutes to detect. A linked value is None here."""
        return filename_prefix is None or valid(lambda: check_prefix(filename_prefix, NUMBERED))

    @classmethod
    def execute(cls, pose: PoseTrack, filename_prefix: str) -> io.NodeOutput:
        path, below = numbered_path(filename_prefix, NUMBERED, pose.width, pose.height)
        pose.save(path)
        return io.NodeOutput(pose, ui=ui.PreviewText(f"{len(pose)} frames saved to output/{below}"))


class LoadPoseTrack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        saved = os.path.join(folder_paths.get_output_directory(), SAVED_TRACKS)
        names = sorted(os.listdir(saved)) if os.path.isdir(saved) else []
        return io.Schema(
            node_id="WanAnimateKitLoadPoseTrack",
            display_name="Load Pose Track",
            category=CATEGORY,
            description=(
                "Reads a pose track that Save Pose Track wrote, or any .npz with keypoints [frames, 133, 3], fps, "
                "width and height."
            ),
            search_aliases=["load keypoints", "import pose", "npz"],
            inputs=[
                io.Combo.Input(
                    "file",
                    display_name="file",
                    options=list_input(".npz")
                    + [f"{SAVED_TRACKS}/{name} [output]" for name in names if name.endswith(".npz")],
                    tooltip=(
                        f"A .npz file in the input folder, or one that Save Pose Track left in output/{SAVED_TRACKS}."
                    ),
                ),
                frames_input(
                    "frames",
                    optional=True,
                    tooltip="The video it is used with: the pose is cut to these frames and brought to their size.",
                ),
            ],
            outputs=[
                Track.Output(
                    display_name="pose", tooltip="The pose track, for Draw Pose, Crop Face and Mask from Pose."
                ),
                io.Int.Output(display_name="count", tooltip="Number of frames."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        if file is None or annotated_path(file):
            return True
        return (
            f"there is no pose track {said(file)} in the input folder: put the .npz file there, press R and choose it."
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, **_others: Any) -> Any:
        return file_stamp(annotated_path(file))

    @classmethod
    def execute(cls, file: str, frames: Any = None) -> io.NodeOutput:
        from ..wan_animate.pose.draw import DrawnPoseSource
        from ..wan_animate.pose.track import PoseTrack

        track = fitted(PoseTrack.load(chosen(annotated_path(file), file, "file")), frames)
        return io.NodeOutput(track, len(track), ui=rarely_found(cls, track, "load pose track", DrawnPoseSource(track)))
