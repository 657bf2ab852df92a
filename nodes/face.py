"""The face crops that the model takes the expression from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from .below import preview
from .types import Frames, Track, as_images, frames_input

if TYPE_CHECKING:
    from ..wan_animate.face.crop import FaceCropSource
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/pose"


def face_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "face_scale",
            display_name="face scale",
            default=1.3,
            min=1.0,
            max=4.0,
            step=0.05,
            advanced=True,
            tooltip=(
                "Area of the face crop as a multiple of the box around the face points. 1.3 is what the model was "
                "trained with; more if eyebrows or chin are cut off."
            ),
        ),
        io.Combo.Input(
            "missing_face",
            display_name="missing face",
            options=["blend", "hold", "blank"],
            default="blend",
            advanced=True,
            tooltip=(
                "Frames in which no face is found: blend shows the place between where the face was before and after, "
                "along with the shoulders, as the model saw heads that turn away; hold the place in the nearest frame "
                "with a face; blank shows black, which leaves the expression to the model."
            ),
        ),
        io.Float.Input(
            "face_steady",
            display_name="face steady",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip=(
                "How steady the face crop is. 1 keeps one size within a shot and follows the head without jitter; 0 "
                "takes the box around the face points as it is in every frame, as Wan's own preprocessing does."
            ),
        ),
    ]


def crop_face(
    frames: FrameSource,
    track: PoseTrack,
    face_scale: float = 1.3,
    missing_face: str = "blend",
    face_steady: float = 1.0,
) -> tuple[FaceCropSource, int]:
    """(face crops, number of frames with a face)"""
    from ..wan_animate.face.boxes import face_boxes
    from ..wan_animate.face.crop import FaceCropSource
    from ..wan_animate.pose.track import fit_track

    track = fit_track(track, frames).onto(frames)
    boxes, found = face_boxes(track, scale=face_scale, steady=face_steady, missing=missing_face)
    return FaceCropSource(frames, boxes, found=found, missing=missing_face), int(found.sum())


def face_of(face: Any, pose: Any, driving_video: Any) -> FrameSource | None:
    """The face crops that are connected, else those that the track in ``pose`` gives of the driving video; None without
    either.

    Raises:
        InputError: the driving video is connected, but ``pose`` says nothing of where its faces are.
    """
    from ..wan_animate.errors import InputError
    from ..wan_animate.pose.track import PoseTrack

    if face is not None:
        return as_images(face, "face")
    if driving_video is None:
        return None
    if not isinstance(pose, PoseTrack):
        raise InputError(
            "driving_video is connected to have its faces cropped, but pose carries pictures, not a pose track: "
            "connect pose of Detect Pose and Face, or face crops to face."
        )
    if pose.boxes is None:
        raise InputError(
            "driving_video is connected to have its faces cropped, but the track in pose was not found in a video (it "
            "was retargeted, or loaded without boxes): connect face of Detect Pose and Face, or of Crop Face."
        )
    return crop_face(as_images(driving_video, "driving_video"), pose)[0]


class CropFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCropFace",
            display_name="Crop Face",
            category=CATEGORY,
            description=(
                "Cuts the face out of every frame, 512x512, by a pose track. Detect Pose and Face does the same on its "
                "own; use this one with a cleaned or loaded track."
            ),
            search_aliases=["face crop", "face video", "crop head", "face images", "stabilize face"],
            inputs=[
                frames_input(
                    "frames", tooltip="The video the pose was found in; another size of the same video will do."
                ),
                Track.Input(
                    "pose",
                    display_name="pose",
                    tooltip="The pose of that video; one of a longer part of it is cut as the frames are.",
                ),
                *face_inputs(),
            ],
            outputs=[
                Frames.Output(display_name="face", tooltip="The face, 512x512, frame by frame, for Animate Character."),
                io.Int.Output(display_name="found", tooltip="In how many frames a face was found."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, frames: Any, pose: PoseTrack, **face_options: Any) -> io.NodeOutput:
        from ..wan_animate.preview.moments import moments_picture

        crops, found = crop_face(as_images(frames, "frames"), pose, **face_options)
        return io.NodeOutput(crops, found, ui=preview(cls, moments_picture(crops)))
