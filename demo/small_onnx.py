"""Small ONNX graphs with YOLOv10's and ViTPose's inputs and outputs, whose answer is known.

* :func:`save_detector` and :func:`save_pose` find :mod:`demo.figure`'s dancer by the hues of its balls.
* With ``template=True`` they find one standing person in the middle of any frame: to run the pipeline on any clip.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from demo.figure import MARKS, PALETTE, RIM, figure_keypoints, mark_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH, HEIGHT = 192, 256
MAP_WIDTH, MAP_HEIGHT = 48, 64
SIGMA = 2.0  # of the heatmaps' peaks, as ViTPose is trained
SIDE = 640
TOLERANCE = 0.095  # how far a pixel's hue may lie from a ball's: tangent of half the angle between two of them
ENOUGH = 1.5  # crop pixels of full brightness that make a sure ball


class Builder:
    """Nodes and constants of a graph; every method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str | npt.ArrayLike, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, names, [name], **attributes))
        return name

    def sum(self, value: str, *axes: int) -> str:
        return self.op("ReduceSum", value, self.constant(axes, np.int64), keepdims=1)

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.constant(shape, np.int64))

    def slice(self, value: str, starts: list[int], stops: list[int], axes: list[int], steps: list[int]) -> str:
        return self.op("Slice", value, *(self.constant(part, np.int64) for part in (starts, stops, axes, steps)))

    def save(
        self,
        path: str | os.PathLike[str],
        result: str,
        input_shape: list[int | str],
        output_shape: list[int | str],
        external: bool,
    ) -> None:
        self.nodes.append(helper.make_node("Identity", [result], ["output"]))
        graph = helper.make_graph(
            self.nodes,
            "known_answer",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        weights: dict[str, Any] = {}
        if external:
            (path.parent / (path.name + ".data")).unlink(missing_ok=True)
            weights = {"save_as_external_data": True, "location": path.name + ".data", "size_threshold": 256}
        onnx.save(model, str(temporary), **weights)
        onnx.checker.check_model(str(temporary))  # by path: it may be larger than a protobuf message
        os.replace(temporary, path)


def _ball_weights(graph: Builder, rgb: str) -> str:
    """``[N, 24, H, W]``: how much each pixel belongs to each ball, 0 at its rim, for RGB ``[N, 3, H, W]`` in 0..1."""
    palette = PALETTE / 255
    norm = (palette**2).sum(axis=1)
    kernel = (palette / norm[:, None])[:, :, None, None]
    brightness = graph.op("Conv", rgb, kernel)
    total = graph.sum(graph.op("Mul", rgb, rgb), 1)
    along = graph.op("Mul", graph.op("Mul", brightness, brightness), norm[:, None, None])
    off = graph.op("Div", graph.op("Sub", total, along), graph.op("Add", along, 1e-6))
    hue = graph.op("Relu", graph.op("Sub", 1.0, graph.op("Mul", off, 1 / TOLERANCE**2)))
    light = graph.op("Relu", graph.op("Sub", brightness, RIM + 0.02))
    return graph.op("Mul", hue, light)


def _heatmaps(graph: Builder, x: str, y: str, confidence: str) -> str:
    """Gaussian peaks ``[N, 133, 64, 48]`` at heatmap positions ``[N, 133]``."""
    columns = graph.op("Sub", np.arange(MAP_WIDTH), graph.reshape(x, -1, 133, 1, 1))
    rows = graph.op("Sub", np.arange(MAP_HEIGHT)[:, None], graph.reshape(y, -1, 133, 1, 1))
    fall = -1 / (2 * SIGMA**2)
    across = graph.op("Exp", graph.op("Mul", graph.op("Mul", columns, columns), fall))
    down = graph.op("Exp", graph.op("Mul", graph.op("Mul", rows, rows), fall))
    peaks = graph.op("Mul", down, across)
    return graph.op("Mul", peaks, graph.reshape(confidence, -1, 133, 1, 1))


def save_pose(
    path: str | os.PathLike[str],
    template: bool = False,
    batch: int | None = None,
    external: bool = False,
    joints: int = 133,
    step: int = 1,
) -> None:
    """Write a graph with ViTPose wholebody's shapes, ``[N, 3, 256, 192]`` -> ``[N, 133, 64, 48]``.

    Args:
        path: the .onnx file.
        template: always the same standing pose.
        batch: the only batch size it takes; None = any.
        external: weights in a second file, ``<name>.data``.
        joints: output only so many maps (the wrong kind of network, for tests).
        step: use every ``step``-th pixel: faster, less exact.
    """
    graph = Builder()
    if template:
        points = figure_keypoints(0.62, WIDTH, HEIGHT, center=(0.5, 0.52), size=0.98)[:, :2] / 4
        x, y = points.T
        zero = graph.op("Mul", graph.op("ReduceMean", "input", axes=[1, 2, 3], keepdims=0), 0.0)
        zero = graph.reshape(zero, -1, 1)
        x, y, confidence = (graph.op("Add", zero, value[None]) for value in (x, y, np.full(133, 0.9)))
    else:
        seen = graph.slice("input", [0, 0], [HEIGHT, WIDTH], [2, 3], [step, step]) if step > 1 else "input"
        scaled = graph.op("Mul", seen, np.array(STD)[:, None, None])
        rgb = graph.op("Add", scaled, np.array(MEAN)[:, None, None])
        weights = _ball_weights(graph, rgb)
        mass = graph.sum(weights, 2, 3)
        safe = graph.op("Add", mass, 1e-6)
        marks = []
        for grid in (np.arange(0, WIDTH, step), np.arange(0, HEIGHT, step)[:, None]):
            centre = graph.op("Div", graph.sum(graph.op("Mul", weights, grid / 4), 2, 3), safe)
            marks.append(graph.reshape(centre, -1, len(MARKS)))
        sure = graph.op("Min", graph.op("Mul", graph.reshape(mass, -1, len(MARKS)), step**2 / ENOUGH), 1.0)
        # Pixels are square in the crop, so the similarity that carries face and hands holds in it too.
        real, imaginary = mark_weights().real.T, mark_weights().imag.T
        x = graph.op("Sub", graph.op("MatMul", marks[0], real), graph.op("MatMul", marks[1], imaginary))
        y = graph.op("Add", graph.op("MatMul", marks[0], imaginary), graph.op("MatMul", marks[1], real))
        used = (np.abs(mark_weights()) > 1e-9).astype(np.float32)
        doubt = graph.op("Mul", graph.op("Sub", 1.0, graph.reshape(sure, -1, 1, len(MARKS))), used)
        confidence = graph.op("Sub", 1.0, graph.op("ReduceMax", doubt, axes=[2], keepdims=0))
    result = _heatmaps(graph, x, y, confidence)
    if joints != 133:
        result = graph.slice(result, [0], [joints], [1], [1])
    graph.save(
        path,
        result,
        [batch or "batch", 3, HEIGHT, WIDTH],
        [batch or "batch", joints, MAP_HEIGHT, MAP_WIDTH],
        external,
    )


def save_detector(
    path: str | os.PathLike[str], template: bool = False, batch: int | None = None, step: int = 2
) -> None:
    """Write a graph with YOLOv10's shapes, ``[N, 3, 640, 640]`` -> ``[N, 300, 6]``.

    Its first row is the dancer (score 0 where there is none), the others are empty.

    Args:
        path: the .onnx file.
        template: always one person in the middle of the frame.
        batch: the only batch size it takes; None = any.
        step: use every ``step``-th pixel.
    """
    graph = Builder()
    if template:
        zero = graph.op("Mul", graph.op("ReduceMean", "input", axes=[1, 2, 3], keepdims=0), 0.0)
        row = graph.op("Add", graph.reshape(zero, -1, 1), np.array([[0.25, 0.04, 0.75, 0.99, 0, 0]]) * SIDE)
        row = graph.op("Add", row, np.array([[0, 0, 0, 0, 0.9, 0]]))
    else:
        sparse = graph.slice("input", [0, 0], [SIDE, SIDE], [2, 3], [step, step])
        weights = graph.op("ReduceMax", _ball_weights(graph, sparse), axes=[1], keepdims=1)
        hit = graph.op("Cast", graph.op("Greater", weights, 0.08), to=TensorProto.FLOAT)
        miss = graph.op("Mul", graph.op("Sub", 1.0, hit), 1e4)
        edges = []
        for grid in (np.arange(0.0, SIDE, step), np.arange(0.0, SIDE, step)[:, None]):
            at = graph.op("Mul", hit, grid)
            low = graph.op("ReduceMin", graph.op("Add", at, miss), axes=[2, 3], keepdims=0)
            high = graph.op("ReduceMax", graph.op("Sub", at, miss), axes=[2, 3], keepdims=0)
            edges.append((low, high))
        (x1, x2), (y1, y2) = edges
        wide, tall = graph.op("Sub", x2, x1), graph.op("Sub", y2, y1)

        def beyond(value: str, extent: str, part: float) -> str:
            return graph.op("Clip", graph.op("Add", value, graph.op("Mul", extent, part)), 0.0, float(SIDE))

        # The balls leave out the hair, the palms' width and the soles.
        sides = [beyond(x1, wide, -0.04), beyond(y1, tall, -0.14), beyond(x2, wide, 0.04), beyond(y2, tall, 0.03)]
        count = graph.reshape(graph.sum(hit, 2, 3), -1, 1)
        score = graph.op("Min", graph.op("Mul", count, step**2 / 48), 0.95)
        row = graph.op("Concat", *sides, score, graph.op("Mul", score, 0.0), axis=1)
    rows = graph.op("Pad", graph.reshape(row, -1, 1, 6), graph.constant([0, 0, 0, 0, 299, 0], np.int64))
    graph.save(path, rows, [batch or "batch", 3, SIDE, SIDE], [batch or "batch", 300, 6], external=False)
