"""Loads the MediaPipe pose detector."""

from __future__ import annotations

from comfy_api.latest import io

from .types import Detector


class LoadMediaPipe(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="WanAnimateKitLoadMediaPipe",
            display_name="Load MediaPipe Detector",
            category="WanAnimateKit/pose",
            description=(
                "A pose detector without model files: MediaPipe, whose models come with its Python package. One "
                "person, on the CPU. Load Pose Detector (YOLO and ViTPose) is what the model was trained with and the "
                "better one."
            ),
            search_aliases=["mediapipe", "holistic", "blazepose", "pose without download"],
            inputs=[],
            outputs=[Detector.Output(display_name="detector", tooltip="The detector, for Detect Pose and Face.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..wan_animate.detect.mediapipe import MediaPipeDetector

        return io.NodeOutput(MediaPipeDetector())
