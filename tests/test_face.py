"""Face boxes as upstream's, and a crop for every frame whatever is in it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.face import FaceCropSource, face_boxes
from wan_animate.frames import TensorSource
from wan_animate.pose.track import PoseTrack

from .support.figures import DancerSource, dancer_track

UPSTREAM = Path(__file__).parent / "data" / "upstream_preprocess.npz"
SIZES = ((1280, 720), (832, 480), (480, 832), (64, 48), (640, 640))


def test_boxes_equal_upstreams():
    record = np.load(UPSTREAM)
    for number in range(10):
        track = PoseTrack(record[f"draw_{number}_points"][None], *SIZES[number % 5])
        boxes, found = face_boxes(track)
        assert found[0] and boxes[0].tolist() == record[f"face_{number}"].tolist()


def lost_track() -> PoseTrack:
    keypoints = dancer_track(8, 320, 240).keypoints.copy()
    keypoints[:2, 23:91, 2] = 0.1  # not sure
    keypoints[4, 23:91] = 0  # nothing
    keypoints[5, 23:91, :2] = (20, 20)  # all in one point
    keypoints[7, 23:91, 0] += 1000  # out of the frame
    return PoseTrack(keypoints, 320, 240)


def test_lost_faces_take_the_nearest_box():
    boxes, found = face_boxes(lost_track())
    assert found.tolist() == [False, False, True, True, False, False, True, False]
    assert boxes[[0, 1, 4, 5, 7]].tolist() == boxes[[2, 2, 3, 6, 6]].tolist()
    whole, all_found = face_boxes(dancer_track(8, 320, 240))
    assert all_found.all() and np.array_equal(whole[found], boxes[found])


def test_crops_are_resized_cuts_and_lost_ones_hold_or_go_blank():
    track = lost_track()
    source = DancerSource(track.keypoints[[2] * 8], 320, 240)
    boxes, found = face_boxes(track)
    hold = FaceCropSource(source, boxes, found, size=64).read(0, 8)
    blank = FaceCropSource(source, boxes, found, size=64, missing="blank").read(0, 8)
    x1, y1, x2, y2 = boxes[3]
    assert np.array_equal(hold[3], cv2.resize(source.read(3, 4)[0][y1:y2, x1:x2], (64, 64)))
    assert hold.reshape(8, -1).any(axis=1).all()
    assert np.array_equal(blank.reshape(8, -1).any(axis=1), found)
    assert np.array_equal(blank[found], hold[found])


def test_no_face_in_the_whole_clip_is_black_not_an_error():
    keypoints = dancer_track(3, 320, 240).keypoints.copy()
    keypoints[:, 23:91] = 0
    boxes, found = face_boxes(PoseTrack(keypoints, 320, 240))
    assert not found.any() and not boxes.any()
    source = TensorSource(np.full((3, 240, 320, 3), 0.5, np.float32))
    crops = FaceCropSource(source, boxes, found, size=32).read(0, 3)
    assert crops.shape == (3, 32, 32, 3) and crops.dtype == np.float32 and not crops.any()


def test_long_reads_take_the_driver_in_small_pieces():
    source = DancerSource(dancer_track(30, 160, 120).keypoints, 160, 120)
    crops = FaceCropSource(source, face_boxes(dancer_track(30, 160, 120))[0], size=16)
    assert crops.read(3, 28).shape == (25, 16, 16, 3)
    assert source.longest_read <= 8


def test_boxes_of_another_clip_are_refused():
    boxes, _ = face_boxes(dancer_track(3, 320, 240))
    with pytest.raises(InputError, match=r"4 frames and boxes of shape \[3, 4\]"):
        FaceCropSource(TensorSource(np.zeros((4, 240, 320, 3), np.uint8)), boxes)
    with pytest.raises(InputError, match="leaves the 100x100 frames"):
        FaceCropSource(TensorSource(np.zeros((3, 100, 100, 3), np.uint8)), boxes)
    with pytest.raises(InputError, match="missing is 'skip'"):
        FaceCropSource(TensorSource(np.zeros((3, 240, 320, 3), np.uint8)), boxes, missing="skip")
    with pytest.raises(InputError, match="scale is 0.5"):
        face_boxes(dancer_track(1, 320, 240), scale=0.5)
