"""PoseDetector: a person detector and a whole-body pose network over a clip, several frames at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import cv2
import numpy as np

from ..errors import InputError
from ..frames import FrameSource, read_uint8
from . import layout
from .boxes import WHOLE_FRAME, person_box
from .heatmaps import crop_person, crop_regions, decode_heatmaps
from .session import Graph, describe
from .track import PoseTrack

log = logging.getLogger(__name__)

DETECTOR_SIDE = 640  # where the graph leaves its input size open
POSE_SIZE = (192, 256)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
GUESS_CONFIDENCE = 0.3


class PoseDetector:
    """Finds one person, the largest, in every frame and their 133 keypoints.

    Follows upstream's preprocessing (``wan/modules/animate/preprocess/pose2d.py``): the detector sees the whole frame
    stretched to its input, the pose network the person's box with a quarter more around it. Two things differ on
    purpose. The pose network is given RGB, which it was trained on (upstream swaps red and blue on the way to it). And
    the crop is cut with the exact inverse of the mapping that turns heatmap positions back into pixels.

    Args:
        detector_path: YOLOv10 (``[N, M, 6]``) or YOLOv8-like (``[N, 4 + classes, M]``) ONNX, trained on COCO.
        pose_path: ViTPose wholebody ONNX (``[N, 3, 256, 192]`` -> ``[N, 133, 64, 48]``; other sizes are taken from the
            graph).
        provider: "auto" (CUDA, DirectML, CoreML, CPU: the first that onnxruntime offers) or one of these in lower case.
            What cannot start falls back to the CPU and says so in the log.

    Raises:
        InputError: a file is missing, damaged or of the wrong kind. Checked here, before any frame is read.
    """

    def __init__(self, detector_path: str | os.PathLike, pose_path: str | os.PathLike, provider: str = "auto"):
        self._detector = Graph(detector_path, provider, "person detector")
        self._detector_size = _check_detector(self._detector)
        self._pose = Graph(pose_path, provider, "pose model")
        self._pose_size = _check_pose(self._pose)

    @property
    def provider(self) -> str:
        """onnxruntime's name of what the pose network runs on."""
        return self._pose.provider

    def detect(
        self, frames: FrameSource, batch: int = 8, progress: Callable[[int, int], None] | None = None
    ) -> PoseTrack:
        """Keypoints of the largest person in every frame.

        In a frame where nobody is detected the pose network looks at the whole frame, as upstream does. It often still
        finds an upper body there; the points are kept if the mean confidence of the 17 body points is above 0.3 and
        otherwise get confidence 0. The frame's box has score -1 either way, and the log says which frames they are.

        Args:
            frames: images; read ``batch`` at a time.
            batch: frames a run of each network.
            progress: called with (frames done, all frames) after each batch; may raise to stop.

        Returns:
            The track, in pixels of ``frames``, with boxes.

        Raises:
            InputError: ``frames`` are masks, or no frame of the clip has a person.
        """
        if frames.kind != "image":
            raise InputError("detect pose: its input is a clip of masks; connect the driving video's frames.")
        if batch < 1:
            raise InputError(f"detect pose: batch is {batch}, but it must be at least 1.")
        count = len(frames)
        keypoints = np.zeros((count, layout.COUNT, 3), np.float32)
        boxes = np.zeros((count, 5), np.float32)
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            images = read_uint8(frames, start, stop)
            boxes[start:stop] = self.find_people(images)
            keypoints[start:stop] = self.find_keypoints(images, boxes[start:stop])
            if progress is not None:
                progress(stop, count)

        guessed = boxes[:, 4] <= WHOLE_FRAME
        lost = guessed & ~(keypoints[:, layout.BODY, 2].mean(axis=1) > GUESS_CONFIDENCE)
        keypoints[lost, :, 2] = 0
        if lost.all():
            raise InputError(
                f"detect pose: no person was found in any of the clip's {count} frames; use a clip that shows "
                "a person large enough to make out, from the chest up or more."
            )
        if guessed.any():
            log.warning(
                "detect pose: nobody was detected in %d of %d frames (%s); in %d of them a pose was found anyway.",
                guessed.sum(),
                count,
                frame_ranges(guessed),
                (guessed & ~lost).sum(),
            )
        return PoseTrack(keypoints, frames.width, frames.height, frames.fps, boxes)

    def find_people(self, images: np.ndarray) -> np.ndarray:
        """float32 ``[N, 5]``: box (x1, y1, x2, y2 in pixels) and score of the largest person in uint8 RGB images
        ``[N, H, W, 3]``; the whole image with score -1 where there is none."""
        height, width = images.shape[1:3]
        size = self._detector_size
        inputs = np.stack([cv2.resize(image, size) for image in images])
        inputs = inputs.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        return np.stack([person_box(output, width, height, *size) for output in self._detector.run(inputs)])

    def find_keypoints(self, images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """float32 ``[N, 133, 3]`` keypoints (x, y in pixels, confidence 0..1) of the person in each image's box."""
        width, height = self._pose_size
        regions = crop_regions(boxes[:, :4], width, height)
        crops = np.stack(
            [crop_person(image, region, width, height) for image, region in zip(images, regions, strict=True)]
        )
        inputs = crops.astype(np.float32)
        inputs *= 1 / (255 * STD)
        inputs -= MEAN / STD
        points = decode_heatmaps(self._pose.run(inputs.transpose(0, 3, 1, 2)), regions)
        points[..., 2] = np.nan_to_num(points[..., 2]).clip(0, 1)
        points[points[..., 2] == 0] = 0
        return points

    def close(self) -> None:
        """Free both networks' memory, on the card too; the next run opens them again."""
        self._detector.close()
        self._pose.close()


def frame_ranges(flags: np.ndarray, limit: int = 6) -> str:
    """True frames as text: ``3, 10-14, 20``; after ``limit`` ranges the rest is only counted."""
    at = np.flatnonzero(flags)
    groups = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups if len(group)]
    if len(texts) > limit:
        texts = [*texts[:limit], f"and {len(texts) - limit} more ranges"]
    return ", ".join(texts)


def _image_size(graph: Graph, default: tuple[int, int], expected: str) -> tuple[int, int]:
    """Width and height of the graph's input, from its shape."""
    shape = graph.input_shape
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise InputError(
            f"{graph.what}: {graph.name} takes {describe(shape)}, but {expected} takes RGB images [N, 3, H, W]; "
            "choose another file."
        )
    return (
        shape[3] if isinstance(shape[3], int) else default[0],
        shape[2] if isinstance(shape[2], int) else default[1],
    )


def _check_detector(graph: Graph) -> tuple[int, int]:
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
            f"{graph.what}: {graph.name} takes {describe(graph.input_shape)} and gives {describe(shape)}, "
            f"where a detector gives [N, M, 6] or [N, 84, M]; it is {found}."
        )
    return size


def _check_pose(graph: Graph) -> tuple[int, int]:
    size = _image_size(graph, POSE_SIZE, "a ViTPose network")
    shape = graph.output_shape
    if len(shape) != 3 and not (len(shape) == 4 and all(isinstance(side, int) for side in shape[1:])):
        shape = graph.probe(size[1], size[0])
    if len(shape) != 4 or shape[1] != layout.COUNT:
        if len(shape) == 3:
            found = "a detector: choose it as the person detector, and a ViTPose wholebody file here"
        elif len(shape) == 4:
            found = f"a network of {shape[1]} joints: choose the wholebody one of 133"
        else:
            found = "not a pose network: choose a ViTPose wholebody file"
        raise InputError(
            f"{graph.what}: {graph.name} takes {describe(graph.input_shape)} and gives {describe(shape)}, "
            f"where ViTPose wholebody gives [N, 133, H, W]; it is {found}."
        )
    return size
