"""A pose track where the drawn pose is wanted: cut, and drawn at a size that the model takes."""

import numpy as np
import pytest

from wan_animate.chain.control_sources import Controls
from wan_animate.chain.controls import LARGEST, drawn_pose, drawn_pose_note
from wan_animate.errors import InputError
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource
from wan_animate.video.resample import cut_share
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip


def track_of(width: int, height: int, count: int = 4, **given) -> PoseTrack:
    points = np.random.default_rng(3).uniform(0.2, 0.8, (count, 133, 3)).astype(np.float32) * (width, height, 1)
    points[..., 2] = 1
    return PoseTrack(points, width, height, **given)


@pytest.mark.parametrize("size", [(1920, 1080), (854, 480), (1080, 1920), (3840, 2100), (640, 360), (30, 50)])
def test_a_saved_track_of_any_size_is_taken_as_it_is(size):
    track = track_of(*size)
    with pytest.raises(InputError, match="divisible by 16: draw it at .*or connect a pose track"):
        Controls(DrawnPoseSource(track)).check()
    drawn = drawn_pose(track)
    Controls(drawn).check()
    assert drawn.width * drawn.height <= min(size[0] * size[1], LARGEST) and drawn.read(0, 1).any()
    if min(size) > 100:
        assert cut_share(*size, drawn.width, drawn.height) <= 0.02
    said = drawn_pose_note(track, drawn)
    assert f"{size[0]}x{size[1]}: it is drawn at {drawn.width}x{drawn.height}" in said and "driving_video" in said


def found_in(width: int, height: int, count: int = 4) -> PoseTrack:
    """As detected: with boxes."""
    return track_of(width, height, count, boxes=np.tile(np.float32([0, 0, width, height, 1]), (count, 1)))


@pytest.mark.parametrize("size", [(3840, 2160), (2560, 1440), (7680, 4320), (1440, 2560)])
def test_a_large_detected_track_is_not_taken_at_full_size(size):
    """Sides divisible by 16, so that the model would take it."""
    track = found_in(*size)
    drawn = drawn_pose(track)
    Controls(drawn).check()
    assert (drawn.width, drawn.height) == ((1280, 720) if size[0] > size[1] else (720, 1280)) and drawn.read(0, 1).any()
    assert f"{size[0]}x{size[1]}: it is drawn at {drawn.width}x{drawn.height}" in drawn_pose_note(track, drawn)
    video = TensorSource(np.zeros((4, 464, 832, 3), np.uint8))
    drawn = drawn_pose(track, "animate", [None, None, video])
    assert (drawn.width, drawn.height) == (832, 464) and not drawn_pose_note(track, drawn, [video])
    assert np.array_equal(drawn.read(0, 2), DrawnPoseSource(track.onto(video)).read(0, 2))
    still = TensorSource(np.zeros((1, 464, 832, 3), np.uint8))  # tells nothing of four frames
    drawn = drawn_pose(track, "animate", [still])
    assert "it is drawn at" in drawn_pose_note(track, drawn, [still])


def test_a_detected_track_of_a_clips_size_keeps_it_beside_pictures_of_none():
    track, video = found_in(1280, 720), TensorSource(np.zeros((4, 1080, 1920, 3), np.uint8))
    for frames in ([], [video]):
        drawn = drawn_pose(track, "animate", frames)
        assert (drawn.width, drawn.height) == (1280, 720) and not drawn_pose_note(track, drawn, frames)


@pytest.mark.parametrize(("size", "named"), [((3840, 2160), True), ((1920, 1088), True), ((1280, 720), False)])
def test_a_retargeted_track_keeps_its_size_and_a_large_one_is_named(size, named):
    track, video = track_of(*size), TensorSource(np.zeros((4, 464, 832, 3), np.uint8))
    for frames in ([], [None, video]):
        drawn = drawn_pose(track, "animate", frames)
        assert (drawn.width, drawn.height) == size
        assert (f"track's {size[0]}x{size[1]}, more than" in drawn_pose_note(track, drawn, frames)) is named
    scene = TensorSource(np.zeros((4, size[1], size[0], 3), np.uint8))
    assert not drawn_pose_note(track, drawn_pose(track, "replace", [scene]), [scene], "replace")


def test_a_track_that_fits_is_drawn_as_it_is():
    track = track_of(1280, 720)
    video = TensorSource(np.zeros((4, 464, 832, 3), np.uint8))
    for frames in ([], [None, None, video]):  # a retargeted track is of the picture's size, not of the video's
        drawn = drawn_pose(track, "animate", frames)
        assert drawn.fingerprint() == DrawnPoseSource(track).fingerprint() and not drawn_pose_note(track, drawn)


def test_a_longer_track_at_the_videos_own_size_is_cut_and_drawn_on_it(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 20, width=320, height=180)
    track = track_of(320, 180, 20)
    frames = VideoSource(path, max_area=256 * 144, start=5, limit=9)
    drawn = drawn_pose(track, "animate", [None, frames])
    assert (len(drawn), drawn.width, drawn.height) == (9, frames.width, frames.height)
    assert np.array_equal(drawn.read(0, 9), DrawnPoseSource(track.slice(5, 14).onto(frames)).read(0, 9))
    assert not drawn_pose_note(track, drawn, [frames])
    with pytest.raises(InputError, match="does not cover the 9 frames"):
        drawn_pose(track.slice(0, 12), "animate", [frames])


def test_in_replace_the_scene_tells_the_size(tmp_path):
    """Also where the track's own sides are divisible by 16, and where a single picture stands for every frame."""
    track = track_of(1280, 720)
    scene, mask = TensorSource(np.zeros((4, 464, 832, 3), np.uint8)), TensorSource(np.ones((4, 464, 832), np.float32))
    still = TensorSource(np.zeros((1, 464, 832, 3), np.uint8))
    for background, masks in ((scene, mask), (still, mask), (still, TensorSource(np.ones((1, 464, 832), np.float32)))):
        drawn = drawn_pose(track, "replace", [background, masks, None])
        Controls(drawn, None, background, masks).check()
        assert np.array_equal(drawn.read(0, 2), DrawnPoseSource(track.placed(832, 464)).read(0, 2))
        assert not drawn_pose_note(track, drawn, [background, masks])
