"""Finding the pose of the person in the video."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io, ui

from .face import crop_face, face_inputs
from .host.folders import DETECTION, file_stamp, list_models
from .types import Detector, Frames, Track, as_images, frames_input

CATEGORY = "WanAnimateKit/pose"


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
                    options=names,
                    default=_option(names, "yolo"),
                    tooltip="The person detector: a YOLOv10 ONNX file in models/detection, for instance yolov10m.onnx.",
                ),
                io.Combo.Input(
                    "pose_model",
                    options=names,
                    default=_option(names, "pose"),
                    tooltip=(
                        "The pose model: a ViTPose whole-body ONNX file (133 points) in models/detection, for instance "
                        "vitpose-l-wholebody.onnx."
                    ),
                ),
                io.Combo.Input(
                    "provider",
                    options=["auto", "cuda", "directml", "coreml", "cpu"],
                    tooltip=(
                        "What runs the models. auto takes the first of CUDA, DirectML and CoreML that the installed "
                        "onnxruntime offers, or else the CPU."
                    ),
                ),
            ],
            outputs=[Detector.Output(display_name="detector", tooltip="The loaded pair, for Detect Pose and Face.")],
        )

    @classmethod
    def validate_inputs(cls, detector: str, pose_model: str) -> bool | str:
        for name, value in (("detector", detector), ("pose_model", pose_model)):
            if value is not None and folder_paths.get_full_path(DETECTION, value) is None:
                return (
                    f"{name} {value!r} is not in models/{DETECTION}: download it there (its link is in the workflow's "
                    "notes), press R and choose it."
                )
        return True

    @classmethod
    def fingerprint_inputs(cls, detector: str, pose_model: str, provider: str):
        return [file_stamp(folder_paths.get_full_path(DETECTION, name)) for name in (detector, pose_model)]

    @classmethod
    def execute(cls, detector: str, pose_model: str, provider: str) -> io.NodeOutput:
        from ..wan_animate.pose.detector import PoseDetector

        return io.NodeOutput(
            PoseDetector(
                folder_paths.get_full_path_or_raise(DETECTION, detector),
                folder_paths.get_full_path_or_raise(DETECTION, pose_model),
                provider,
            )
        )


class DetectPose(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitDetectPose",
            display_name="Detect Pose and Face",
            category=CATEGORY,
            description=(
                "Finds the person in every frame: body, hands and face. Gives the pose as a track and the face as "
                "512x512 crops. Shows the skeleton over the frame in the middle."
            ),
            search_aliases=[
                "pose estimation",
                "pose and face detection",
                "dwpose",
                "openpose",
                "keypoints",
                "face crop",
            ],
            inputs=[
                Detector.Input("detector", tooltip="From Load Pose Detector."),
                frames_input(
                    "frames",
                    tooltip=(
                        "The driving video, one person in view. Where there are several, the largest one is followed."
                    ),
                ),
                io.Int.Input(
                    "batch_size",
                    default=8,
                    min=1,
                    max=128,
                    advanced=True,
                    tooltip=(
                        "Frames that go through the models at once. Less if memory runs out; the result is the same."
                    ),
                ),
                *face_inputs(),
            ],
            outputs=[
                Track.Output(
                    display_name="pose", tooltip="The pose track: 133 points a frame, for Draw Pose and Mask from Pose."
                ),
                Frames.Output(display_name="face", tooltip="The face, 512x512, frame by frame, for Animate Character."),
                io.Int.Output(display_name="found", tooltip="In how many frames a body was found."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, detector, frames, batch_size: int, **face_options) -> io.NodeOutput:
        from .host.progress import progress_bar

        frames = as_images(frames, "frames")
        try:
            track = detector.detect(frames, batch=batch_size, progress=progress_bar(len(frames)))
        finally:
            detector.close()  # the card's memory belongs to the sampling that follows
        face, _ = crop_face(frames, track, **face_options)
        return io.NodeOutput(track, face, int(track.body_found.sum()), ui=_preview(cls, frames, track))


def _preview(cls, frames, track) -> ui.PreviewImage:
    """The skeleton over the first frame from the middle on in which a body was found (or the middle one)."""
    import numpy as np
    import torch

    from ..wan_animate.frames import read_uint8
    from ..wan_animate.pose.draw import draw_pose

    middle = len(frames) // 2
    found = np.flatnonzero(track.body_found[middle:])
    at = middle + int(found[0]) if len(found) else middle
    canvas = np.ascontiguousarray(read_uint8(frames, at, at + 1)[0])
    draw_pose(canvas, track.keypoints[at])
    return ui.PreviewImage(torch.from_numpy(canvas)[None].float() / 255, cls=cls)
