"""The skeleton equals upstream's, pixel by pixel."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose.draw import DrawnPoseSource, draw_pose
from wan_animate.video.resample import letterbox

from ..support.figures import dancer_track

UPSTREAM = Path(__file__).parents[1] / "data" / "upstream_preprocess.npz"  # made by support/record_upstream.py


@pytest.mark.parametrize("number", range(10))
def test_same_pixels_as_upstream(number):
    record = np.load(UPSTREAM)
    expected = cv2.imdecode(record[f"draw_{number}"], cv2.IMREAD_COLOR)
    drawn = draw_pose(np.zeros_like(expected), record[f"draw_{number}_points"])
    touched = (expected > 0).any(axis=2) | (drawn > 0).any(axis=2)
    same = (drawn == expected).all(axis=2)
    assert touched.sum() > 20
    # Rasterisers differ a little from one OpenCV release to the next; of the pixels either of the two painted:
    assert same[touched].mean() >= 0.995


def test_threshold_hands_and_head():
    track = dancer_track(1, 320, 240)
    blank = np.zeros((240, 320, 3), np.uint8)
    points = track.keypoints[0]
    full = draw_pose(blank.copy(), points)
    bare = draw_pose(blank.copy(), points, hands=False, head=False)
    around_head = np.s_[: int(points[[5, 6], 1].min()) - 8, 130:190]
    assert full[around_head].any() and not bare[around_head].any()
    tip = points[103, :2].astype(int)
    assert full[tip[1], tip[0]].any() and not bare[tip[1], tip[0]].any()
    faint = points.copy()
    faint[:, 2] = 0.49
    assert not draw_pose(blank.copy(), faint).any()
    assert draw_pose(blank.copy(), faint, threshold=0.4).any()


def test_source_letterboxes_the_drawing_of_the_drivers_size():
    track = dancer_track(7, 320, 240)
    source = DrawnPoseSource.at_size(track, 160, 208)
    frames = source.read(2, 6)
    assert frames.shape == (4, 208, 160, 3) and frames.dtype == np.uint8 and len(source) == 7
    expected = letterbox(DrawnPoseSource(track).read(3, 4)[0], 160, 208, cv2.INTER_LINEAR)
    assert np.array_equal(frames[1], expected)
    assert not frames[:, :40].any() and frames.any()
    assert source.fingerprint() != DrawnPoseSource(track).fingerprint()
    large = DrawnPoseSource.at_size(track.scaled(1280, 960), 160, 208).read(2, 6)
    small = DrawnPoseSource(track.letterboxed(160, 208)).read(2, 6)
    assert np.array_equal(large, small), "lines as wide as the result's, not shrunk away"
    with pytest.raises(InputError, match="width 160 and height 0"):
        DrawnPoseSource.at_size(track, 160, 0)
