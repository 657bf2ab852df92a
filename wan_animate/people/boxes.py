"""People's boxes from YOLO, as upstream's ``wan/modules/animate/preprocess/pose2d.py: Yolo``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .appearance import appearances

MIN_SCORE = 0.05
MAX_OVERLAP = 0.5
MIN_SIDE_RATIO = 0.4  # longer side over that of the largest person
PERSON = 0  # COCO class
MIN_SIDE = 10  # pixels
WHOLE_FRAME = -1.0  # score of a box that covers the frame because nobody was detected
INTERPOLATED = 0.0  # score of a box between two detections of the same person
MAX_PEOPLE = 16  # boxes per frame


@dataclass(frozen=True)
class FrameDetections:
    """People in one frame.

    Attributes:
        boxes: float32 ``[n, 5]``: x1, y1, x2, y2 in frame pixels, score.
        appearances: float32 ``[n, 128]``.
        largest: float32 ``[5]``, from :func:`upstream_box`.
    """

    boxes: np.ndarray
    appearances: np.ndarray
    largest: np.ndarray


def decode_yolo(output: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """Detections in one frame after non-maximum suppression over all classes.

    Args:
        output: YOLOv10's ``[M, 6]`` (x1, y1, x2, y2, score, class) or YOLOv8's ``[4 + classes, M]`` (centre x, centre
            y, width, height, scores).
        scale_x, scale_y: frame size over input size.

    Returns:
        float64 ``[n, 6]``: x1, y1, x2, y2 in whole frame pixels, score, class; best first.
    """
    if output.shape[-1] == 6:
        kept = output[output[:, 4] >= MIN_SCORE]
        corner = kept[:, :2] * (scale_x, scale_y)
        extent = kept[:, 2:4] * (scale_x, scale_y) - corner
        score, classes = kept[:, 4], kept[:, 5]
    else:
        columns = output.T
        best = columns[:, 4:].max(axis=1)
        columns, score = columns[best >= MIN_SCORE], best[best >= MIN_SCORE]
        classes = columns[:, 4:].argmax(axis=1)
        corner = (columns[:, :2] - columns[:, 2:4] / 2) * (scale_x, scale_y)
        extent = columns[:, 2:4] * (scale_x, scale_y)
    corner, extent = np.trunc(corner).astype(np.float64), np.trunc(extent).astype(np.float64)
    detections = np.column_stack([corner, corner + extent, score, classes])
    return _non_maximum_suppression(detections[detections[:, 4] > MIN_SCORE])


def _non_maximum_suppression(detections: np.ndarray) -> np.ndarray:
    detections = detections[np.argsort(-detections[:, 4], kind="stable")]
    kept: list[np.ndarray] = []
    area = np.prod(detections[:, 2:4] - detections[:, :2], axis=1)
    while len(detections):
        first, rest = detections[0], detections[1:]
        kept.append(first)
        shared = np.minimum(first[2:4], rest[:, 2:4]) - np.maximum(first[:2], rest[:, :2])
        intersection = np.prod(shared.clip(min=0), axis=1)
        union = area[0] + area[1:] - intersection
        stays = intersection <= MAX_OVERLAP * union
        detections, area = rest[stays], area[1:][stays]
    return np.array(kept).reshape(-1, 6)


def largest_person(detections: np.ndarray) -> np.ndarray | None:
    """Box ``[5]``. As upstream, a side under 0.4 of the choice so far is too small."""
    people = detections[(detections[:, 5] == PERSON) & (detections[:, 4] > MIN_SCORE)]
    if len(people) == 0:
        return None
    extent = people[:, 2:4] - people[:, :2]
    sides, areas = extent.max(axis=1), extent.prod(axis=1)
    chosen, side, area = None, sides.max(), -np.inf
    for index in range(len(people)):
        if areas[index] > area and sides[index] >= MIN_SIDE_RATIO * side:
            chosen, side, area = index, sides[index], areas[index]
    return None if chosen is None else people[chosen, :5]


def upstream_box(detections: np.ndarray, width: int, height: int) -> np.ndarray:
    """:func:`largest_person` of ``[n, 6]`` as float32; the whole frame with score -1 if none."""
    person = largest_person(detections)
    if person is None or (person[2:4] - person[:2] < MIN_SIDE).any():
        return np.array([0, 0, width, height, WHOLE_FRAME], np.float32)
    return person.astype(np.float32)


def people_boxes(detections: np.ndarray) -> np.ndarray:
    """People in ``[n, 6]``: float32 ``[n, 5]``, best first."""
    sides = detections[:, 2:4] - detections[:, :2]
    kept = (detections[:, 5] == PERSON) & (detections[:, 4] > MIN_SCORE) & (sides >= MIN_SIDE).all(axis=1)
    return detections[kept, :5][:MAX_PEOPLE].astype(np.float32)


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection areas ``[..., n, m]`` of ``[..., n, 4+]`` and ``[..., m, 4+]``."""
    low = np.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = np.minimum(first[..., :, None, 2:4], second[..., None, :, 2:4])
    return (high - low).clip(min=0).prod(axis=-1)


def area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:4] - boxes[..., :2]).clip(min=0).prod(axis=-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    shared = overlap(first, second)
    return shared / np.maximum(area(first)[..., :, None] + area(second)[..., None, :] - shared, 1e-6)


def detect_people(
    outputs: np.ndarray, images: np.ndarray, scale: tuple[float, float], width: int, height: int
) -> list[FrameDetections]:
    """Decodes a batch.

    Args:
        images: the detector's input, uint8 ``[N, h, w, 3]``.
        scale: frame size over input size.
    """
    detections = [decode_yolo(output, *scale) for output in outputs]
    boxes = [people_boxes(frame) for frame in detections]
    largest = [upstream_box(frame, width, height) for frame in detections]
    features = appearances(images, [frame[:, :4] / (*scale, *scale) for frame in boxes])
    return [FrameDetections(*values) for values in zip(boxes, features, largest)]
