"""POSE_KEYPOINT in pixels, in fractions, and in both at once: judged part by part, and refused where it is no body."""

import copy

import numpy as np
import pytest

from demo.figure import figure_keypoints
from wan_animate.errors import InputError
from wan_animate.mask.prompts import prompt_from_editor
from wan_animate.pose import wholebody
from wan_animate.pose.openpose import from_openpose, to_openpose
from wan_animate.pose.track import PoseTrack

WIDTH, HEIGHT = 640, 480
BODY, FEET, FACE = "pose_keypoints_2d", "foot_keypoints_2d", "face_keypoints_2d"
LEFT, RIGHT = "hand_left_keypoints_2d", "hand_right_keypoints_2d"
EVERY = (BODY, FEET, FACE, LEFT, RIGHT)


@pytest.fixture
def frames():
    keypoints = np.stack([figure_keypoints(at / 10, WIDTH, HEIGHT) for at in range(6)])
    return to_openpose(PoseTrack(keypoints, WIDTH, HEIGHT))


def changed(frames, keys, change):
    """``change`` given float ``[n, 3]`` of every part of ``keys``, in place."""
    frames = copy.deepcopy(frames)
    for frame in frames:
        for entry in frame["people"]:
            for key in keys:
                points = np.array(entry[key]).reshape(-1, 3)
                change(points)
                entry[key] = points.ravel().tolist()
    return frames


def to_fractions(points):
    points[:, :2] /= (WIDTH, HEIGHT)


def to_per_cent(points):
    points[:, :2] *= (100 / WIDTH, 100 / HEIGHT)


UNITS = {"pixels": lambda points: None, "per cent": to_per_cent, "fractions": to_fractions}


def read(frames):
    """(track, sentences)"""
    said = []
    return from_openpose(frames, say=said.append), said


def in_frame(frames, frame, keys, change):
    """The frames with another unit in one of them alone."""
    return [*frames[:frame], *changed(frames[frame : frame + 1], keys, change), *frames[frame + 1 :]]


@pytest.mark.parametrize(
    "keys", [EVERY, (BODY,), (BODY, FEET), (LEFT, RIGHT), (LEFT,), (FACE,), (FACE, LEFT, RIGHT), (FEET,)]
)
def test_parts_in_fractions_beside_parts_in_pixels(frames, keys):
    mixed = from_openpose(changed(frames, keys, to_fractions))
    assert np.abs(mixed.keypoints - from_openpose(frames).keypoints).max() < 1e-3


@pytest.mark.parametrize("keys", [EVERY, (BODY,), (BODY, FEET), (LEFT, RIGHT), (LEFT,), (FACE,), (FEET,)])
@pytest.mark.parametrize("beside", ["pixels", "fractions"])
def test_parts_in_per_cent_are_converted_and_said(frames, keys, beside):
    others = changed(frames, [key for key in EVERY if key not in keys], UNITS[beside])
    track, said = read(changed(others, keys, to_per_cent))
    assert np.abs(track.keypoints - from_openpose(frames).keypoints).max() < 1e-3
    assert len(said) == 1 and "per cent of" in said[0], said
    assert not read(others)[1] or set(keys) == set(EVERY)


@pytest.mark.parametrize("keys", [EVERY, (BODY, FEET), (LEFT,), (FACE, LEFT, RIGHT)])
@pytest.mark.parametrize("frame", [0, 3, 5])
@pytest.mark.parametrize(("rest", "there"), [(a, b) for a in UNITS for b in UNITS if a != b])
def test_a_frame_in_another_unit_than_the_rest(frames, rest, there, frame, keys):
    expected = from_openpose(frames).keypoints
    given = in_frame(changed(frames, EVERY, UNITS[rest]), frame, keys, lambda points: None)
    one = changed(frames[frame : frame + 1], keys, UNITS[there])
    one = changed(one, [key for key in EVERY if key not in keys], UNITS[rest])
    given[frame] = one[0]
    track, said = read(given)
    assert np.abs(track.keypoints - expected).max() < 1e-3
    assert any(f"of frames {frame}: in {there}" in text and "look at the pose there" in text for text in said), said


def test_a_small_person_in_the_corner_and_ordinary_ones_are_left_alone(frames):
    def small(points):
        points[:, :2] = points[:, :2] * 0.15 + (60, 40)

    for given in (frames, changed(frames, EVERY, small)):
        track, said = read(given)
        assert said == [] and np.array_equal(track.keypoints, from_openpose(given).keypoints)


def test_frames_from_which_nobody_is_taken_are_named(frames):
    def elsewhere(points):
        points[:, :2] = points[:, :2] * 0.2 + (500, 10)

    track, said = read(in_frame(frames, 2, EVERY, elsewhere))
    assert not track.keypoints[2].any() and len(said) == 1 and "nobody is taken from frames 2, although" in said[0]


@pytest.mark.parametrize("value", [1.2, 2.4, 7.0, 411.0])
@pytest.mark.parametrize("key", EVERY)
def test_a_stray_value_among_fractions_moves_one_point_alone(frames, key, value):
    expected = from_openpose(frames).keypoints
    stray = changed(frames, EVERY, to_fractions)
    stray[2]["people"][0][key][3 * 4] = value
    found = from_openpose(stray).keypoints
    off = np.abs(found - expected).max(axis=2) > 1e-3
    assert off.sum() <= 1 and not off[[0, 1, 3, 4, 5]].any()
    farthest = np.abs(found[..., :2]).max()
    assert farthest <= 3 * WIDTH  # a point that lies nowhere is dropped, and not drawn across the picture


def test_a_stray_fraction_among_pixels_moves_one_point_alone(frames):
    stray = copy.deepcopy(frames)
    stray[1]["people"][0][BODY][3 * 4 : 3 * 4 + 2] = [0.4, 0.7]
    off = np.abs(from_openpose(stray).keypoints - from_openpose(frames).keypoints).max(axis=2) > 1e-3
    assert off.sum() == 1


def test_points_that_were_not_found_say_nothing_of_the_unit(frames):
    """Half a hand at 0, 0 with a confidence, as some writers leave what they lack."""

    def lose(points):
        points[8:, :2] = 0

    found = from_openpose(changed(frames, (LEFT,), lose)).keypoints
    expected = from_openpose(frames).keypoints
    assert np.abs(found - expected)[:, wholebody.LEFT_HAND.start : wholebody.LEFT_HAND.start + 8].max() < 1e-3


def test_another_size_of_canvas_is_refused(frames):
    small = [{**frame, "canvas_width": 160, "canvas_height": 120} for frame in frames]
    with pytest.raises(InputError, match="body lie outside the canvas of 160x120"):
        from_openpose(small)
    with pytest.raises(InputError, match="canvas_width and canvas_height are 64000 and 48000"):
        from_openpose([{**frame, "canvas_width": 64000, "canvas_height": 48000} for frame in frames])

    def shrink(points):
        points[:, :2] *= 0.02

    tiny = [{**frame, "canvas_width": 8000, "canvas_height": 8000} for frame in changed(frames, (BODY,), shrink)]
    with pytest.raises(InputError, match="pixels large on the canvas of 8000x8000, too small to be one"):
        from_openpose(tiny)


@pytest.mark.parametrize(("key", "name"), [(LEFT, "left hand"), (RIGHT, "right hand"), (FACE, "face")])
def test_a_part_that_belongs_to_no_body_is_refused(frames, key, name):
    def crop(points):  # in pixels of a crop of its own
        points[:, :2] = points[:, :2] * 0.1 + (-200, 350)

    with pytest.raises(InputError, match=f"the {name} lies [0-9]+ pixels from"):
        from_openpose(changed(frames, (key,), crop))


def test_a_head_alone_is_still_read(frames):
    def head_only(points):
        points[1:14] = 0

    track = from_openpose(changed(frames, (BODY,), head_only))
    assert (track.keypoints[:, wholebody.NOSE, 2] > 0).all()


def test_an_editors_fractions_are_refused():
    with pytest.raises(InputError, match="0.4, 0.6, a fraction of the frame"):
        prompt_from_editor(0, '[{"x": 0.4, "y": 0.6}]', None, size=(64, 64))
    with pytest.raises(InputError, match="bbox is 0.1, 0.2, 0.6, 0.9, fractions"):
        prompt_from_editor(0, None, None, (0.1, 0.2, 0.6, 0.9))
    assert prompt_from_editor(0, "[[1, 0]]", None, size=(64, 64)).points.tolist() == [[1, 0]]


def test_points_at_the_origin_are_not_found_whatever_confidence_is_said(frames):
    """Some writers put what they lack at 0, 0 with confidence 1: no bone is drawn into the corner."""

    def without_legs(points):
        points[8:14] = (0, 0, 1)  # of OpenPose's 18: hips, knees, ankles

    track = from_openpose(changed(frames, (BODY,), without_legs))
    legs = [*range(11, 17)]
    assert (track.keypoints[:, legs, 2] == 0).all() and (track.keypoints[:, 5:11, 2] > 0).all()
