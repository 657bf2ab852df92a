"""The demo's small SAM 2 finds the drawn dancer, and nothing else."""

import cv2
import numpy as np
import pytest
import torch

from demo.example import Dancer
from demo.small_sam2 import FILE, dancer_mask
from wan_animate.mask.character import segment_character
from wan_animate.mask.segmentation import Segmenter
from wan_animate.mask.shape import shape_mask
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource

BARS = {"without bars": (0, 0, 0, 0), "beside": (0, 0, 4, 4), "wide ones beside": (0, 0, 14, 15), "above": (8, 8, 0, 0)}


@pytest.mark.parametrize("bars", BARS.values(), ids=BARS)
def test_the_dancer_alone_is_found(bars):
    """Black bars are nobody, or Shape Mask's box would fill the frame."""
    top, bottom, left, right = bars
    clip = Dancer(size=(320 - left - right, 176 - top - bottom))
    at = range(0, 60, 20)
    drawn = [clip.read(frame, frame + 1)[0] for frame in at]
    pictures, truth = (
        np.stack([cv2.copyMakeBorder(np.asarray(one), *bars, cv2.BORDER_CONSTANT, value=0) for one in shown])
        for shown in (drawn, [dancer_mask(one).astype(np.uint8) for one in drawn])
    )
    keypoints = np.stack([clip.keypoints(frame) for frame in at])
    keypoints[..., :2] += left, top
    found = segment_character(
        Segmenter(FILE, "cpu"), TensorSource(torch.from_numpy(pictures).float() / 255), PoseTrack(keypoints, 320, 176)
    )
    assert found.lost == ()
    masks = found.masks.read(0, len(at)) > 0
    overlap = (masks & (truth > 0)).sum((1, 2)) / (masks | (truth > 0)).sum((1, 2))
    assert overlap.min() > 0.85, overlap
    filled = [shape_mask(mask.astype(np.uint8)).mean() for mask in masks]
    assert max(filled) < 0.6, "the box around it leaves the room to be seen"
