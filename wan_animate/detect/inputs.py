"""Preprocessing for the networks, on their device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from .. import workers
from ..buffers import BufferPool

PADDING = 1.25  # crop size over box size
MAX_VALUE = np.float32(255)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet, RGB
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Preprocessor:
    """Resizes and normalizes images.

    Args:
        size: input width and height.
        device: of tensors; None for arrays.
        divisor, shift: values 0..255 become ``value / divisor - shift``.
    """

    def __init__(
        self,
        size: tuple[int, int],
        device: torch.device | None,
        divisor: np.ndarray | np.float32,
        shift: np.ndarray | None = None,
    ) -> None:
        self.size, self.device = size, device
        self._divisor = np.broadcast_to(divisor, 3).astype(np.float32).reshape(3, 1, 1)
        self._shift = None if shift is None else np.broadcast_to(shift, 3).astype(np.float32).reshape(3, 1, 1)
        self._pixels, self._values = BufferPool(pinned=device is not None and device.type == "cuda"), BufferPool()

    def run(self, resize: Callable[..., Any], *items: np.ndarray) -> tuple[np.ndarray | torch.Tensor, np.ndarray]:
        """``resize(item[i] of each, out=pixels[i])`` for N images, in threads.

        Returns:
            float32 ``[N, 3, height, width]``, and the pixels, uint8 ``[N, height, width, 3]``.
        """
        width, height = self.size
        pixels = self._pixels.array((len(items[0]), height, width, 3), np.uint8)
        if self.device is not None:

            def resize_each(pixels: np.ndarray, *items: np.ndarray) -> None:
                for image, *values in zip(pixels, *items):
                    resize(*values, out=image)

            workers.each(resize_each, pixels, *items)
            try:
                return self.normalize(pixels, self.device), pixels
            except torch.cuda.OutOfMemoryError:  # the network may still fit, and says so if it does not
                return self.normalize(pixels, torch.device("cpu")).numpy(), pixels

        def prepare(pixels: np.ndarray, inputs: np.ndarray, *items: np.ndarray) -> None:
            channels = np.empty((3, height, width), np.uint8)
            for image, planes, *values in zip(pixels, inputs, *items):
                resize(*values, out=image)
                cv2.split(image, list(channels))
                np.copyto(planes, channels)  # dividing float32 in place is faster than dividing uint8
                np.divide(planes, self._divisor, out=planes)
                if self._shift is not None:
                    np.subtract(planes, self._shift, out=planes)

        inputs = self._values.array((len(pixels), 3, height, width))
        workers.each(prepare, pixels, inputs, *items)
        return inputs, pixels

    def normalize(self, pixels: np.ndarray, device: torch.device) -> torch.Tensor:
        """uint8 ``[N, H, W, 3]`` -> float32 ``[N, 3, H, W]`` on ``device``."""
        values = torch.from_numpy(pixels).to(device, non_blocking=True)
        planes = values.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)  # [N, 3, H, W]
        planes.div_(torch.from_numpy(self._divisor).to(device))
        if self._shift is not None:
            planes.sub_(torch.from_numpy(self._shift).to(device))
        if device.type == "cuda":  # onnxruntime uses another stream, and the pixel buffer is used again
            torch.cuda.current_stream(device).synchronize()
        return planes


def detector_inputs(size: tuple[int, int], device: torch.device | None = None) -> Preprocessor:
    """Values 0..1, as upstream."""
    return Preprocessor(size, device, MAX_VALUE)


def pose_inputs(size: tuple[int, int], device: torch.device | None = None) -> Preprocessor:
    """ImageNet's mean and standard deviation, RGB."""
    return Preprocessor(size, device, MAX_VALUE * STD, MEAN / STD)


def resize_frames(inputs: Preprocessor, images: np.ndarray) -> tuple[np.ndarray | torch.Tensor, np.ndarray]:
    """Frames, uint8 RGB ``[N, H, W, 3]``, stretched; returns as :meth:`Preprocessor.run`."""
    return inputs.run(lambda image, out: cv2.resize(image, inputs.size, dst=out), images)


def crop_people(inputs: Preprocessor, images: np.ndarray, regions: np.ndarray) -> np.ndarray | torch.Tensor:
    """Region ``[4]`` of each frame as network input."""
    return inputs.run(lambda image, region, out: crop_person(image, region, *inputs.size, out), images, regions)[0]


def crop_regions(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Padded boxes of the network's aspect ratio, as upstream's ``pose2d_utils.py: bbox_from_detector``.

    Returns:
        float64 ``[N, 4]``: left, top, width, height in frame pixels.
    """
    boxes = np.asarray(boxes, np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    extent = boxes[:, 2:4] - boxes[:, :2]
    aspect = height / width
    tall = np.maximum(extent[:, 0] * aspect, extent[:, 1])
    size = np.stack([tall / aspect, tall], axis=1) * PADDING
    return np.concatenate([centre - size / 2, size], axis=1)


def crop_person(
    frame: np.ndarray, region: np.ndarray, width: int, height: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Bilinear crop ``[height, width, 3]``, black outside the frame.

    Inverse of :func:`.heatmaps.decode_heatmaps`: crop pixel u is at ``x + u * region width / width`` (upstream: up to
    two pixels off).
    """
    x, y, region_width, region_height = region
    scale_x, scale_y = width / region_width, height / region_height
    matrix = np.array([[scale_x, 0, -x * scale_x], [0, scale_y, -y * scale_y]])
    return cv2.warpAffine(frame, matrix, (width, height), out, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
