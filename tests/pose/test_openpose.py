"""Pose tracks to and from OpenPose JSON."""

import json

import numpy as np
import pytest

from demo.figure import figure_keypoints
from wan_animate.errors import InputError
from wan_animate.people.choosing import PersonChoice
from wan_animate.pose import wholebody
from wan_animate.pose.openpose import from_openpose, to_openpose
from wan_animate.pose.track import PoseTrack

WIDTH, HEIGHT = 640, 480


def dancer(frames=6, **place) -> PoseTrack:
    return PoseTrack(
        np.stack([figure_keypoints(at / 10, WIDTH, HEIGHT, **place) for at in range(frames)]), WIDTH, HEIGHT
    )


def test_there_and_back():
    track = dancer()
    frames = json.loads(json.dumps(to_openpose(track)))  # what a file or another process hands on
    back = from_openpose(frames, fps=30)
    assert (back.width, back.height, len(back)) == (WIDTH, HEIGHT, 6)
    seen = track.keypoints[..., 2] > 0
    assert np.abs(back.keypoints - track.keypoints)[seen].max() < 1e-3
    assert (back.keypoints[~seen] == 0).all()
    neck = np.array(frames[2]["people"][0]["pose_keypoints_2d"]).reshape(18, 3)[1]
    shoulders = track.keypoints[2, [wholebody.LEFT_SHOULDER, wholebody.RIGHT_SHOULDER], :2]
    assert np.allclose(neck[:2], shoulders.mean(axis=0), atol=1e-3)
    assert len(frames[0]["people"][0]["face_keypoints_2d"]) == 70 * 3


def test_text_one_frame_and_fractions():
    frames = to_openpose(dancer())
    expected = from_openpose(frames).keypoints
    assert np.array_equal(from_openpose(json.dumps(frames)).keypoints, expected)
    assert np.array_equal(from_openpose(frames[3]).keypoints[0], expected[3])
    for frame in frames:
        for entry in frame["people"]:
            for key, values in entry.items():
                points = np.array(values).reshape(-1, 3) / (WIDTH, HEIGHT, 1)
                entry[key] = points.ravel().tolist()
    assert np.abs(from_openpose(frames).keypoints - expected).max() < 1e-3


def test_a_body_of_25_points_brings_its_feet():
    track = dancer(1)
    frame = to_openpose(track)[0]
    (person,) = frame["people"]
    body = np.array(person["pose_keypoints_2d"]).reshape(18, 3)
    middle = (body[8:9] + body[11:12]) / 2
    feet = np.array(person.pop("foot_keypoints_2d")).reshape(6, 3)
    person["pose_keypoints_2d"] = np.concatenate([body[:8], middle, body[8:], feet]).ravel().tolist()
    assert np.abs(from_openpose(frame).keypoints[0] - from_openpose(to_openpose(track)).keypoints[0]).max() < 1e-3


def test_parts_that_were_not_found():
    frames = to_openpose(dancer(3))
    frames[1]["people"] = []
    frames[2]["people"][0].update(face_keypoints_2d=None, hand_left_keypoints_2d=None)
    del frames[2]["people"][0]["foot_keypoints_2d"]
    track = from_openpose(frames)
    assert (track.keypoints[1] == 0).all() and track.boxes[1, 4] < 0
    assert (track.keypoints[2, wholebody.FACE] == 0).all() and (track.keypoints[2, wholebody.FEET] == 0).all()
    assert (track.keypoints[2, wholebody.LEFT_HAND] == 0).all() and track.keypoints[
        2, wholebody.RIGHT_HAND, 2
    ].min() > 0
    assert to_openpose(track)[1]["people"] == []


def test_hands_named_the_wrong_way_round_are_put_right():
    track = dancer()
    frames = to_openpose(track)
    for frame in frames:
        (person,) = frame["people"]
        person["hand_left_keypoints_2d"], person["hand_right_keypoints_2d"] = (
            person["hand_right_keypoints_2d"],
            person["hand_left_keypoints_2d"],
        )
    assert np.abs(from_openpose(frames).keypoints - from_openpose(to_openpose(track)).keypoints).max() < 1e-4


def test_who_of_two_people_whatever_their_order():
    left, right = dancer(center=(0.25, 0.5), size=0.5), dancer(center=(0.75, 0.5), size=0.8)
    frames = to_openpose(left)
    for index, (frame, other) in enumerate(zip(frames, to_openpose(right), strict=True)):
        frame["people"].insert(index % 2, other["people"][0])

    def chosen(**choice):
        return from_openpose(frames, person=PersonChoice(**choice)).keypoints

    one, two = from_openpose(to_openpose(left)).keypoints, from_openpose(to_openpose(right)).keypoints
    assert np.array_equal(chosen(), two)
    assert np.array_equal(chosen(how="number", number=1), one)
    assert np.array_equal(chosen(how="number", number=2), two)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frames: "{not json", "is not JSON"),
        (lambda frames: [], "a list of frames with people"),
        (lambda frames: [{"canvas_width": 3}], "a list of frames with people"),
        (lambda frames: [{**frame, "people": []} for frame in frames], "none of the 2 frames has a person"),
        (lambda frames: [frames[0], {**frames[1], "canvas_width": 10}], "canvases of 2 sizes"),
        (lambda frames: [{**frame, "canvas_height": None} for frame in frames], "canvas_width and canvas_height are"),
    ],
)
def test_what_is_no_openpose_json(change, sentence):
    with pytest.raises(InputError, match=sentence):
        from_openpose(change(to_openpose(dancer(2))))


def test_a_body_of_another_kind():
    frames = to_openpose(dancer(2))
    person = frames[1]["people"][0]
    person["pose_keypoints_2d"] = person["pose_keypoints_2d"][: 17 * 3]
    with pytest.raises(InputError, match="frame 1 has a body of 17 points"):
        from_openpose(frames)
    person["pose_keypoints_2d"] = [1.0, 2.0]
    with pytest.raises(InputError, match="pose_keypoints_2d of frame 1 has 2 numbers"):
        from_openpose(frames)
