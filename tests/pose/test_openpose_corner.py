"""POSE_KEYPOINT in pixels of somebody small in the top left corner, whose numbers could be per cent."""

import numpy as np
import pytest

from wan_animate.people.choosing import PersonChoice
from wan_animate.pose.openpose import from_openpose

WIDTH, HEIGHT = 1280, 720
STANDING = np.array(
    """.5 .08 .5 .2 .35 .2 .28 .35 .25 .5 .65 .2 .72 .35 .75 .5 .4 .5 .4 .72 .4 .95 .6 .5 .6 .72 .6 .95 .47 .06 .53 .06
    .43 .07 .57 .07""".split(),
    float,
).reshape(18, 2)


def person(left, top, width, height, unit=(1, 1)):
    points = (STANDING * (width, height) + (left, top)) * unit
    return {"pose_keypoints_2d": np.concatenate([points, np.ones((18, 1))], axis=1).ravel().tolist()}


def main(at, unit=(1, 1)):
    return person(500 + at, 60, 240, 620, unit)


def read(frames, size=(WIDTH, HEIGHT), **choice):
    """(boxes of the points that are taken ``[T, 4]``, sentences)"""
    given = [{"people": people, "canvas_width": size[0], "canvas_height": size[1]} for people in frames]
    said = []
    track = from_openpose(given, person=PersonChoice(**choice), say=said.append)
    shown = np.where(track.keypoints[..., 2:] > 0, track.keypoints[..., :2], np.nan)
    return np.concatenate([np.nanmin(shown, axis=1), np.nanmax(shown, axis=1)], axis=1), said


PASSER_BY = (30, 5, 45, 90)


@pytest.mark.parametrize("frames", [range(30), range(10, 20), range(28, 30), range(5)])
@pytest.mark.parametrize("first", [True, False])
def test_a_passer_by_beside_the_main_person(frames, first):
    given = [[main(at), *([person(*PASSER_BY)] if at in frames else [])][:: 1 if first else -1] for at in range(30)]
    boxes, said = read(given, how="largest")
    assert said == [] and np.array_equal(boxes, read([[main(at)] for at in range(30)])[0])


def test_the_passer_by_can_be_followed():
    given = [[person(150 + at, 200, 200, 500), person(20, 10, 40, 90)] for at in range(30)]
    boxes, said = read(given, (512, 768), how="number", number=1)
    assert said == [] and boxes[:, 2:].max() < 100


def test_several_passers_by_are_no_clip_in_per_cent():
    few = [person(*PASSER_BY), person(2, 3, 40, 80), person(50, 8, 44, 88), person(40, 2, 50, 90)]
    boxes, said = read([[main(at), *few] for at in range(30)], how="largest")
    assert said == [] and np.array_equal(boxes, read([[main(at)] for at in range(30)])[0])


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (512, 768)])
def test_one_person_who_comes_in_small_at_the_top_left(size):
    comes = [[person(5 + at * 2, 5 + at, 40, 90)] for at in range(6)]
    there = [[person(150, 200, 200, 500)] for at in range(24)]
    for frames in ([*comes, *there], [*there, *comes[::-1]], [*there[:12], *comes, *there[12:]]):
        given = [{"people": people, "canvas_width": size[0], "canvas_height": size[1]} for people in frames]
        said = []
        track = from_openpose(given, say=said.append)
        assert not any("per cent" in one for one in said)
        small = [at for at, people in enumerate(frames) if people in comes]
        assert track.keypoints[small, :, :2].max() < 100


@pytest.mark.parametrize("run", [range(1), range(10, 11), range(10, 20), range(25, 30), range(0, 20)])
@pytest.mark.parametrize("people", [1, 2])
def test_a_run_of_frames_in_per_cent_is_still_converted(run, people):
    """Also with several people in it, each of whom is in per cent."""
    expected = [[main(at), person(100, 300, 150, 380)][:people] for at in range(30)]
    per_cent = 100 / WIDTH, 100 / HEIGHT
    given = [
        [main(at, per_cent), person(100, 300, 150, 380, per_cent)][:people] if at in run else expected[at]
        for at in range(30)
    ]
    boxes, said = read(given, how="largest")
    assert np.abs(boxes - read(expected, how="largest")[0]).max() < 1e-3
    assert "in pixels, where per cent" in said[-1] if len(run) > 15 else "in per cent" in said[0] and len(said) == 1


def test_what_is_said_of_a_person_who_stays_in_the_corner():
    _, said = read([[person(*PASSER_BY)] for _ in range(10)])
    assert len(said) == 1 and "the person is within 100 pixels of the top left corner: cut that corner" in said[0]
