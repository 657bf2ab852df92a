"""From frames to what the two networks take."""

from __future__ import annotations

import cv2
import numpy as np

from .. import workers
from .heatmaps import crop_person

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Room:
    """Memory that is used again and again: fresh memory costs more than what is computed in it.

    Args:
        uses: arrays that may be in use at once; the one after that many is the first again.
    """

    def __init__(self, uses: int):
        self._arrays: list[np.ndarray | None] = [None] * uses
        self._next = 0

    def array(self, shape: tuple[int, ...], dtype=np.float32) -> np.ndarray:
        """An uninitialised array; a shorter one (fewer rows) is a part of the last."""
        at = self._next
        self._next = (at + 1) % len(self._arrays)
        held = self._arrays[at]
        if held is None or held.shape[1:] != shape[1:] or len(held) < shape[0] or held.dtype != dtype:
            held = self._arrays[at] = np.empty(shape, dtype)
        return held[: shape[0]]


def detector_input(
    images: np.ndarray, size: tuple[int, int], room: Room | None = None, copies: Room | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Whole frames stretched to the detector's input, as upstream feeds it.

    Args:
        images: uint8 RGB ``[N, H, W, 3]``.
        size: width and height of the input.
        room, copies: where to put the two results.

    Returns:
        float32 ``[N, 3, height, width]`` in 0..1, and the same as uint8 ``[N, height, width, 3]``.
    """
    width, height = size
    inputs = (room or Room(1)).array((len(images), 3, height, width))
    small = (copies or Room(1)).array((len(images), height, width, 3), np.uint8)

    def prepare(images: np.ndarray, copies: np.ndarray, inputs: np.ndarray) -> None:
        channels = np.empty((3, height, width), np.uint8)
        for image, copy, planes in zip(images, copies, inputs):
            cv2.resize(image, size, dst=copy)
            cv2.split(copy, list(channels))
            np.copyto(planes, channels)
            np.divide(planes, np.float32(255), out=planes)

    workers.each(prepare, images, small, inputs)
    return inputs, small


def pose_input(images: np.ndarray, regions: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The people's crops, RGB normalised as ViTPose was trained (ImageNet mean and deviation).

    Args:
        images: uint8 RGB ``[N, H, W, 3]``.
        regions: ``[N, 4]`` from :func:`.heatmaps.crop_regions`.
        size: width and height of the network's input.

    Returns:
        float32 ``[N, 3, height, width]``.
    """
    width, height = size
    inputs = np.empty((len(images), 3, height, width), np.float32)
    scale, shift = (1 / (255 * STD))[:, None, None], (MEAN / STD)[:, None, None]

    def prepare(images: np.ndarray, regions: np.ndarray, inputs: np.ndarray) -> None:
        channels = np.empty((len(images), 3, height, width), np.uint8)
        for image, region, planes in zip(images, regions, channels):
            cv2.split(crop_person(image, region, width, height), list(planes))
        np.multiply(channels, scale, out=inputs)
        inputs -= shift

    workers.each(prepare, images, regions, inputs)
    return inputs
