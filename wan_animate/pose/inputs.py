"""From frames to what the two networks take."""

from __future__ import annotations

import cv2
import numpy as np

from .heatmaps import crop_person

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def detector_input(images: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Whole frames stretched to the detector's input, as upstream feeds it.

    Args:
        images: uint8 RGB ``[N, H, W, 3]``.
        size: width and height of the input.

    Returns:
        float32 ``[N, 3, height, width]`` in 0..1, and the same as uint8 ``[N, height, width, 3]``.
    """
    width, height = size
    small = np.empty((len(images), height, width, 3), np.uint8)
    inputs = np.empty((len(images), 3, height, width), np.float32)
    for image, copy, planes in zip(images, small, inputs):
        cv2.resize(image, size, dst=copy)
        for plane, channel in zip(planes, cv2.split(copy)):
            np.divide(channel, np.float32(255), out=plane)
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
    scale, shift = 1 / (255 * STD), MEAN / STD
    for image, region, planes in zip(images, regions, inputs):
        for channel, crop in enumerate(cv2.split(crop_person(image, region, width, height))):
            plane = planes[channel]
            np.multiply(crop, scale[channel], out=plane)
            plane -= shift[channel]
    return inputs
