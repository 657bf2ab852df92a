"""Where the networks of preprocessing lie in a folder: upstream's ``process_checkpoint``, or ComfyUI's ``models``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

DETECTOR = ("det/yolov10m.onnx", "detection/yolov10m.onnx", "det/*.onnx", "yolo*.onnx")
POSE = (
    "pose2d/vitpose_h_wholebody.onnx",
    "pose2d/vitpose_h_wholebody.onnx/end2end.onnx",
    "detection/vitpose*.onnx",
    "pose2d/*.onnx",
    "vitpose*.onnx",
)
# a pickle is found last, and refused where it is read
SEGMENTER = ("sam2/*.safetensors", "sam2*.safetensors", "sam2/*.pt")


@dataclass(frozen=True)
class Checkpoints:
    """Paths; "" for what is not there."""

    detector: str = ""
    pose: str = ""
    segmenter: str = ""


def find_checkpoints(folder: str | os.PathLike) -> Checkpoints:
    """The networks in a folder.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"--ckpt_path is {folder}, which is no folder: give upstream's process_checkpoint, ComfyUI's models, or "
            "--detector and --pose."
        )
    return Checkpoints(*(_first(folder, patterns) for patterns in (DETECTOR, POSE, SEGMENTER)))


def _first(folder: Path, patterns: tuple[str, ...]) -> str:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                return str(path)
    return ""
