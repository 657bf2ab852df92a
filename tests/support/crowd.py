"""Two people in one clip, and detectors whose answer about them is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from onnx import TensorProto

from demo.figure import draw_figure, figure_keypoints, room
from demo.small_onnx import SIDE, Builder
from wan_animate.video.frames import FrameSource

DYES = np.array([[1.0, 0.25, 0.25], [0.25, 0.25, 1.0]])  # what the two dancers are dipped in
MERGED = 0.45  # share of the smaller box in the other from which the detector sees one person


class Crowd(FrameSource):
    """The dancer twice, one all red, one all blue, over their room.

    Args:
        middles: ``[T, 2]``, across the frame, as fractions of its width, of the red and the blue one; NaN = not there.
        front: who covers the other, 0 or 1.
        negative: show the room's negative: another scene, for cuts.
        sizes: heights of the two, as :func:`demo.figure.figure_keypoints` takes them.

    Attributes:
        boxes: float64 ``[T, 2, 4]``, around everything of them, hidden or not; NaN where not there.
    """

    def __init__(self, middles, width=480, height=360, front=1, sizes=(0.8, 0.7), fps=30, negative=False):
        self.middles, self.width, self.height, self.front = np.asarray(middles), width, height, front
        self.fps, self.sizes, self.reads = Fraction(fps), sizes, 0
        self.boxes = np.full((len(self.middles), 2, 4), np.nan)
        background = room(width, height)
        self._made = np.stack([255 - background if negative else background] * len(self.middles))
        for frame, image in enumerate(self._made):
            for who in (1 - front, front):
                if not np.isnan(self.middles[frame, who]):
                    self.boxes[frame, who] = self._draw(image, frame, who)

    def __len__(self):
        return len(self.middles)

    def _draw(self, image: np.ndarray, frame: int, who: int) -> tuple[int, ...]:
        """Draws in place; gives the box."""
        keypoints = figure_keypoints(
            frame / 30 + 0.4 * who, self.width, self.height, (self.middles[frame, who], 0.52), self.sizes[who]
        )
        drawn = draw_figure(keypoints, self.width, self.height, marked=False)
        mask = (drawn != room(self.width, self.height)).any(axis=-1)
        light = 60 + 0.75 * drawn[mask].mean(axis=-1, keepdims=True)
        image[mask] = (light * DYES[who]).clip(0, 255)
        rows, columns = np.nonzero(mask)
        return columns.min(), rows.min(), columns.max(), rows.max()

    def _read(self, start, stop):
        self.reads += stop - start
        return self._made[start:stop]

    def fingerprint(self):
        return f"crowd:{self.middles.tobytes()!r}"


def walk(count: int, *stops: float) -> np.ndarray:
    """``[count]`` places from stop to stop."""
    return np.interp(np.linspace(0, len(stops) - 1, count), np.arange(len(stops)), stops)


def save_dye_detector(path: Path) -> Path:
    """A graph of YOLOv10's shape that finds the two dyes: a row each, or one row for both where their boxes overlap."""
    graph = Builder()
    rgb = graph.slice("input", [0, 0], [SIDE, SIDE], [2, 3], [2, 2])
    directions = DYES / np.linalg.norm(DYES, axis=1, keepdims=True)
    along = graph.op("Conv", rgb, directions[:, :, None, None])
    total = graph.sum(graph.op("Mul", rgb, rgb), 1)
    off = graph.op("Sub", graph.op("Mul", total, 0.985), graph.op("Mul", along, along))
    hit = graph.op("Cast", graph.op("Less", off, 0.0), to=TensorProto.FLOAT)
    bright = graph.op("Cast", graph.op("Greater", along, 0.15), to=TensorProto.FLOAT)
    hit = graph.op("Mul", hit, bright)
    miss = graph.op("Mul", graph.op("Sub", 1.0, hit), 1e4)
    edges = []
    for grid in (np.arange(0, SIDE, 2.0), np.arange(0, SIDE, 2.0)[:, None]):
        at = graph.op("Mul", hit, grid)
        low = graph.op("ReduceMin", graph.op("Add", at, miss), axes=[2, 3], keepdims=0)
        high = graph.op("ReduceMax", graph.op("Sub", at, miss), axes=[2, 3], keepdims=0)
        edges.append((graph.op("Clip", low, 0.0, SIDE * 1.0), graph.op("Clip", high, 0.0, SIDE * 1.0)))
    (x1, x2), (y1, y2) = edges  # [N, 2] each
    seen = graph.op("Cast", graph.op("Greater", graph.reshape(graph.sum(hit, 2, 3), -1, 2), 40.0), to=TensorProto.FLOAT)

    def one(value: str, who: int) -> str:
        return graph.slice(value, [who], [who + 1], [1], [1])

    wide, tall = graph.op("Relu", graph.op("Sub", x2, x1)), graph.op("Relu", graph.op("Sub", y2, y1))
    area = graph.op("Mul", graph.op("Mul", wide, tall), seen)
    shared = []
    for low, high in ((x1, x2), (y1, y2)):
        top = graph.op("Min", one(high, 0), one(high, 1))
        shared.append(graph.op("Relu", graph.op("Sub", top, graph.op("Max", one(low, 0), one(low, 1)))))
    smaller = graph.op("Min", one(area, 0), one(area, 1))
    common = graph.op("Mul", *shared)
    merged = graph.op("Greater", common, graph.op("Add", graph.op("Mul", smaller, MERGED), 1.0))
    both = graph.op("Greater", smaller, 0.0)
    merged = graph.op("And", merged, both)

    def sides(low_x, low_y, high_x, high_y, score) -> str:
        return graph.op("Concat", low_x, low_y, high_x, high_y, score, graph.op("Mul", score, 0.0), axis=1)

    first = sides(one(x1, 0), one(y1, 0), one(x2, 0), one(y2, 0), graph.op("Mul", one(seen, 0), 0.9))
    second = sides(one(x1, 1), one(y1, 1), one(x2, 1), one(y2, 1), graph.op("Mul", one(seen, 1), 0.85))
    union = sides(
        graph.op("Min", one(x1, 0), one(x1, 1)),
        graph.op("Min", one(y1, 0), one(y1, 1)),
        graph.op("Max", one(x2, 0), one(x2, 1)),
        graph.op("Max", one(y2, 0), one(y2, 1)),
        graph.op("Mul", one(seen, 0), 0.8),
    )
    first = graph.op("Where", merged, union, first)
    second = graph.op("Where", merged, graph.op("Mul", second, 0.0), second)
    rows = graph.op("Concat", graph.reshape(first, -1, 1, 6), graph.reshape(second, -1, 1, 6), axis=1)
    rows = graph.op("Pad", rows, graph.constant([0, 0, 0, 0, 298, 0], np.int64))
    graph.save(path, rows, ["batch", 3, SIDE, SIDE], ["batch", 300, 6], external=False)
    return path
