"""The node that shows a pose over its video and has it edited by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .types import Track, as_images, first_picture, fitted, frames_input, valid

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..wan_animate.pose.track import PoseTrack

EDITS_WIDGET = "WAN_ANIMATE_KIT_POSE_EDITS"  # js/editors.js


class EditPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitEditPose",
            display_name="Edit Pose",
            category="WanAnimateKit/pose",
            description=(
                "Shows the pose over its video at any frame, with the face box, and after Retarget Pose the driver "
                "beside the result. Keypoints can be dragged, keyed and hidden; between keys the change is blended. "
                "Run it alone to look at a pose; without edits the pose goes through unchanged."
            ),
            search_aliases=[
                "pose editor",
                "keypoint editor",
                "fix skeleton",
                "move joint",
                "pose preview",
                "keyframe pose",
                "openpose editor",
            ],
            inputs=[
                Track.Input(
                    "pose",
                    display_name="pose",
                    tooltip="The pose to look at and to edit: the driver's, or of Retarget Pose.",
                ),
                io.String.Input(
                    "edits",
                    display_name="edits",
                    default="",
                    optional=True,
                    tooltip=(
                        "What was edited. Without the editor JSON: by keypoint [frame, right, down] in pixels, "
                        '{"keys": {"9": [[12, -20, 3]]}, "hidden": {"10": [[40, 48]]}}.'
                    ),
                    extra_dict={"widgetType": EDITS_WIDGET},
                ),
                frames_input(
                    "frames",
                    display_name="frames",
                    optional=True,
                    tooltip=(
                        "The driving video, to be shown behind the driver's skeleton. The pose is cut to these frames "
                        "and, without driver_pose, brought to their size."
                    ),
                ),
                Track.Input(
                    "driver_pose",
                    display_name="driver pose",
                    optional=True,
                    tooltip="After Retarget Pose: the pose that went into it, shown beside what came out.",
                ),
                io.Image.Input(
                    "reference_image",
                    display_name="reference image",
                    optional=True,
                    tooltip="After Retarget Pose: the character's picture, shown behind the result.",
                ),
                io.Int.Input(
                    "fade",
                    display_name="fade frames",
                    default=5,
                    min=0,
                    max=1000,
                    optional=True,
                    advanced=True,
                    tooltip=(
                        "Over how many frames an edit sets in before its first key and fades after its last. 0: at "
                        "once."
                    ),
                ),
            ],
            outputs=[
                Track.Output(display_name="pose", tooltip="The edited pose, for Draw Pose or Save Pose Track."),
                io.String.Output(display_name="report", tooltip="How much was edited."),
            ],
            is_output_node=True,
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, edits: str | None = None) -> bool | str:
        """Before anything runs; what is linked is None here."""
        from ..wan_animate.pose.edits import read_edits

        return valid(lambda: read_edits(edits))

    @classmethod
    def execute(
        cls,
        pose: PoseTrack,
        edits: str = "",
        frames: Any = None,
        driver_pose: PoseTrack | None = None,
        reference_image: torch.Tensor | None = None,
        fade: int = 5,
    ) -> io.NodeOutput:
        from ..wan_animate.errors import InputError
        from ..wan_animate.face.boxes import face_boxes
        from ..wan_animate.pose.edits import count_edits, edit_base, edit_pose, read_edits
        from .host import views

        read = read_edits(edits)
        driver = None if driver_pose is None else fitted(driver_pose, frames, size=True)
        pose = fitted(pose, frames, size=driver is None)
        if driver is not None and len(driver) != len(pose):
            raise InputError(
                f"driver_pose has {len(driver)} frames and pose {len(pose)}: connect the pose that went into Retarget "
                "Pose."
            )
        if frames is not None:
            as_images(frames, "frames")
        edited = edit_pose(pose, read, fade)
        tracks: dict[str, np.ndarray] = {"base": edit_base(pose)}
        if driver is not None:
            tracks["driver"] = driver.keypoints
        boxes, found = face_boxes(edited if driver is None else driver)
        if found.any():
            tracks["face"] = boxes
        more = {
            "start": pose.start_seconds,
            "cuts": list(pose.cuts),
            "driver": None if driver is None else [driver.width, driver.height],
        }
        layers = {"frame": frames, "reference": _behind(reference_image, pose)}
        shown = views.shown(cls, pose.fps, (pose.width, pose.height), len(pose), layers, tracks, more)
        return io.NodeOutput(edited, count_edits(read, pose), ui=shown)


def _behind(image: torch.Tensor | None, pose: PoseTrack) -> np.ndarray | None:
    """The reference picture as the result lies in it, uint8 ``[1, H, W, 3]``."""
    import numpy as np

    from ..wan_animate.video.frames import as_uint8
    from ..wan_animate.video.resample import letterbox

    if image is None:
        return None
    picture = as_uint8(first_picture(image, "reference_image").cpu().numpy())
    return letterbox(np.ascontiguousarray(picture), pose.width, pose.height)[None]
