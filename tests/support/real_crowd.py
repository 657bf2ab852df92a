"""The example clip's presenter twice, crossing, and a detector that reports people as detectors do in a crowd."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from onnx import TensorProto

from demo.small_onnx import SIDE, Builder
from wan_animate.people.boxes import area, overlap
from wan_animate.video.frames import FrameSource
from wan_animate.video.source import VideoSource

BITS = 8  # of the frame number, as squares along the lower edge
WIDTH, HEIGHT, SQUARE = 640, 360, 16


class RealCrowd(FrameSource):
    """Two presenters over the clip's own background: as filmed, and mirrored in other colours.

    Args:
        folder: with video.mp4 and video_mask.npz.
        middles: ``[T, 2]`` across the frame, as fractions of its width.
        front: who covers the other.

    Attributes:
        boxes: float64 ``[T, 2, 4]``, around everything of them, hidden or not.
    """

    width, height, fps = WIDTH, HEIGHT, Fraction(30)
    scales = (0.85, 0.75)

    def __init__(self, folder: Path, middles: np.ndarray, front: int = 1):
        packed = np.load(folder / "video_mask.npz")
        shape = tuple(packed["shape"])
        masks = np.unpackbits(packed["packed"], axis=1)[:, : shape[1] * shape[2]].reshape(shape)
        self._masks = np.stack([_whole(cv2.resize(mask, (WIDTH, HEIGHT))) for mask in masks[: len(middles)]])
        self._video = VideoSource(folder / "video.mp4", fps=0, size=(WIDTH, HEIGHT))
        self._middles, self._front, self._background = middles, front, self._plate()
        self._made: dict[int, np.ndarray] = {}
        self.boxes = np.zeros((len(middles), 2, 4))
        for frame in range(len(middles)):
            for who in range(2):
                mask = self._placed(frame, who, self._masks[frame][..., None])[..., 0]
                rows, columns = np.nonzero(mask > 127)
                self.boxes[frame, who] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1

    def __len__(self):
        return len(self._middles)

    def _plate(self) -> np.ndarray:
        """The background, filled in where the presenter always stands."""
        frames = self._video.read(0, 1)[0]
        hidden = cv2.dilate(self._masks[0], np.ones((15, 15), np.uint8))
        return cv2.inpaint(frames, (hidden > 0).astype(np.uint8), 5, cv2.INPAINT_TELEA)

    def _placed(self, frame: int, who: int, picture: np.ndarray) -> np.ndarray:
        picture = picture[:, ::-1] if who else picture
        rows, columns = np.nonzero(self._masks[frame][:, ::-1] if who else self._masks[frame])
        scale, middle = self.scales[who], (columns.min() + columns.max()) / 2
        x, y = self._middles[frame, who] * WIDTH - scale * middle, HEIGHT - scale * HEIGHT
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        return cv2.warpAffine(np.ascontiguousarray(picture), matrix, (WIDTH, HEIGHT)).reshape(HEIGHT, WIDTH, -1)

    def _read(self, start, stop):
        if any(frame not in self._made for frame in range(start, stop)):
            for frame, image in zip(range(start, stop), self._video.read(start, stop)):
                self._made[frame] = self._composed(frame, image)
        return np.stack([self._made[frame] for frame in range(start, stop)])

    def _composed(self, frame: int, image: np.ndarray) -> np.ndarray:
        whole = self._background.astype(np.float32)
        for who in (1 - self._front, self._front):
            person = image if who == 0 else image[..., [2, 0, 1]]
            share = self._placed(frame, who, self._masks[frame][..., None]) / np.float32(255)
            whole += (self._placed(frame, who, person) - whole) * share
        for bit in range(BITS):
            whole[-SQUARE:, bit * SQUARE : (bit + 1) * SQUARE] = 255 * (frame >> bit & 1)
        return whole.round().astype(np.uint8)

    def fingerprint(self):
        return f"real crowd:{self._middles.tobytes()!r}"

    def close(self):
        self._video.close()


def _whole(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask, 0 or 255."""
    _, pieces, sizes, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    return np.where(pieces == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax(), np.uint8(255), np.uint8(0))


def crowd_detections(boxes: np.ndarray, front: int, seed: int = 0) -> list[np.ndarray]:
    """What a detector says of two people, ``[n, 6]`` a frame: shaking boxes, one in 15 missed, one box around both
    while they half cover each other, only the one in front while they cover each other more, and ghosts."""
    rng = np.random.default_rng(seed)
    said = []
    for pair in boxes:
        shared = overlap(pair[:1], pair[1:])[0, 0] / area(pair).min()
        rows = []
        for who in range(2):
            size = pair[who, 2:] - pair[who, :2]
            shaken = pair[who] + rng.normal(0, 0.012, 4) * np.tile(size, 2)
            hidden = shared > 0.6 and who != front
            if not hidden and rng.random() > 1 / 15:
                rows.append([*shaken, rng.uniform(0.4, 0.9), 0])
        if 0.35 < shared <= 0.6:
            rows = [[*pair[:, :2].min(axis=0), *pair[:, 2:].max(axis=0), 0.7, 0]]
        if rng.random() < 0.2:
            x, y = rng.uniform(0, WIDTH - 60), rng.uniform(0, HEIGHT - 80)
            rows.append([x, y, x + 50, y + 70, rng.uniform(0.06, 0.25), 0])
        said.append(np.array(rows, np.float32).reshape(-1, 6)[rng.permutation(len(rows))])
    return said


def save_number_detector(path: Path, said: list[np.ndarray]) -> Path:
    """A graph that reads the frame number off the squares and answers with that frame's detections."""
    table = np.zeros((len(said), 300, 6), np.float32)
    for rows, frame in zip(said, table):
        frame[: len(rows)] = rows * (SIDE / WIDTH, SIDE / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT, 1, 1)
    graph = Builder()
    square = SIDE * SQUARE // WIDTH
    line = SIDE - SIDE * SQUARE // HEIGHT // 2
    first = graph.slice("input", [0, line, square // 2], [1, SIDE, SIDE], [1, 2, 3], [1, SIDE, square])
    bits = graph.slice(first, [0], [BITS], [3], [1])
    set_bits = graph.op("Cast", graph.op("Greater", bits, 0.5), to=TensorProto.FLOAT)
    number = graph.reshape(graph.sum(graph.op("Mul", set_bits, 2.0 ** np.arange(BITS)), 1, 2, 3), -1)
    at = graph.op("Cast", graph.op("Clip", number, 0.0, len(said) - 1.0), to=TensorProto.INT64)
    graph.save(path, graph.op("Gather", table, at), ["batch", 3, SIDE, SIDE], ["batch", 300, 6], external=False)
    return path
