"""The detector that needs no model files."""

import sys
import types
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from wan_animate.detect.mediapipe import BODY, FACE, MediaPipeDetector, keypoints_of
from wan_animate.errors import Cancelled, InputError
from wan_animate.people.choosing import PersonChoice
from wan_animate.pose import wholebody
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource


def landmarks(count: int, first: float = 0.0):
    points = [SimpleNamespace(x=first + at / 1000, y=at / 500, visibility=1 - at / 100) for at in range(count)]
    return SimpleNamespace(landmark=points)


def test_where_the_points_go():
    result = SimpleNamespace(
        pose_landmarks=landmarks(33),
        face_landmarks=landmarks(478, 1),
        left_hand_landmarks=landmarks(21, 2),
        right_hand_landmarks=None,
    )
    points = keypoints_of(result, 1000, 500)
    assert points[wholebody.LEFT_SHOULDER].tolist() == [11, 11, np.float32(0.89)]
    assert points[wholebody.RIGHT_ANKLE, 0] == 28 and points[wholebody.LEFT_HEEL, 0] == 29
    assert points[wholebody.LEFT_BIG_TOE, 0] == points[wholebody.LEFT_SMALL_TOE, 0] == 31
    assert points[wholebody.FACE.start, 0] == 1162 and points[wholebody.FACE, 2].min() == 1
    assert points[wholebody.LEFT_HAND, 0].tolist() == list(range(2000, 2021))
    assert (points[wholebody.RIGHT_HAND] == 0).all()
    assert len(BODY) == 23 and len(FACE) == len(set(FACE)) == 68


def test_not_installed_and_without_its_models(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match="mediapipe cannot be imported .*pip install --no-deps mediapipe"):
        MediaPipeDetector()
    monkeypatch.setitem(sys.modules, "mediapipe", types.ModuleType("mediapipe"))
    with pytest.raises(InputError, match="without its models"):
        MediaPipeDetector()


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("mediapipe", reason="mediapipe 0.10.21 is not installed (Python 3.12 or older has it)")
    return MediaPipeDetector()


@pytest.fixture(scope="module")
def clip(examples):
    """Ten frames as OpenCV decodes them, as for the recorded tracks: other colours move joints by pixels."""
    capture = cv2.VideoCapture(str(examples / "video.mp4"))
    frames = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(10)]
    return TensorSource(np.stack(frames), 30)


def test_the_example_clip_as_it_was_recorded(detector, clip, examples):
    """The example's tracks were made with the same solution by other code."""
    seen = []
    track = detector.detect(clip, batch=4, progress=lambda done, total: seen.append((done, total))).track
    recorded = PoseTrack.load(examples / "video_pose.npz").slice(0, 10)
    assert seen == [(4, 10), (8, 10), (10, 10)]
    assert track.cuts == () and (track.width, track.height) == (recorded.width, recorded.height)
    difference = np.abs(track.keypoints - recorded.keypoints)
    assert (recorded.keypoints[..., 2] > 0.5).sum() > 1200
    assert np.median(difference) < 0.01 and np.percentile(difference, 99) < 0.5
    assert (track.boxes[:, 4] > 0.5).all()


def test_it_looks_afresh_after_a_cut(detector, clip, monkeypatch):
    """Six frames of the person, then six of another picture with the same person elsewhere."""
    frames = clip.read(0, 6)
    other = np.ascontiguousarray(255 - frames[:, ::1, ::-1])
    other[:, :, : other.shape[2] // 3] = (200, 30, 30)
    holistic, made = sys.modules["mediapipe"].solutions.holistic, []
    original = holistic.Holistic
    monkeypatch.setattr(holistic, "Holistic", lambda **options: made.append(options) or original(**options))
    track = MediaPipeDetector().detect(TensorSource(np.concatenate([frames, other]), 30)).track
    assert track.cuts == (6,) and len(made) == 2


def test_a_clip_without_a_person(detector):
    grey = TensorSource(np.full((3, 120, 160, 3), 127, np.uint8))
    with pytest.raises(InputError, match="found no person in any of the clip's 3 frames"):
        detector.detect(grey)
    with pytest.raises(InputError, match="cannot be 'central'"):
        detector.detect(grey, person=PersonChoice(how="central"))
    with pytest.raises(InputError, match="a clip of masks"):
        detector.detect(TensorSource(np.zeros((2, 8, 8), np.uint8)))


def test_cancel_stops_it(detector, clip):
    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        detector.detect(clip, batch=2, progress=cancel)
