"""Bodies that leap, are stretched, or fling up their arms for a frame or a few, at the ends of a clip as amid it."""

import numpy as np
import pytest

from wan_animate.pose.clean import clean_track
from wan_animate.pose.repair import body_height, mistaken
from wan_animate.pose.track import PoseTrack

from ..support.figures import dancer_track
from ..support.motion import dance, seen, walk

WIDTH, HEIGHT, COUNT = 854, 480, 40
ARMS = ((5, 7, 9, range(91, 112)), (6, 8, 10, range(112, 133)))
PLACES = {
    "first frame": [0],
    "first two": [0, 1],
    "first three": [0, 1, 2],
    "last frame": [COUNT - 1],
    "last two": [COUNT - 2, COUNT - 1],
    "last three": [COUNT - 3, COUNT - 2, COUNT - 1],
    "amid": [20, 21],
    "five amid": [*range(18, 23)],
}


def height_of(track: PoseTrack) -> float:
    keypoints = track.keypoints
    return body_height(keypoints[..., 0] + 1j * keypoints[..., 1], keypoints[..., 2])


def moved(points, height, x=0.0, y=0.0):
    points[:, :2] += (x * height, y * height)


def to_the_right(points, height):
    moved(points, height, x=1 / 6)


def to_the_left(points, height):
    moved(points, height, x=-1 / 6)


def up(points, height):
    moved(points, height, y=-1 / 6)


def down(points, height):
    moved(points, height, y=1 / 6)


def stretched_sideways(points, height):
    middle = points[[11, 12], 0].mean()
    points[:, 0] = middle + 2.5 * (points[:, 0] - middle)


def narrowed(points, height):
    middle = points[[11, 12], 0].mean()
    points[:, 0] = middle + 0.4 * (points[:, 0] - middle)


def stretched_upwards(points, height):
    middle = points[[11, 12], 1].mean()
    points[:, 1] = middle + 1.8 * (points[:, 1] - middle)


def arm_up(points, height, arm=ARMS[0]):
    shoulder, elbow, wrist, hand = arm
    from_wrist = points[[*hand], :2] - points[wrist, :2]
    points[elbow, :2] = points[shoulder, :2] - (0, 0.19 * height)
    points[wrist, :2] = points[elbow, :2] - (0, 0.15 * height)
    points[[*hand], :2] = points[wrist, :2] + from_wrist * (1, -1)


def both_arms_up(points, height):
    for arm in ARMS:
        arm_up(points, height, arm)


MISTAKES = [
    to_the_right, to_the_left, up, down, stretched_sideways, stretched_upwards, arm_up, both_arms_up,
]  # fmt: skip


def check(truth: PoseTrack, frames: list[int], mistake) -> None:
    height, keypoints = height_of(truth), truth.keypoints.copy()
    for frame in frames:
        mistake(keypoints[frame], height)
    bad = truth.replaced(keypoints)
    cleaned = clean_track(bad)
    # what was shown is shown still: the person is there
    assert (cleaned.keypoints[frames, :17, 2] >= np.where(truth.keypoints[frames, :17, 2] >= 0.5, 0.5, 0)).all()

    def off(track):
        way = np.linalg.norm(track.keypoints[..., :2] - truth.keypoints[..., :2], axis=2)[:, :17] / height
        return np.where(truth.keypoints[:, :17, 2] >= 0.5, way, 0).max(axis=1)

    assert off(bad)[frames].min() > 0.15
    # held for three frames, or led on straight for five, a foot that swings is as far off as it has gone by then
    assert off(cleaned).max() < (0.1 if len(frames) < 3 else 0.14)


FIGURES = {
    "drawn": dancer_track(COUNT, WIDTH, HEIGHT),
    "walk": seen(walk(frames=COUNT), WIDTH, HEIGHT, 220.0, ground=0.95),
    "dance": seen(dance(frames=COUNT), WIDTH, HEIGHT, 220.0, ground=0.95),
}


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_body_that_leaves_its_way_at_once(figure, place, mistake):
    check(FIGURES[figure], PLACES[place], mistake)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_in_the_example(examples, mistake):
    track = PoseTrack.load(examples / "video_pose.npz").scaled(WIDTH, HEIGHT).slice(20, 20 + COUNT)
    for frames in PLACES.values():
        check(track, frames, mistake)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_beside_a_cut_that_is_known(mistake):
    one = seen(walk(frames=30), WIDTH, HEIGHT, 220.0, ground=0.95)
    other = seen(dance(frames=30), WIDTH, HEIGHT, 220.0, ground=0.95)
    both = PoseTrack(np.concatenate([one.keypoints, other.keypoints]), WIDTH, HEIGHT, cuts=(30,))
    check(both, [28, 29, 30, 31], mistake)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("figure", ["drawn", "dance"])
def test_a_body_that_is_too_narrow_for_a_moment(figure, place):
    """Of one that faces the camera: 0.4 of its width is a turn of 66 degrees."""
    truth = FIGURES[figure]
    keypoints = truth.keypoints.copy()
    for frame in PLACES[place]:
        narrowed(keypoints[frame], 0)
    assert mistaken(truth.replaced(keypoints))[PLACES[place], :17].all(axis=1).all()
    assert not mistaken(truth)[:, :17].any()


def test_a_body_that_turns_is_nobodys_mistake():
    """Round and round, up to two turns a second."""
    truth = dancer_track(90, WIDTH, HEIGHT)
    for per_second in (0.5, 1, 2):
        keypoints = truth.keypoints.copy()
        middle = keypoints[:, [11, 12], 0].mean(axis=1, keepdims=True)
        turned = np.cos(2 * np.pi * per_second * np.arange(90) / 30)[:, None]
        keypoints[..., 0] = middle + turned * (keypoints[..., 0] - middle)
        assert not mistaken(truth.replaced(keypoints))[:, [5, 6, 11, 12]].any(), per_second


def test_an_arm_alone_is_dropped_alone():
    truth = seen(walk(frames=COUNT), WIDTH, HEIGHT, 220.0, ground=0.95)
    keypoints = truth.keypoints.copy()
    both_arms_up(keypoints[0], height_of(truth))
    wrong = mistaken(truth.replaced(keypoints))
    assert wrong[0, [7, 8, 9, 10, *range(91, 133)]].all() and not wrong[1:].any()
    assert not wrong[0, [0, 5, 6, *range(11, 91)]].any()


@pytest.mark.parametrize(("step", "fps"), [(1, 30), (2, 30), (2, 15), (3, 10)])
def test_real_motion_is_nobodys_mistake(examples, step, fps):
    """The example as it is, in its own time at lower rates, and twice as fast."""
    track = PoseTrack.load(examples / "video_pose.npz").scaled(WIDTH, HEIGHT)
    assert not mistaken(PoseTrack(track.keypoints[::step], WIDTH, HEIGHT, fps)).any()


@pytest.mark.parametrize("noise", [0, 3])
def test_quick_motion_with_jitter_is_nobodys_mistake(noise):
    quick = walk(frames=120, pace=3.0), dance(frames=300)[::2]
    for size in (70.0, 220.0):
        for figure in quick:
            assert not mistaken(seen(figure, WIDTH, HEIGHT, size, ground=0.95, noise=noise))[:, :17].any()


def test_somebody_who_walks_off_at_once_is_followed():
    """Away for good, and faster than the limit: not there and back."""
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    keypoints = truth.keypoints.copy()
    keypoints[20:, :, 0] += height_of(truth) / 6
    shown = clean_track(truth.replaced(keypoints)).keypoints
    apart = np.abs(shown[:, :17, :2] - keypoints[:, :17, :2])
    assert apart[:15].max() < 4 and apart[25:].max() < 4
