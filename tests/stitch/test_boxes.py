"""The character's box from skeleton and mask, at any sizes."""

import numpy as np
import pytest

from demo.figure import figure_keypoints
from wan_animate.errors import InputError
from wan_animate.mask.from_pose import silhouette
from wan_animate.pose.track import PoseTrack
from wan_animate.stitch.boxes import character_boxes, mask_picture
from wan_animate.video.derived import ResizedSource
from wan_animate.video.frames import TensorSource

WIDTH, HEIGHT, COUNT = 480, 270, 8


@pytest.fixture(scope="module")
def frames():
    return TensorSource(np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8))


@pytest.fixture(scope="module")
def track():
    points = [figure_keypoints(at / 30, WIDTH, HEIGHT, (0.3, 0.5), 0.5) for at in range(COUNT)]
    return PoseTrack(np.stack(points), WIDTH, HEIGHT)


def masks(track: PoseTrack, width: int, height: int) -> np.ndarray:
    at_size = track.scaled(width, height)
    return np.stack([255 * silhouette(points, width, height) for points in at_size.keypoints])


def box_of(mask: np.ndarray, scale: float = 1.0) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0] * scale, rows[0] * scale, (columns[-1] + 1) * scale, (rows[-1] + 1) * scale]


def test_without_a_mask_it_is_the_silhouettes(track, frames):
    boxes = character_boxes(track, frames)
    for at, mask in enumerate(masks(track, WIDTH, HEIGHT)):
        assert boxes[at].tolist() == pytest.approx(box_of(mask), abs=5)


def test_a_pose_found_on_smaller_frames(track, frames):
    small = track.scaled(160, 90)
    assert np.abs(character_boxes(small, frames) - character_boxes(track, frames)).max() < 4


@pytest.mark.parametrize("width, height", [(WIDTH, HEIGHT), (240, 135), (960, 540)])
def test_with_a_mask_it_is_the_masks_at_any_size(track, frames, width, height):
    drawn = masks(track, width, height)
    drawn[:, : height * 2 // 5] = 0
    boxes = character_boxes(track, frames, TensorSource(drawn))
    for at, mask in enumerate(drawn):
        low, high = np.array(box_of(mask, WIDTH / width)[:2]), np.array(box_of(mask, WIDTH / width)[2:])
        assert abs(boxes[at, 3] - high[1]) < 4
        assert (boxes[at, :2] < low + 4).all() and (boxes[at, 2:] > high - 4).all()
        assert boxes[at, 1] < low[1], "a head that the mask lost is in the box by its joints"


def test_parts_of_the_mask_that_are_not_the_character_do_not_count(track, frames):
    drawn = masks(track, WIDTH, HEIGHT)
    clean = character_boxes(track, frames, TensorSource(drawn))
    drawn[:, 20:80, 400:460] = 255
    assert (character_boxes(track, frames, TensorSource(drawn)) == clean).all()


def test_a_mask_without_a_skeleton_counts_whole(track, frames):
    lost = track.replaced(np.zeros_like(track.keypoints))
    drawn = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    drawn[:4, 50:200, 100:160] = 255
    boxes = character_boxes(lost, frames, TensorSource(drawn))
    assert np.abs(boxes[:4] - [100, 50, 160, 200]).max() < 4 and np.isnan(boxes[4:]).all()
    assert np.isnan(character_boxes(lost, frames)).all()


def test_a_lone_leap_of_the_skeleton_is_left_out(track, frames):
    points = track.keypoints.copy()
    points[4, :, 0] += 200
    boxes = character_boxes(track.replaced(points), frames)
    assert np.abs(boxes[4] - boxes[3]).max() < 12


def test_masks_of_cropped_frames_land_where_the_picture_does(track):
    """A working size whose sides are divisible by 16 cuts rows off; track and mask know by how much."""
    source = TensorSource(np.zeros((COUNT, 1080, 1920, 3), np.uint8)[:1])
    working = ResizedSource(source, 832, 464)
    on_working = PoseTrack(track.keypoints[:1], 832, 464, picture=working.picture)
    mask = TensorSource(np.zeros((1, 464, 832), np.uint8))
    left, top, width, height = mask_picture(mask, on_working, source)
    assert (left, top, width, height) == working.picture == (0, -2, 832, 468)
    without = PoseTrack(track.keypoints[:1], 400, 200)
    assert mask_picture(mask, without, source) == (0, -2, 832, 468)


def test_another_length_is_said(track, frames):
    with pytest.raises(InputError, match="there are 8 frames and 5 masks"):
        character_boxes(track, frames, TensorSource(np.zeros((5, HEIGHT, WIDTH), np.uint8)))
