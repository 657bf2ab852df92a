"""Finding the pose of the person in the video, and what the model is shown of it: the skeleton and the face."""

from __future__ import annotations

import os

import folder_paths
from comfy_api.latest import io, ui

from .host.folders import DETECTION, annotated_path, file_stamp, list_input, list_models
from .types import Detector, Frames, Track, as_images, frames_input

CATEGORY = "WanAnimateKit/pose"
SAVED_TRACKS = "pose_tracks"


def _face_inputs() -> list[io.Input]:
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
                *_face_inputs(),
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
    def execute(cls, detector, frames, batch_size: int, face_scale: float, missing_face: str) -> io.NodeOutput:
        from .host.progress import progress_bar

        frames = as_images(frames, "frames")
        try:
            track = detector.detect(frames, batch=batch_size, progress=progress_bar(len(frames)))
        finally:
            detector.close()  # the card's memory belongs to the sampling that follows
        face, _ = _crop_face(frames, track, face_scale, missing_face)
        return io.NodeOutput(track, face, int(track.body_found.sum()), ui=_preview(cls, frames, track))


def _crop_face(frames, track, scale: float, missing: str):
    """The face crops and in how many frames a face was found."""
    from ..wan_animate.face import FaceCropSource, face_boxes

    boxes, found = face_boxes(track.letterboxed(frames.width, frames.height), scale=scale)
    return FaceCropSource(frames, boxes, found=found, missing=missing), int(found.sum())


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
                Track.Input("pose", tooltip="From Detect Pose and Face, or a loaded pose track."),
                io.Boolean.Input(
                    "hands",
                    default=True,
                    tooltip="Draw the fingers. Off when the hands are found badly and come out wrong.",
                ),
                io.Boolean.Input(
                    "head",
                    default=True,
                    tooltip="Draw nose, eyes and ears. The expression comes from the face crops, not from here.",
                ),
                io.Float.Input(
                    "threshold",
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
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip=(
                        "Width of the drawing in pixels; 0 (with height 0) takes the video's size. The skeleton keeps "
                        "its shape and is centred."
                    ),
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=16,
                    advanced=True,
                    tooltip="Height of the drawing in pixels; 0 (with width 0) takes the video's size.",
                ),
            ],
            outputs=[Frames.Output(display_name="frames", tooltip="The drawn pose, for Animate Character.")],
        )

    @classmethod
    def execute(cls, pose, hands: bool, head: bool, threshold: float, width: int, height: int) -> io.NodeOutput:
        from ..wan_animate.pose.draw import DrawnPoseSource

        return io.NodeOutput(DrawnPoseSource(pose, width, height, threshold=threshold, hands=hands, head=head))


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
                *_face_inputs(),
            ],
            outputs=[
                Frames.Output(display_name="face", tooltip="The face, 512x512, frame by frame, for Animate Character."),
                io.Int.Output(display_name="found", tooltip="In how many frames a face was found."),
            ],
        )

    @classmethod
    def execute(cls, frames, pose, face_scale: float, missing_face: str) -> io.NodeOutput:
        return io.NodeOutput(*_crop_face(as_images(frames, "frames"), pose, face_scale, missing_face))


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
                Track.Input("pose", tooltip="The pose track to keep."),
                io.String.Input(
                    "filename_prefix",
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
    def execute(cls, pose, filename_prefix: str) -> io.NodeOutput:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), pose.width, pose.height
        )
        file = f"{name}_{counter:05}_.npz"
        pose.save(os.path.join(folder, file))
        return io.NodeOutput(
            pose, ui=ui.PreviewText(f"{len(pose)} frames saved to output/{os.path.join(subfolder, file)}")
        )


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
                    options=list_input(".npz")
                    + [f"{SAVED_TRACKS}/{name} [output]" for name in names if name.endswith(".npz")],
                    tooltip=(
                        f"A .npz file in the input folder, or one that Save Pose Track left in output/{SAVED_TRACKS}."
                    ),
                ),
            ],
            outputs=[
                Track.Output(
                    display_name="pose", tooltip="The pose track, for Draw Pose, Crop Face and Mask from Pose."
                ),
                io.Int.Output(display_name="count", tooltip="Number of frames."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if file is None or annotated_path(file):
            return True
        return f"there is no pose track {file!r} in the input folder: put the .npz file there, press R and choose it."

    @classmethod
    def fingerprint_inputs(cls, file: str):
        return file_stamp(annotated_path(file))

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..wan_animate.pose.track import PoseTrack

        track = PoseTrack.load(folder_paths.get_annotated_filepath(file))
        return io.NodeOutput(track, len(track))
