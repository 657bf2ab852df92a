"""Pose tracks to and from POSE_KEYPOINT (OpenPose JSON)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..wan_animate.log import get_logger
from .below import with_notes
from .types import Track
from .warning import rarely_found

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack

log = get_logger(__name__)

CATEGORY = "WanAnimateKit/pose"
Keypoints = io.Custom("POSE_KEYPOINT")
PEOPLE = {"largest": "largest", "most central": "central", "left to right": "number"}


class PoseToKeypoints(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitPoseToKeypoints",
            display_name="Pose to Keypoints",
            category=CATEGORY,
            description="Turns a pose track into POSE_KEYPOINT (OpenPose JSON) for nodes of ComfyUI and other packs.",
            search_aliases=["openpose json", "pose keypoint", "export keypoints", "dwpose json"],
            inputs=[Track.Input("pose", display_name="pose", tooltip="The pose track.")],
            outputs=[
                Keypoints.Output(
                    display_name="keypoints",
                    tooltip="One entry a frame: body (18 points), feet, face (70) and hands of the person, in pixels.",
                )
            ],
        )

    @classmethod
    def execute(cls, pose: PoseTrack) -> io.NodeOutput:
        from ..wan_animate.pose.openpose import to_openpose

        return io.NodeOutput(to_openpose(pose))


class KeypointsToPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitKeypointsToPose",
            display_name="Keypoints to Pose",
            category=CATEGORY,
            description=(
                "Turns POSE_KEYPOINT (OpenPose JSON, from DWPose, SDPose or any other pose node) into a pose track."
            ),
            search_aliases=["openpose json", "pose keypoint", "import keypoints", "dwpose", "sdpose"],
            inputs=[
                Keypoints.Input(
                    "keypoints", display_name="keypoints", tooltip="Keypoints of every frame of the driving video."
                ),
                io.Float.Input(
                    "fps",
                    display_name="fps",
                    default=30.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames a second of that video: the keypoints do not say it.",
                ),
                io.Combo.Input(
                    "person",
                    display_name="person",
                    options=list(PEOPLE),
                    tooltip=(
                        "Who of several people: the largest, the one nearest to the middle, or by number from left to "
                        "right. The same person is followed through the clip."
                    ),
                ),
                io.Int.Input(
                    "person_number",
                    display_name="person number",
                    default=1,
                    min=1,
                    max=100,
                    advanced=True,
                    tooltip="With left to right: 1 is the leftmost person.",
                ),
            ],
            outputs=[
                Track.Output(
                    display_name="pose",
                    tooltip="The pose track, for Clean Pose, Draw Pose, Crop Face and Mask from Pose.",
                ),
                io.Int.Output(display_name="found", tooltip="In how many frames a body was found."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, keypoints: Any, fps: float, person: str, person_number: int) -> io.NodeOutput:
        from ..wan_animate.people.choosing import PersonChoice
        from ..wan_animate.pose.openpose import from_openpose
        from ..wan_animate.video.resample import as_rate
        from .host.progress import progress_bar

        choice = PersonChoice(how=PEOPLE[person], number=person_number)
        report, notes = progress_bar(phase="Following the person"), []
        track = from_openpose(keypoints, as_rate(fps), choice, report, notes.append)
        for note in notes:
            log.warning("keypoints to pose: %s", note)
        shown = rarely_found(cls, track, "keypoints to pose")
        below = with_notes(None if shown is None else shown.as_dict(), notes)
        return io.NodeOutput(track, int(track.body_found.sum()), ui=below)
