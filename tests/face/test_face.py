"""Face boxes as upstream's when asked for, steady otherwise, and a crop for every frame whatever is in it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.face.boxes import face_boxes
from wan_animate.face.crop import FaceCropSource, _resized_part, crop
from wan_animate.pose import wholebody
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource

from ..support.figures import DancerSource, dancer_track

UPSTREAM = Path(__file__).parents[1] / "data" / "upstream_preprocess.npz"
SIZES = ((1280, 720), (832, 480), (480, 832), (64, 48), (640, 640))


def test_unsteadied_boxes_equal_upstreams():
    record = np.load(UPSTREAM)
    for number in range(10):
        track = PoseTrack(record[f"draw_{number}_points"][None], *SIZES[number % 5])
        boxes, found = face_boxes(track, steady=0)
        assert boxes.dtype == np.int64
        assert found[0] and boxes[0].tolist() == record[f"face_{number}"].tolist()


def lost_track() -> PoseTrack:
    keypoints = dancer_track(8, 320, 240).keypoints.copy()
    keypoints[:2, 23:91, 2] = 0.1  # not sure
    keypoints[4, 23:91] = 0  # nothing
    keypoints[5, 23:91, :2] = (20, 20)  # all in one point
    keypoints[7, 23:91, 0] += 1000  # out of the frame
    return PoseTrack(keypoints, 320, 240)


def test_lost_faces_take_the_nearest_box():
    boxes, found = face_boxes(lost_track(), steady=0)
    assert found.tolist() == [False, False, True, True, False, False, True, False]
    assert boxes[[0, 1, 4, 5, 7]].tolist() == boxes[[2, 2, 3, 6, 6]].tolist()
    whole, all_found = face_boxes(dancer_track(8, 320, 240), steady=0)
    assert all_found.all() and np.array_equal(whole[found], boxes[found])


@pytest.mark.parametrize("steady", [0, 1])
def test_lost_faces_hold_or_go_blank(steady):
    track = lost_track()
    source = DancerSource(track.keypoints[[2] * 8], 320, 240)
    boxes, found = face_boxes(track, steady=steady)
    hold = FaceCropSource(source, boxes, found, size=64, missing="hold").read(0, 8)
    blank = FaceCropSource(source, boxes, found, size=64, missing="blank").read(0, 8)
    if steady == 0:
        x1, y1, x2, y2 = boxes[3]
        assert np.array_equal(hold[3], cv2.resize(source.read(3, 4)[0][y1:y2, x1:x2], (64, 64)))
    assert hold.reshape(8, -1).any(axis=1).all()
    assert np.array_equal(blank.reshape(8, -1).any(axis=1), found)
    assert np.array_equal(blank[found], hold[found])


def middles(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def motion(boxes: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(middles(boxes), axis=0), axis=1).mean())


def assert_whole(track: PoseTrack, boxes: np.ndarray, margin: float) -> None:
    """Every face point of every frame inside its box, with a margin of a share of the box."""
    points, size = track.keypoints[:, wholebody.FACE, :2], boxes[:, 2:] - boxes[:, :2]
    free = np.minimum(points.min(axis=1) - boxes[:, :2], boxes[:, 2:] - points.max(axis=1)) / size
    assert free.min() >= margin, (free.min(), np.unravel_index(free.argmin(), free.shape))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_the_box_of_a_still_head_rests(noise):
    still = np.repeat(dancer_track(1, 854, 480).keypoints, 90, axis=0)
    still[:, :, :2] += np.random.default_rng(3).normal(size=still[:, :, :2].shape) * noise
    track = PoseTrack(still, 854, 480)
    boxes, _ = face_boxes(track)
    assert motion(boxes) <= 0.2 * motion(face_boxes(track, steady=0)[0])
    assert np.ptp(boxes[:, 2] - boxes[:, 0]) < 1e-6


def test_a_moving_head_is_followed_whole_and_at_one_size():
    track = dancer_track(120, 854, 480)
    boxes, _ = face_boxes(track)
    size = boxes[:, 2:] - boxes[:, :2]
    assert np.ptp(size, axis=0).max() < 1e-6
    assert_whole(track, boxes, 0.01)
    unsteady = face_boxes(track, steady=0)[0]
    off = middles(boxes) - middles(unsteady.astype(float))
    assert np.abs(off).max() < 0.06 * size.max()
    # As large as upstream's on average.
    assert np.abs(size[0] / (unsteady[:, 2:] - unsteady[:, :2]).mean(axis=0) - 1).max() < 0.08


def test_the_box_does_not_lag():
    frames = np.arange(120)
    keypoints = np.repeat(dancer_track(1, 854, 480).keypoints, 120, axis=0)
    # There and back at 3 pixels a frame.
    keypoints[..., 0] += np.interp(frames, [0, 30, 60, 90, 119], [0, 0, 90, 0, 0])[:, None]
    there = middles(face_boxes(PoseTrack(keypoints, 854, 480))[0])[:, 0]
    back = middles(face_boxes(PoseTrack(keypoints[::-1], 854, 480))[0])[::-1, 0]
    assert np.abs(there - back).max() < 1e-6


def test_example_clip_is_cut_nowhere(examples):
    track = PoseTrack.load(examples / "video_pose.npz")
    boxes, found = face_boxes(track)
    assert found.all()
    assert_whole(track, boxes, 0.005)
    still = np.repeat(track.keypoints[40:41], 90, axis=0)
    for noise in (1, 3, 6):
        shaken = still.copy()
        shaken[:, :, :2] += np.random.default_rng(0).normal(size=still[:, :, :2].shape) * noise
        shaken = PoseTrack(shaken, track.width, track.height)
        assert motion(face_boxes(shaken)[0]) <= 0.2 * motion(face_boxes(shaken, steady=0)[0])


def test_a_head_that_comes_nearer_is_zoomed_slowly():
    keypoints = np.repeat(dancer_track(1, 854, 480).keypoints, 120, axis=0)
    middle = keypoints[:1, wholebody.FACE, :2].mean(axis=1, keepdims=True)
    factor = np.interp(np.arange(120), [30, 90], [1, 2])[:, None, None]
    keypoints[..., :2] = (keypoints[..., :2] - middle) * factor + middle
    track = PoseTrack(keypoints, 854, 480)
    boxes, _ = face_boxes(track)
    size = boxes[:, 3] - boxes[:, 1]
    assert_whole(track, boxes, 0.005)
    assert 1.6 < size[-1] / size[0] < 2.2
    assert np.abs(np.diff(size, 2)).max() < 0.3


def test_blend_moves_between_and_hold_stays():
    keypoints = np.repeat(dancer_track(1, 854, 480).keypoints, 60, axis=0)
    keypoints[..., 0] += np.interp(np.arange(60), [20, 40], [0, 80])[:, None]
    whole = middles(face_boxes(PoseTrack(keypoints, 854, 480))[0])
    keypoints[20:40, wholebody.FACE, 2] = 0
    lost = PoseTrack(keypoints, 854, 480)
    blend, found = face_boxes(lost)
    hold, _ = face_boxes(lost, missing="hold")
    assert found.sum() == 40
    assert np.abs(middles(blend) - whole).max() < 6
    assert np.abs(np.diff(middles(hold)[:, 0])).max() > 10  # changes over in the middle of the gap
    # Without shoulders: a straight way from one to the other.
    keypoints[15:45, 5:7, 2] = 0
    straight = middles(face_boxes(PoseTrack(keypoints, 854, 480))[0])
    assert np.abs(straight - whole).max() < 8


def test_nothing_is_carried_over_a_cut():
    first, second = dancer_track(30, 854, 480), dancer_track(30, 854, 480, size=0.4, center=(0.2, 0.5))
    keypoints = np.concatenate([first.keypoints, second.keypoints])
    boxes, _ = face_boxes(PoseTrack(keypoints, 854, 480, cuts=(30,)))
    apart = [face_boxes(PoseTrack(part, 854, 480))[0] for part in (keypoints[:30], keypoints[30:])]
    assert np.array_equal(boxes, np.concatenate(apart))


def test_half_steady_lies_between():
    track = dancer_track(40, 854, 480)
    none, half, full = (face_boxes(track, steady=value)[0] for value in (0, 0.5, 1))
    assert np.allclose(half, (none + full) / 2)


def test_boxes_that_leave_the_frame_show_its_edge_on():
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :8], frame[:, 8:] = (200, 30, 10), (0, 90, 250)
    crop_ = crop(frame, np.array([-20.5, 4.25, 19.5, 40.25]), 80)
    assert (crop_[:, :50] == (200, 30, 10)).all() and (crop_[:, 62:] == (0, 90, 250)).all()
    # A box at whole pixels is sampled alike on both ways.
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    noise = cv2.GaussianBlur(noise, (0, 0), 2)
    near = crop(noise, np.array([10, 8, 42, 40.0001]), 96).astype(int)
    assert np.abs(near - crop(noise, np.array([10, 8, 42, 40]), 96))[4:-4, 4:-4].max() <= 2


def test_boxes_between_pixels_are_sampled_there():
    """Against the bilinear formula: by a resize where that comes near enough, by a warp otherwise and at the edges."""
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (200, 240, 3), np.uint8), (0, 0), 1.5)
    wide = np.pad(frame, ((1, 1), (1, 1), (0, 0)), "edge").astype(np.float64)
    ways = set()
    for _ in range(60):
        (x1, y1), size = rng.uniform(0, 100, 2), int(rng.choice([64, 200, 256]))
        box = np.array([x1, y1, *(np.array([x1, y1]) + rng.uniform(30, 100, 2))])
        places = []
        for low, high, limit in ((box[1], box[3], 200), (box[0], box[2], 240)):
            at = (low + (np.arange(size) + 0.5) * (high - low) / size - 0.5).clip(-1, limit) + 1
            whole = np.floor(at).astype(int).clip(0, limit)
            places.append((whole, at - whole))
            ways.add(_resized_part(low, high, size, limit) is None)
        (rows, down), (columns, across) = places
        above, below = wide[rows], wide[rows + 1]
        lines = above + (below - above) * down[:, None, None]
        exact = lines[:, columns] + (lines[:, columns + 1] - lines[:, columns]) * across[None, :, None]
        out = np.empty((size, size, 3), np.uint8)
        assert crop(frame, box, size, out) is out
        assert np.abs(out - exact).max() < 3 and np.abs(out - exact).mean() < 0.6
        assert np.array_equal(crop(frame, box, size), out)
    assert ways == {True, False}


def test_no_face_in_the_whole_clip_is_black_not_an_error():
    keypoints = dancer_track(3, 320, 240).keypoints.copy()
    keypoints[:, 23:91] = 0
    boxes, found = face_boxes(PoseTrack(keypoints, 320, 240))
    assert not found.any() and not boxes.any()
    source = TensorSource(np.full((3, 240, 320, 3), 0.5, np.float32))
    crops = FaceCropSource(source, boxes, found, size=32).read(0, 3)
    assert crops.shape == (3, 32, 32, 3) and crops.dtype == np.float32 and not crops.any()


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7])
def test_clips_of_few_frames(frames):
    track = dancer_track(frames, 320, 240)
    boxes, found = face_boxes(track)
    assert found.all() and boxes.shape == (frames, 4)
    assert_whole(track, boxes, 0.005)


def test_long_reads_take_the_driver_in_small_pieces():
    source = DancerSource(dancer_track(30, 160, 120).keypoints, 160, 120)
    crops = FaceCropSource(source, face_boxes(dancer_track(30, 160, 120))[0], size=16)
    assert crops.read(3, 28).shape == (25, 16, 16, 3)
    assert source.longest_read <= 8


def test_wrong_values_are_refused():
    boxes, _ = face_boxes(dancer_track(3, 320, 240))
    with pytest.raises(InputError, match=r"4 frames and boxes of shape \[3, 4\]"):
        FaceCropSource(TensorSource(np.zeros((4, 240, 320, 3), np.uint8)), boxes)
    with pytest.raises(InputError, match="no face box lies in the 30x30 frames"):
        FaceCropSource(TensorSource(np.zeros((3, 30, 30, 3), np.uint8)), boxes)
    with pytest.raises(InputError, match="missing is 'skip'"):
        FaceCropSource(TensorSource(np.zeros((3, 240, 320, 3), np.uint8)), boxes, missing="skip")
    with pytest.raises(InputError, match="scale is 0.5"):
        face_boxes(dancer_track(1, 320, 240), scale=0.5)
    with pytest.raises(InputError, match="steady is 2"):
        face_boxes(dancer_track(1, 320, 240), steady=2)
    with pytest.raises(InputError, match="missing is 'skip'"):
        face_boxes(dancer_track(1, 320, 240), missing="skip")
