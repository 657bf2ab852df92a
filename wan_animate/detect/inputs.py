"""From frames to what the two networks take, made where the network runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from .. import workers
from ..buffers import BufferPool

PADDING = 1.25  # how much wider than the box the crop is


FULL = np.float32(255)
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Inputs:
    """Makes one network's inputs: float32 ``[N, 3, height, width]`` of pictures of its size.

    Args:
        size: width and height of the network's input.
        device: where the network takes tensors, which is then given the levels, a quarter of the bytes, and makes the
            numbers itself; None for arrays in memory.
        divisor, shift: a level 0..255 becomes ``level / divisor - shift``; for all channels or for each.
    """

    def __init__(self, size: tuple[int, int], device: torch.device | None, divisor: Any, shift: Any = None):
        self.size, self.device = size, device
        self._divisor = np.broadcast_to(divisor, 3).astype(np.float32).reshape(3, 1, 1)
        self._shift = None if shift is None else np.broadcast_to(shift, 3).astype(np.float32).reshape(3, 1, 1)
        self._levels, self._planes = BufferPool(pinned=device is not None and device.type == "cuda"), BufferPool()

    def make(self, cut: Callable[..., Any], *given: np.ndarray) -> tuple[np.ndarray | torch.Tensor, np.ndarray]:
        """``cut(*given[i], out=picture)`` for every ``i``, a few at once in threads.

        Returns:
            what the network takes, in memory or on the card, and the pictures: uint8 ``[N, height, width, 3]``.
        """
        width, height = self.size
        levels = self._levels.array((len(given[0]), height, width, 3), np.uint8)
        if self.device is not None:

            def prepare(levels: np.ndarray, *given: np.ndarray) -> None:
                for picture, *one in zip(levels, *given):
                    cut(*one, out=picture)

            workers.each(prepare, levels, *given)
            try:
                return self._on_card(levels), levels
            except torch.cuda.OutOfMemoryError:  # the network may still find room, and says so if it does not
                return self._on_card(levels, torch.device("cpu")).numpy(), levels

        def prepare(levels: np.ndarray, inputs: np.ndarray, *given: np.ndarray) -> None:
            channels = np.empty((3, height, width), np.uint8)
            for picture, planes, *one in zip(levels, inputs, *given):
                cut(*one, out=picture)
                cv2.split(picture, list(channels))
                np.copyto(planes, channels)  # and divided in place: quicker than dividing bytes
                np.divide(planes, self._divisor, out=planes)
                if self._shift is not None:
                    np.subtract(planes, self._shift, out=planes)

        inputs = self._planes.array((len(levels), 3, height, width))
        workers.each(prepare, levels, inputs, *given)
        return inputs, levels

    def _on_card(self, levels: np.ndarray, device: torch.device | None = None) -> torch.Tensor:
        device = device or self.device
        given = torch.from_numpy(levels).to(device, non_blocking=True)
        planes = given.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        planes.div_(torch.from_numpy(self._divisor).to(device))
        if self._shift is not None:
            planes.sub_(torch.from_numpy(self._shift).to(device))
        if device.type == "cuda":  # the network has a stream of its own, and the levels' memory is used again
            torch.cuda.current_stream(device).synchronize()
        return planes


def detector_inputs(size: tuple[int, int], device: torch.device | None = None) -> Inputs:
    """0 to 1, as upstream feeds YOLO."""
    return Inputs(size, device, FULL)


def pose_inputs(size: tuple[int, int], device: torch.device | None = None) -> Inputs:
    """Normalised as ViTPose was trained (ImageNet's mean and deviation); RGB."""
    return Inputs(size, device, FULL * STD, MEAN / STD)


def whole_frames(inputs: Inputs, images: np.ndarray) -> tuple[np.ndarray | torch.Tensor, np.ndarray]:
    """Whole frames, uint8 RGB ``[N, H, W, 3]``, stretched to the detector's input, as upstream feeds it: what
    :meth:`Inputs.make` returns."""
    return inputs.make(lambda image, out: cv2.resize(image, inputs.size, dst=out), images)


def people(inputs: Inputs, images: np.ndarray, regions: np.ndarray) -> np.ndarray | torch.Tensor:
    """Crops of frames, uint8 RGB ``[N, H, W, 3]``, one each: ``regions`` ``[N, 4]`` from
    :func:`crop_regions`; what the pose network takes."""
    return inputs.make(lambda image, region, out: crop_person(image, region, *inputs.size, out), images, regions)[0]


def crop_regions(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """The part of the frame every crop shows: the box, brought to the network's aspect ratio and padded.

    Args:
        boxes: float ``[N, 4]`` (x1, y1, x2, y2).
        width, height: size of the network's input.

    Returns:
        float64 ``[N, 4]``: x and y of the upper left corner, width, height, in frame pixels.
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
    """The region resampled (bilinear) to ``width`` x ``height``, in ``out`` if that is given; black where it leaves
    the frame.

    The mapping is the inverse of the one :func:`decode_heatmaps` applies: crop pixel u shows frame position
    ``x + u * region width / width``. Upstream cuts at whole pixels and resizes with another centre convention, which
    shifts its crops by up to two pixels against its own decoding.
    """
    x, y, region_width, region_height = region
    scale_x, scale_y = width / region_width, height / region_height
    matrix = np.array([[scale_x, 0, -x * scale_x], [0, scale_y, -y * scale_y]])
    return cv2.warpAffine(frame, matrix, (width, height), out, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
