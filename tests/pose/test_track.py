"""Pose tracks: kept whole on disk, moved with the frames, refused when they are something else."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose.clean import clean_track
from wan_animate.pose.track import PoseTrack
from wan_animate.video.resample import letterbox

from ..support.figures import dancer_track


def test_saved_and_loaded_alike(tmp_path):
    track = dancer_track(5, 320, 240)
    boxes = np.tile(np.float32([10, 20, 200, 230, 0.9]), (5, 1))
    kept = PoseTrack(track.keypoints, 320, 240, Fraction(30000, 1001), boxes)
    kept.save(tmp_path / "new" / "track.npz")
    again = PoseTrack.load(tmp_path / "new" / "track.npz")
    assert np.array_equal(again.keypoints, kept.keypoints) and np.array_equal(again.boxes, boxes)
    assert (again.width, again.height, again.fps, len(again)) == (320, 240, Fraction(30000, 1001), 5)
    assert again.fingerprint() == kept.fingerprint() != track.fingerprint()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["track.npz"]


def test_of_a_window_that_moves(tmp_path):
    """Where the whole picture lies in each frame is cut, moved and saved with the track."""
    pictures = np.array([[-10.0 - at, -20, 640, 480] for at in range(5)])
    track = replace(dancer_track(5, 320, 240), pictures=pictures)
    assert np.array_equal(track.slice(1, 4).pictures, pictures[1:4])
    assert np.array_equal(track.scaled(160, 60).pictures, pictures * [0.5, 0.25, 0.5, 0.25])
    assert np.array_equal(track.placed(640, 560, "pad").pictures, pictures * 2 + [0, 40, 0, 0])
    assert np.array_equal(track.replaced(track.keypoints + 1).pictures, pictures)
    assert np.array_equal(clean_track(track).pictures, pictures)
    track.save(tmp_path / "track.npz")
    assert np.array_equal(PoseTrack.load(tmp_path / "track.npz").pictures, pictures)
    assert track.fingerprint() == dancer_track(5, 320, 240).fingerprint()
    with pytest.raises(InputError, match=r"pictures must be \[5, 4\] numbers, but their shape is \[4, 4\]"):
        replace(track, pictures=pictures[1:])


def test_a_broken_off_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "track.npz"
    dancer_track(3, 320, 240).save(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(InputError, match="No space left"):
        dancer_track(9, 320, 240).save(path)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["track.npz"]


def test_the_published_example_loads(examples):
    track = PoseTrack.load(examples / "video_pose.npz")
    assert (len(track), track.width, track.height, track.fps) == (106, 1920, 1080, 30)
    assert track.body_found.all() and track.face_found.all()
    assert track.hands_found.sum(axis=0).tolist() == [93, 100]  # as its README says


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"not a zip", "damaged or another kind of file"),
        ({"keypoints": np.zeros((2, 133, 3))}, "no fps, width, height"),
        ({"keypoints": np.zeros((2, 17, 3)), "fps": 30, "width": 8, "height": 8}, r"\[2, 17, 3\]"),
        ({"keypoints": np.zeros((0, 133, 3)), "fps": 30, "width": 8, "height": 8}, "0 frames"),
        ({"keypoints": np.array([{}]), "fps": 30, "width": 8, "height": 8}, "holds keypoints of object"),
    ],
)
def test_other_files_are_refused(tmp_path, content, says):
    path = tmp_path / "track.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(InputError, match=says):
        PoseTrack.load(path)


def test_points_that_are_not_numbers_count_as_missing():
    keypoints = dancer_track(2, 320, 240).keypoints.copy()
    keypoints[1, 9] = np.nan
    track = PoseTrack(keypoints, 320, 240)
    assert track.keypoints[1, 9].tolist() == [0, 0, 0]
    assert np.isfinite(track.keypoints).all() and track.keypoints[0, 9, 2] == 1


@pytest.mark.parametrize("size", [(640, 640), (500, 900), (300, 100), (320, 240)])
def test_letterboxed_points_follow_the_picture(size):
    """A spot painted at a keypoint lies at the letterboxed keypoint of the letterboxed picture."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[150:159, 60:69] = 255
    keypoints = np.zeros((1, 133, 3), np.float32)
    keypoints[0, 0] = (64.5, 154.5, 1)  # the middle of the spot in continuous coordinates (a pixel's middle is at .5)
    moved = PoseTrack(keypoints, 320, 240).letterboxed(*size)
    light = letterbox(image, *size)[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: size[1], : size[0]] + 0.5
    at = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    assert np.abs(moved.keypoints[0, 0, :2] - at).max() < 0.1
    assert (moved.width, moved.height) == size


def test_slices_and_scales():
    track = dancer_track(6, 320, 240)
    part = track.slice(2, 5).scaled(640, 120)
    expected = track.keypoints[2:5] * (2, 0.5, 1)
    assert np.allclose(part.keypoints, expected) and (part.width, part.height, len(part)) == (640, 120, 3)


def test_cuts_go_with_the_track(tmp_path):
    keypoints = np.random.default_rng(0).random((10, 133, 3))
    track = PoseTrack(keypoints, 64, 48, cuts=(7, 3))
    assert track.cuts == (3, 7) and track.shots == [(0, 3), (3, 7), (7, 10)]
    assert track.slice(3, 9).cuts == (4,) and track.slice(2, 8).shots == [(0, 1), (1, 5), (5, 6)]
    assert track.scaled(32, 24).letterboxed(80, 80).cuts == (3, 7)
    track.save(tmp_path / "track.npz")
    loaded = PoseTrack.load(tmp_path / "track.npz")
    assert loaded.cuts == (3, 7) and loaded.fingerprint() == track.fingerprint()
    assert PoseTrack(keypoints, 64, 48).fingerprint() != track.fingerprint()
    assert PoseTrack(keypoints, 64, 48).shots == [(0, 10)]
    for wrong in ((0,), (10,), (-1, 3)):
        with pytest.raises(InputError, match="must lie between 1 and 9"):
            PoseTrack(keypoints, 64, 48, cuts=wrong)
