"""The face crops that the model takes the expression from."""

from __future__ import annotations

from comfy_api.latest import io

from .types import Frames, Track, as_images, frames_input

CATEGORY = "WanAnimateKit/pose"


def face_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "face_scale",
            default=1.3,
            min=1.0,
            max=4.0,
            step=0.05,
            tooltip=(
                "Area of the face crop as a multiple of the box around the face points. 1.3 is what the model was "
                "trained with; more if eyebrows or chin are cut off."
            ),
        ),
        io.Combo.Input(
            "missing_face",
            options=["hold", "blank"],
            tooltip=(
                "Frames in which no face is found: hold crops where the nearest found face was; blank shows black, "
                "which leaves the expression to the model."
            ),
        ),
    ]


def crop_face(frames, track, scale: float, missing: str):
    """The face crops and in how many frames a face was found."""
    from ..wan_animate.face import FaceCropSource, face_boxes

    boxes, found = face_boxes(track.letterboxed(frames.width, frames.height), scale=scale)
    return FaceCropSource(frames, boxes, found=found, missing=missing), int(found.sum())


class CropFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitCropFace",
            display_name="Crop Face",
            category=CATEGORY,
            description=(
                "Cuts the face out of every frame, 512x512, by a pose track. Detect Pose and Face does the same on its "
                "own; use this one with a loaded track."
            ),
            search_aliases=["face crop", "face video", "crop head", "face images"],
            inputs=[
                frames_input(
                    "frames", tooltip="The video the pose was found in; another size of the same video will do."
                ),
                Track.Input("pose", tooltip="The pose of that video."),
                *face_inputs(),
            ],
            outputs=[
                Frames.Output(display_name="face", tooltip="The face, 512x512, frame by frame, for Animate Character."),
                io.Int.Output(display_name="found", tooltip="In how many frames a face was found."),
            ],
        )

    @classmethod
    def execute(cls, frames, pose, face_scale: float, missing_face: str) -> io.NodeOutput:
        return io.NodeOutput(*crop_face(as_images(frames, "frames"), pose, face_scale, missing_face))
