"""Nodes that clean a pose track and report its quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .below import Shown, as_image, preview
from .types import Track, as_masks, mask_input

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack

CATEGORY = "WanAnimateKit/pose"


class CleanPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCleanPose",
            display_name="Clean Pose",
            category=CATEGORY,
            description=(
                "Takes jitter and mistakes out of a pose without making it lag: swapped sides are put right, joints "
                "that jump away are dropped, short gaps filled, and every joint smoothed as much as its own jitter "
                "asks for. Fast gestures stay fast. Shows what it did."
            ),
            search_aliases=["smooth pose", "pose jitter", "one euro filter", "savitzky golay", "stabilize keypoints"],
            inputs=[
                Track.Input(
                    "pose",
                    display_name="pose",
                    tooltip="From Detect Pose and Face, a loaded track, or another pack's keypoints.",
                ),
                io.Float.Input(
                    "strength",
                    display_name="strength",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "0 leaves the pose as it is. 0.5 takes out the jitter it measures. Towards 1 slow wobbling "
                        "goes as well, and fast gestures get softer."
                    ),
                ),
            ],
            outputs=[
                Track.Output(display_name="pose", tooltip="The cleaned pose."),
                Track.Output(display_name="raw", tooltip="The pose as it came in, to compare with in Pose Report."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose: PoseTrack, strength: float) -> io.NodeOutput:
        from ..wan_animate.pose.clean import clean_track
        from ..wan_animate.preview.report import pose_report
        from ..wan_animate.preview.report_plot import draw_report

        clean = clean_track(pose, strength)
        report = pose_report(clean, pose)
        return io.NodeOutput(clean, pose, ui=Shown(cls, [draw_report(report, 960, 560)], [report.text()]))


class PoseReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitPoseReport",
            display_name="Pose Report",
            category=CATEGORY,
            description=(
                "How good the control signals are: frames in which body, face or hands were not found, how much each "
                "part shakes, what cleaning changed, how large the mask is in every frame. As a plot and as text."
            ),
            search_aliases=["pose quality", "jitter plot", "mask area", "tracking statistics", "missing frames"],
            inputs=[
                Track.Input("pose", display_name="pose", tooltip="The pose that is used."),
                Track.Input(
                    "raw",
                    display_name="raw",
                    optional=True,
                    tooltip="The same pose before cleaning, from Clean Pose: shows what cleaning changed.",
                ),
                mask_input(
                    "mask",
                    optional=True,
                    tooltip="The character mask of the same video: its size, and whether it holds the person.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The report as a picture, 1200x700."),
                io.String.Output(display_name="text", tooltip="The report in a few lines."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose: PoseTrack, raw: PoseTrack | None = None, mask: Any = None) -> io.NodeOutput:
        from ..wan_animate.preview.report import pose_report
        from ..wan_animate.preview.report_plot import draw_report
        from .host.progress import progress_bar

        mask = None if mask is None else as_masks(mask, "mask", fps=float(pose.fps))
        report = pose_report(pose, raw, mask, progress=progress_bar(len(pose), "Looking through the mask"))
        picture = draw_report(report)
        return io.NodeOutput(as_image(picture), report.text(), ui=preview(cls, picture))
