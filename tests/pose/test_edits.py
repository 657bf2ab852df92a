"""Edits of a pose by hand: the format, what they do between keys, and across another size, rate and part."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose.edits import PoseEdits, count_edits, edit_base, edit_pose, read_edits
from wan_animate.pose.track import PoseTrack

from ..support.figures import dancer_track

WRIST, KNEE = 9, 13
FRAMES = 30


@pytest.fixture(scope="module")
def track() -> PoseTrack:
    return dancer_track(FRAMES, 320, 240)


def keyed(*keys: tuple[int, float, float], joint: int = WRIST) -> PoseEdits:
    return PoseEdits({joint: {frame: (x, y) for frame, x, y in keys}})


def moved(track: PoseTrack, edited: PoseTrack, joint: int = WRIST) -> np.ndarray:
    return edited.keypoints[:, joint, :2] - track.keypoints[:, joint, :2]


def test_without_edits_the_track_is_the_same(track):
    assert edit_pose(track, read_edits("")) is track
    assert edit_pose(track, read_edits('{"keys": {}, "hidden": {}}')) is track
    assert read_edits(None).text() == ""


def test_between_keys_the_offset_is_interpolated_and_fades_outside(track):
    edited = edit_pose(track, keyed((10, 10, -20), (20, 30, 0)), fade=4)
    by = moved(track, edited)
    assert np.allclose(by[10], (10, -20), atol=1e-4) and np.allclose(by[20], (30, 0), atol=1e-4)
    assert np.allclose(by[15], (20, -10), atol=1e-4)
    assert np.allclose(by[8], np.array((10, -20)) * 3 / 5, atol=1e-4)
    assert np.allclose(by[22], np.array((30, 0)) * 3 / 5, atol=1e-4)
    untouched = [*range(6), *range(25, FRAMES)]
    assert (edited.keypoints[untouched] == track.keypoints[untouched]).all()
    others = np.delete(np.arange(133), WRIST)
    assert (edited.keypoints[:, others] == track.keypoints[:, others]).all()


def test_without_a_fade_one_key_is_one_frame(track):
    by = moved(track, edit_pose(track, keyed((7, 5, 5)), fade=0))
    assert np.flatnonzero(np.abs(by).sum(axis=1)).tolist() == [7]


def test_an_edit_never_crosses_a_cut(track):
    cut = replace(track, cuts=(12,))
    by = moved(cut, edit_pose(cut, keyed((10, 8, 0), (20, 8, 0)), fade=5))
    # each shot has its own keys: 10 fades out to the cut, 20 fades in after it
    assert by[11, 0] == pytest.approx(8 * 5 / 6, abs=1e-4)
    assert by[12:15, 0].tolist() == [0, 0, 0] and by[15, 0] == pytest.approx(8 / 6, abs=1e-4)


def test_what_is_keyed_counts_as_found_and_what_is_hidden_does_not(track):
    keypoints = track.keypoints.copy()
    keypoints[5:9, WRIST] = (0, 0, 0.05)  # lost
    lost = track.replaced(keypoints)
    base = edit_base(lost)
    between = np.array([np.interp(range(5, 9), [4, 9], track.keypoints[[4, 9], WRIST, axis]) for axis in (0, 1)]).T
    assert np.allclose(base[5:9, WRIST, :2], between, atol=1e-3) and (base[5:9, WRIST, 2] == np.float32(0.05)).all()
    edits = PoseEdits({WRIST: {5: (1, 2), 8: (1, 2)}}, {WRIST: ((7, 8),), KNEE: ((28, 99), (-5, 1))})
    edited = edit_pose(lost, edits, fade=0)
    assert np.allclose(edited.keypoints[5:9, WRIST, :2], between + (1, 2), atol=1e-3)
    assert edited.keypoints[5:9, WRIST, 2].tolist() == [1, 1, 0, 1]  # hidden counts more
    assert np.flatnonzero(edited.keypoints[:, KNEE, 2] == 0).tolist() == [0, 28, 29]


def test_a_keypoint_that_is_never_found_stands_still_to_be_placed(track):
    keypoints = track.keypoints.copy()
    keypoints[:, WRIST, 2] = 0
    base = edit_base(track.replaced(keypoints))
    assert (base[:, WRIST, :2] == np.median(track.keypoints[:, WRIST, :2], axis=0)).all()


def test_edits_follow_to_another_size_rate_and_part(track):
    whole = replace(track, start_seconds=0.0)
    edits = read_edits(
        '{"width": 320, "height": 240, "fps": 30, "start": 0, "keys": {"9": [[20, 8, -4]]}, "hidden": {}}'
    )
    large = edit_pose(whole.scaled(640, 720), edits, fade=0)
    assert np.allclose(moved(whole.scaled(640, 720), large)[20], (16, -12), atol=1e-3)
    part = whole.slice(15, 30)
    assert np.allclose(moved(part, edit_pose(part, edits, fade=0))[5], (8, -4), atol=1e-3)
    slow = replace(whole, fps=Fraction(15), keypoints=whole.keypoints[::2])
    assert np.allclose(moved(slow, edit_pose(slow, edits, fade=0))[10], (8, -4), atol=1e-3)
    early = whole.slice(0, 10)
    assert (edit_pose(early, edits).keypoints == early.keypoints).all()
    assert "1 keyed frames lie outside" in count_edits(edits, early)


def test_text_comes_back(track):
    edits = PoseEdits({9: {3: (1.5, -2.0)}, 13: {0: (4.0, 0.0)}}, {10: ((4, 9),)}, (320, 240), 30.0, 0.5)
    assert read_edits(edits.text()) == edits
    assert read_edits(edits.onto(track).text()) == edits.onto(track)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "no keys"),
        ("nonsense", "Expecting value"),
        ('{"keys": {"133": [[0, 1, 1]]}}', "133 is no number from 0 to 132"),
        ('{"keys": {"9": [[0.5, 1, 1]]}}', "0.5 is no whole number"),
        ('{"keys": {"9": [[0, 1]]}}', "not enough values"),
        ('{"keys": {"9": [[0, NaN, 1]]}}', "nan is no number"),
        ('{"keys": {"9": [[0, 1e9, 1]]}}', "is no number from -100000"),
        ('{"keys": [], "hidden": {"9": [[5, 5]]}}', "5 is no number from 6"),
        ('{"keys": {}, "width": 0, "height": 4}', "0 is no number from 1"),
        ('{"keys": {"9": 5}}', "not iterable"),
    ],
)
def test_what_is_no_edit_is_refused_in_one_sentence(text, said):
    with pytest.raises(InputError, match="edit pose: edits is .* but it must be JSON as the editor writes it") as error:
        read_edits(text)
    assert said in str(error.value)


def test_huge_text_and_negative_fade_are_refused(track):
    with pytest.raises(InputError, match="MB of text, at most 16 are read"):
        read_edits('{"keys": {}}' + " " * 17_000_000)
    with pytest.raises(InputError, match="fade is -1"):
        edit_pose(track, keyed((1, 1, 1)), fade=-1)


def test_a_long_clip_is_edited_in_a_moment(track):
    import time

    long = PoseTrack(np.tile(track.keypoints, (200, 1, 1)), 320, 240)
    edits = PoseEdits({joint: {frame: (1.0, 1.0) for frame in range(0, 6000, 10)} for joint in range(133)})
    began = time.perf_counter()
    edited = edit_pose(long, edits)
    assert time.perf_counter() - began < 20
    assert np.allclose(moved(long, edited)[:5991], 1, atol=1e-3)
    assert json.loads(edits.onto(long).text())["keys"].keys() == {str(joint) for joint in range(133)}
