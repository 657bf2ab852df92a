"""From a person detector's output to people's boxes, and the one upstream would take.

Source: ``wan/modules/animate/preprocess/pose2d.py: Yolo`` (its thresholds, and its choice of the largest person).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .appearance import appearances

MIN_SCORE = 0.05
MAX_OVERLAP = 0.5
MIN_SIDE_RATIO = 0.4  # a person much smaller than the largest is not chosen
PERSON = 0  # class in COCO's 80
MIN_SIDE = 10  # pixels; a smaller box is of no use to the pose network
WHOLE_FRAME = -1.0  # score of the box that stands for "nobody detected, look everywhere"
BRIDGED = 0.0  # score of a box between two detections of the same person
MOST_PEOPLE = 16  # boxes a frame that are followed


@dataclass(frozen=True)
class Found:
    """People detected in one frame.

    Attributes:
        boxes: float32 ``[n, 5]``, x1, y1, x2, y2 in frame pixels and score.
        looks: float32 ``[n, 128]`` (:mod:`.appearance`).
        largest: float32 ``[5]``, the one upstream would take; the whole frame with score -1 if there is none.
    """

    boxes: np.ndarray
    looks: np.ndarray
    largest: np.ndarray


def detections(output: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """All detections of one frame.

    Args:
        output: ``[M, 6]`` rows of x1, y1, x2, y2, score, class (YOLOv10), or ``[4 + classes, M]`` columns of centre x,
            centre y, width, height and class scores (YOLOv8 and its like), in pixels of the network's input.
        scale_x, scale_y: frame size over input size.

    Returns:
        float64 ``[n, 6]`` of x1, y1, x2, y2 (whole frame pixels), score, class; best first, overlaps removed over all
        classes together.
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
    found = np.column_stack([corner, corner + extent, score, classes])
    return _without_overlaps(found[found[:, 4] > MIN_SCORE])


def _without_overlaps(found: np.ndarray) -> np.ndarray:
    found = found[np.argsort(-found[:, 4], kind="stable")]
    kept: list[np.ndarray] = []
    area = np.prod(found[:, 2:4] - found[:, :2], axis=1)
    while len(found):
        first, rest = found[0], found[1:]
        kept.append(first)
        shared = np.minimum(first[2:4], rest[:, 2:4]) - np.maximum(first[:2], rest[:, :2])
        intersection = np.prod(shared.clip(min=0), axis=1)
        union = area[0] + area[1:] - intersection
        stays = intersection <= MAX_OVERLAP * union
        found, area = rest[stays], area[1:][stays]
    return np.array(kept).reshape(-1, 6)


def largest_person(found: np.ndarray) -> np.ndarray | None:
    """x1, y1, x2, y2, score of the person with the largest box, or None.

    As upstream: a box counts while its longer side reaches 0.4 of that of the box chosen so far (at first: of the
    longest of all).
    """
    people = found[(found[:, 5] == PERSON) & (found[:, 4] > MIN_SCORE)]
    if len(people) == 0:
        return None
    extent = people[:, 2:4] - people[:, :2]
    sides, areas = extent.max(axis=1), extent.prod(axis=1)
    chosen, side, area = None, sides.max(), -np.inf
    for index in range(len(people)):
        if areas[index] > area and sides[index] >= MIN_SIDE_RATIO * side:
            chosen, side, area = index, sides[index], areas[index]
    return None if chosen is None else people[chosen, :5]


def upstream_box(found: np.ndarray, width: int, height: int) -> np.ndarray:
    """float32 ``[5]``: the person that upstream would take of a frame's :func:`detections`, x1, y1, x2, y2 and score,
    or the whole frame with score -1."""
    person = largest_person(found)
    if person is None or (person[2:4] - person[:2] < MIN_SIDE).any():
        return np.array([0, 0, width, height, WHOLE_FRAME], np.float32)
    return person.astype(np.float32)


def people_boxes(found: np.ndarray) -> np.ndarray:
    """float32 ``[n, 5]``: all people among a frame's :func:`detections` that are large enough, best first, at most
    ``MOST_PEOPLE``."""
    sides = found[:, 2:4] - found[:, :2]
    kept = (found[:, 5] == PERSON) & (found[:, 4] > MIN_SCORE) & (sides >= MIN_SIDE).all(axis=1)
    return found[kept, :5][:MOST_PEOPLE].astype(np.float32)


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Shared area of every box of ``first`` ``[..., n, 4+]`` with every one of ``second`` ``[..., m, 4+]``."""
    low = np.maximum(first[..., :, None, :2], second[..., None, :, :2])
    high = np.minimum(first[..., :, None, 2:4], second[..., None, :, 2:4])
    return (high - low).clip(min=0).prod(axis=-1)


def area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:4] - boxes[..., :2]).clip(min=0).prod(axis=-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, ``[..., n, m]``."""
    shared = overlap(first, second)
    return shared / np.maximum(area(first)[..., :, None] + area(second)[..., None, :] - shared, 1e-6)


def found_people(
    outputs: np.ndarray, small: np.ndarray, scale: tuple[float, float], width: int, height: int
) -> list[Found]:
    """Every frame's people: the detector's outputs, and the frames as the detector saw them."""
    found = [detections(output, *scale) for output in outputs]
    boxes = [people_boxes(one) for one in found]
    largest = [upstream_box(one, width, height) for one in found]
    looks = appearances(small, [one[:, :4] / (*scale, *scale) for one in boxes])
    return [Found(*three) for three in zip(boxes, looks, largest)]
