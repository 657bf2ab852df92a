"""Nodes that detect the pose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from .below import preview, warned
from .face import crop_face, face_inputs
from .host.folders import DETECTION, chosen, file_stamp, list_models, model_path, said
from .types import Detector, Frames, Track, as_images, frames_input

if TYPE_CHECKING:
    from ..wan_animate.detect.detection import Detection
    from ..wan_animate.detect.detector import PoseDetector
    from ..wan_animate.detect.mediapipe import MediaPipeDetector
    from ..wan_animate.video.frames import FrameSource

CATEGORY = "WanAnimateKit/pose"
WHERE_ONNX = "ComfyUI offers no download of ONNX files, so get it from {} on Hugging Face"
PEOPLE = {"largest": "largest", "most central": "central", "left to right": "number", "point": "point"}


def _option(names: list[str], word: str) -> str | None:
    return next((name for name in names if word in name.lower()), None)


class LoadPoseDetector(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = list_models(DETECTION, ".onnx")
        return io.Schema(
            node_id="WanAnimateKitLoadPoseDetector",
            display_name="Load Pose Detector",
            category=CATEGORY,
            description=(
                "Loads the two models that find the pose: a person detector (YOLOv10) and a whole-body pose model "
                "(ViTPose), both ONNX files in models/detection."
            ),
            search_aliases=["yolo", "vitpose", "onnx detection model loader", "dwpose", "pose estimator"],
            inputs=[
                io.Combo.Input(
                    "detector",
                    display_name="detector",
                    options=names,
                    default=_option(names, "yolo"),
                    tooltip=(
                        "The person detector: a YOLOv10 ONNX file in models/detection, for instance yolov10m.onnx. "
                        f"{WHERE_ONNX.format('Wan-AI/Wan2.2-Animate-14B (process_checkpoint/det)')}."
                    ),
                ),
                io.Combo.Input(
                    "pose_model",
                    display_name="pose model",
                    options=names,
                    default=_option(names, "pose"),
                    tooltip=(
                        "The pose model: a ViTPose whole-body ONNX file (133 points) in models/detection, for instance "
                        f"vitpose-l-wholebody.onnx. {WHERE_ONNX.format('JunkyByte/easy_ViTPose')}."
                    ),
                ),
                io.Combo.Input(
                    "provider",
                    display_name="provider",
                    options=["auto", "cuda", "directml", "coreml", "cpu"],
                    advanced=True,
                    tooltip=(
                        "What runs the models. auto takes the first of CUDA, DirectML and CoreML that the installed "
                        "onnxruntime offers, or else the CPU."
                    ),
                ),
            ],
            outputs=[Detector.Output(display_name="detector", tooltip="The loaded pair, for Detect Pose and Face.")],
        )

    @classmethod
    def validate_inputs(cls, pose_model: str | None = None) -> bool | str:
        """The pose model alone: the host repeats a sentence for every input taken here, and looks at the detector
        itself."""
        if pose_model is None or model_path(DETECTION, pose_model) is not None:
            return True
        return (
            f"pose_model {said(pose_model)} is not in models/{DETECTION}: "
            f"{WHERE_ONNX.format('JunkyByte/easy_ViTPose')}, "
            "press R and choose it."
        )

    @classmethod
    def fingerprint_inputs(cls, detector: str, pose_model: str, provider: str) -> list[Any]:
        return [file_stamp(model_path(DETECTION, name)) for name in (detector, pose_model)]

    @classmethod
    @warned
    def execute(cls, detector: str, pose_model: str, provider: str) -> io.NodeOutput:
        from ..wan_animate.detect.detector import PoseDetector
        from .host.device import card_with_room

        return io.NodeOutput(
            PoseDetector(
                chosen(model_path(DETECTION, detector), detector, "detector"),
                chosen(model_path(DETECTION, pose_model), pose_model, "pose_model"),
                provider,
                lambda: card_with_room("The pose detector").index or 0,
            )
        )


def _person_inputs() -> list[io.Input]:
    """Optional, for saved workflows without them."""
    return [
        io.Combo.Input(
            "person",
            display_name="person",
            options=list(PEOPLE),
            default="largest",
            optional=True,
            tooltip=(
                "Whom to follow where several people are in view: the largest or the most central over each shot, by "
                "number from left to right (the picture under this node shows the numbers), or whoever a point lies on."
            ),
        ),
        io.Int.Input(
            "person_number",
            display_name="person number",
            default=1,
            min=1,
            max=16,
            optional=True,
            advanced=True,
            tooltip="For left to right: 1 is the leftmost person in the frame that the picture under this node shows.",
        ),
        io.Float.Input(
            "point_x",
            display_name="point x",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="For point: how far from the left edge, as a fraction of the frame's width.",
        ),
        io.Float.Input(
            "point_y",
            display_name="point y",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            optional=True,
            advanced=True,
            tooltip="For point: how far from the upper edge, as a fraction of the frame's height.",
        ),
        io.Int.Input(
            "point_frame",
            display_name="point frame",
            default=0,
            min=0,
            max=1_000_000,
            optional=True,
            advanced=True,
            tooltip="For point: the frame of the clip that the point is on; 0 is the first.",
        ),
    ]


class DetectPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitDetectPose",
            display_name="Detect Pose and Face",
            category=CATEGORY,
            description=(
                "Finds the person in every frame: body, hands and face. Gives the pose as a track and the face as "
                "512x512 crops. Follows one of several people through the clip, and shows who there is to choose from, "
                "with the skeleton of the one that was chosen."
            ),
            search_aliases=[
                "pose estimation",
                "pose and face detection",
                "dwpose",
                "openpose",
                "keypoints",
                "face crop",
                "person tracking",
                "multiple people",
            ],
            essentials_category="Video Tools",
            inputs=[
                Detector.Input("detector", display_name="detector", tooltip="From Load Pose Detector."),
                frames_input(
                    "frames",
                    tooltip="The driving video. Where several people are in view, person says whom to follow.",
                ),
                io.Int.Input(
                    "batch_size",
                    display_name="batch size",
                    default=8,
                    min=1,
                    max=128,
                    advanced=True,
                    tooltip=(
                        "Frames that go through the models at once. On a large card 32 are fastest; take less if "
                        "memory runs out. The result is the same."
                    ),
                ),
                *face_inputs(),
                *_person_inputs(),
            ],
            outputs=[
                Track.Output(
                    display_name="pose", tooltip="The pose track: 133 points a frame, for Draw Pose and Mask from Pose."
                ),
                Frames.Output(display_name="face", tooltip="The face, 512x512, frame by frame, for Animate Character."),
                io.Int.Output(display_name="found", tooltip="In how many frames a body was found."),
            ],
            is_output_node=True,
        )

    @classmethod
    @warned
    def execute(
        cls,
        detector: PoseDetector | MediaPipeDetector,
        frames: Any,
        batch_size: int,
        person: str = "largest",
        person_number: int = 1,
        point_x: float = 0.5,
        point_y: float = 0.5,
        point_frame: int = 0,
        **face_options: Any,
    ) -> io.NodeOutput:
        from ..wan_animate.people.choosing import PersonChoice
        from .host.progress import progress_bar, tell_phase

        frames = as_images(frames, "frames")
        choice = PersonChoice(PEOPLE.get(person, person), person_number, point_x, point_y, point_frame)
        report = progress_bar(len(frames), "Finding the pose")
        tell_phase("loading the models, reading the first frames")
        try:
            detection = detector.detect(frames, batch=batch_size, progress=report, person=choice)
        finally:
            detector.close()  # the sampler needs the GPU's memory
        track = detection.track
        face, _ = crop_face(frames, track, **face_options)
        return io.NodeOutput(track, face, int(track.body_found.sum()), ui=_preview(cls, frames, detection))


def _preview(cls: type[io.ComfyNode], frames: FrameSource, detection: Detection) -> ui.PreviewImage:
    """The skeleton on a middle frame; of several people also the boxes."""
    import numpy as np

    from ..wan_animate.pose.draw import draw_pose
    from ..wan_animate.pose.found import warn_if_rarely_found
    from ..wan_animate.preview.canvas import with_warnings
    from ..wan_animate.preview.people import picture_people
    from ..wan_animate.video.frames import read_uint8

    track = detection.track
    crowded = [shot for shot in detection.shots if not shot.single]
    shot = max(crowded, key=lambda shot: len(shot.people), default=None)
    if shot is not None:
        at = shot.shown
    else:
        middle = len(frames) // 2
        found = np.flatnonzero(track.body_found[middle:])
        at = middle + int(found[0]) if len(found) else middle
    canvas = np.array(read_uint8(frames, at, at + 1)[0])
    draw_pose(canvas, track.keypoints[at])
    if shot is not None:
        picture_people(canvas, shot)
    words = warn_if_rarely_found(track, "detect pose")
    warnings = [words] if words else []
    return preview(cls, with_warnings(canvas, warnings), warnings)
