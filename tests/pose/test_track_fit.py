"""A saved track of the whole video with frames of a part of it: cut by start, rate and count, or refused in words."""

from fractions import Fraction

import numpy as np
import pytest

from wan_animate.chain.controls import controls
from wan_animate.errors import InputError
from wan_animate.face.boxes import face_boxes
from wan_animate.face.crop import FaceCropSource
from wan_animate.pose.track import PoseTrack, fit_track
from wan_animate.video.derived import ResizedSource, SampledSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip
from ..support.figures import dancer_track

WIDTH, HEIGHT, COUNT = 160, 96, 60


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("fit") / "clip.mp4", count=COUNT)


@pytest.fixture(scope="module")
def track():
    whole = dancer_track(COUNT, WIDTH, HEIGHT)
    return PoseTrack(whole.keypoints, WIDTH, HEIGHT, cuts=(20, 40))


@pytest.mark.parametrize(
    ("options", "start", "count"),
    [
        ({"limit": 17}, 0, 17),
        ({"start": 25}, 25, 35),
        ({"start": 13, "limit": 21}, 13, 21),
        ({"trim": (0.5, 1.0)}, 15, 30),
        ({"trim": (0.5, 1.0), "start": 3, "limit": 9}, 18, 9),
    ],
)
def test_cut_as_the_frames_are(video, track, options, start, count):
    frames = VideoSource(video, **options)
    cut = fit_track(track, frames)
    assert np.array_equal(cut.keypoints, track.keypoints[start : start + count])
    assert cut.cuts == tuple(at - start for at in (20, 40) if start < at < start + count)
    derived = ResizedSource(frames, 320, 200)
    assert np.array_equal(fit_track(track, derived).keypoints, track.keypoints[start : start + len(derived)])


def test_a_clip_in_memory_at_its_own_start(track):
    frames = SampledSource(TensorSource(np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)), start=11, limit=8)
    assert np.array_equal(fit_track(track, frames).keypoints, track.keypoints[11:19])


def test_a_track_of_a_part_knows_where_it_begins(video, track, tmp_path):
    """Detected from frame 20 on, saved, and used with frames 30 to 39."""
    begun = PoseTrack(track.keypoints[20:], WIDTH, HEIGHT, start_seconds=VideoSource(video, start=20).start_seconds)
    begun.save(tmp_path / "part.npz")
    part = PoseTrack.load(tmp_path / "part.npz")
    found = fit_track(part, VideoSource(video, start=30, limit=10))
    assert np.array_equal(found.keypoints, track.keypoints[30:40]) and found.start_seconds == pytest.approx(1.0)
    assert found.letterboxed(320, 200).replaced(found.keypoints).start_seconds == found.start_seconds
    with pytest.raises(InputError, match=r"40 frames, beginning 0.67 s into the video, and does not cover"):
        fit_track(part, VideoSource(video, start=10, limit=10))
    with pytest.raises(InputError, match="does not cover the 40 frames from 0.00 s on"):
        fit_track(part, VideoSource(video, limit=40))


def test_a_track_of_the_frames_length_is_theirs(video, track):
    """An older file does not say where it begins, and keypoints of other packs have any rate."""
    part = track.slice(20, 60)
    assert fit_track(part, VideoSource(video, start=20)) is part
    other = PoseTrack(part.keypoints, WIDTH, HEIGHT, Fraction(16))
    assert fit_track(other, VideoSource(video, start=20)) is other
    assert fit_track(track, TensorSource(np.zeros((COUNT, 8, 8, 3), np.uint8))) is track


def test_as_many_frames_at_another_rate_are_other_frames(video, track):
    """Detected at the clip's rate, used with as many frames at a lower one: the pose would run ahead."""
    first = fit_track(track, VideoSource(video, limit=20))
    assert first.start_seconds == 0
    with pytest.raises(InputError, match="30 frames a second and the video is read at 16; set the video's fps to 30"):
        fit_track(first, VideoSource(video, fps=16, limit=20))


def test_a_part_knows_where_it_was_cut(video, track):
    older = PoseTrack(track.keypoints, track.width, track.height, track.fps)
    part = fit_track(older, VideoSource(video, start=7))
    assert part.start_seconds == pytest.approx(7 / 30)
    again = fit_track(part, VideoSource(video, start=9))
    assert (again.keypoints == track.keypoints[9:]).all()


def test_what_cannot_be_cut_is_said_in_words(video, track):
    with pytest.raises(InputError, match="60 frames and there are 17 pictures, which do not say where"):
        fit_track(track, TensorSource(np.zeros((17, 8, 8, 3), np.uint8)))
    with pytest.raises(InputError, match="30 frames a second and the video is read at 16; set the video's fps to 30"):
        fit_track(track, VideoSource(video, fps=16, limit=12))
    with pytest.raises(InputError, match=r"50 frames and does not cover .* \(its frames 40 to 54\)"):
        fit_track(track.slice(0, 50), VideoSource(video, start=40, limit=15))


def test_rates_that_differ_by_less_than_half_a_frame_are_one(video, track):
    """29.97 against 30: the same frames in a short clip."""
    near = PoseTrack(track.keypoints, WIDTH, HEIGHT, Fraction(30000, 1001))
    assert len(fit_track(near, VideoSource(video, limit=30))) == 30


def test_faces_and_controls_of_a_part(video, track):
    frames = VideoSource(video, start=20, limit=9)
    made = controls(frames, track, "replace", strength=0)
    assert [len(part) for part in (made.pose, made.face, made.background, made.character_mask)] == [9] * 4
    boxes, found = face_boxes(track.slice(20, 29))
    alone = FaceCropSource(frames, boxes, found=found)
    assert np.array_equal(made.face.read(0, 9), alone.read(0, 9))
