"""Checks of ONNX graphs."""

from __future__ import annotations

from ..errors import InputError
from ..pose import wholebody
from .onnx_model import OnnxModel, describe

DETECTOR_SIDE = 640  # if the graph leaves its input size open
POSE_SIZE = (192, 256)


def _image_size(graph: OnnxModel, default: tuple[int, int], expected: str) -> tuple[int, int]:
    shape = graph.input_shape
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise InputError(
            f"{graph.role}: {graph.name} takes {describe(shape)}, but {expected} takes RGB images [N, 3, H, W]; "
            "choose another file."
        )
    return (
        shape[3] if isinstance(shape[3], int) else default[0],
        shape[2] if isinstance(shape[2], int) else default[1],
    )


def check_detector(graph: OnnxModel) -> tuple[int, int]:
    """Input width and height. Raises InputError unless a person detector."""
    size = _image_size(graph, (DETECTOR_SIDE, DETECTOR_SIDE), "a YOLO person detector")
    shape = graph.output_shape
    if len(shape) != 4 and (len(shape) != 3 or not isinstance(shape[1], int) or not isinstance(shape[2], int)):
        shape = graph.probe(size[1], size[0])
    rows_of_six = len(shape) == 3 and shape[2] == 6
    columns_of_scores = len(shape) == 3 and shape[1] in (84, 5) and shape[2] > shape[1]
    if not (rows_of_six or columns_of_scores):
        found = (
            "a pose network: choose it as the pose model, and a YOLOv10 file here"
            if len(shape) == 4
            else "not a person detector: choose a YOLOv10 file"
        )
        raise InputError(
            f"{graph.role}: {graph.name} takes {describe(graph.input_shape)} and gives {describe(shape)}, "
            f"where a detector gives [N, M, 6] or [N, 84, M]; it is {found}."
        )
    return size


def check_pose(graph: OnnxModel) -> tuple[int, int]:
    """Input width and height. Raises InputError unless a whole-body pose network."""
    size = _image_size(graph, POSE_SIZE, "a ViTPose network")
    shape = graph.output_shape
    if len(shape) != 3 and not (len(shape) == 4 and all(isinstance(side, int) for side in shape[1:])):
        shape = graph.probe(size[1], size[0])
    if len(shape) != 4 or shape[1] != wholebody.COUNT:
        if len(shape) == 3:
            found = "a detector: choose it as the person detector, and a ViTPose wholebody file here"
        elif len(shape) == 4:
            found = f"a network of {shape[1]} joints: choose the wholebody one of 133"
        else:
            found = "not a pose network: choose a ViTPose wholebody file"
        raise InputError(
            f"{graph.role}: {graph.name} takes {describe(graph.input_shape)} and gives {describe(shape)}, "
            f"where ViTPose wholebody gives [N, 133, H, W]; it is {found}."
        )
    return size
