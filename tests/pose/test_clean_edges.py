"""Bodies that the frames around them rule out, at the ends of a clip, beside cuts and amid it: none is left."""

import numpy as np
import pytest

from wan_animate.face.boxes import face_boxes
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.pose.clean import clean_track
from wan_animate.pose.track import PoseTrack

from ..support.figures import dancer_track
from ..support.motion import dance, seen, walk

WIDTH, HEIGHT, COUNT = 854, 480, 60
LEGS = [*range(13, 23)]


def legs_above_the_head(points, rng):
    points[LEGS, 1] = 2 * points[11, 1] - points[LEGS, 1] - 30


def upside_down(points, rng):
    points[:, 1] = 2 * points[[5, 6, 11, 12], 1].mean() - points[:, 1]


def anywhere(points, rng):
    points[:, :2] = rng.uniform((0, 0), (WIDTH, HEIGHT), size=(len(points), 2))


def somebody_else(points, rng):
    points[:, :2] = points[:, :2] * 0.5 + (WIDTH * 0.6 if points[0, 0] < WIDTH / 2 else 0, 20)


def half_as_large(points, rng):
    middle = points[[11, 12], :2].mean(axis=0)
    points[:, :2] = middle + (points[:, :2] - middle) * 0.5


def wrong(track: PoseTrack, frames, mistake) -> PoseTrack:
    keypoints, rng = track.keypoints.copy(), np.random.default_rng(0)
    for frame in frames:
        mistake(keypoints[frame], rng)
    return track.replaced(keypoints)


def off(track: PoseTrack, truth: PoseTrack) -> np.ndarray:
    """``[T]``: how far the worst drawn joint of the body lies from the truth, in pixels."""
    way = np.linalg.norm(track.keypoints[..., :2] - truth.keypoints[..., :2], axis=2)[:, :17]
    return np.where(track.keypoints[:, :17, 2] >= 0.5, way, 0).max(axis=1)


MISTAKES = [legs_above_the_head, upside_down, anywhere, somebody_else, half_as_large]
PLACES = {
    "first frame": [0],
    "first frames": [0, 1, 2, 3],
    "first eight": [*range(8)],
    "last frame": [COUNT - 1],
    "last frames": [COUNT - 3, COUNT - 2, COUNT - 1],
    "amid": [*range(30, 38)],
    "everywhere": [0, 1, 17, 18, 19, 20, 21, COUNT - 2, COUNT - 1],
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("place", PLACES)
def test_no_body_is_left_that_its_neighbours_rule_out(place, mistake):
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    bad = wrong(truth, PLACES[place], mistake)
    assert off(bad, truth).max() > 90
    cleaned = clean_track(bad)
    # The dancer's hand goes 15 pixels a frame: held for eight frames, it is as far away as the truth has gone by then.
    assert off(cleaned, truth).max() < 110 if "eight" in place else off(cleaned, truth).max() < 45
    assert (cleaned.keypoints[:, :17, 2] >= 0.5).all()  # the person was there all along, and the mask needs them
    ankles, head = cleaned.keypoints[:, [15, 16], 1], cleaned.keypoints[:, 0, 1]
    assert (ankles > head[:, None] + 100).all()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_right_before_and_after_a_cut(mistake):
    first, second = dancer_track(COUNT, WIDTH, HEIGHT), dancer_track(COUNT, WIDTH, HEIGHT, center=(0.25, 0.5))
    both = PoseTrack(np.concatenate([first.keypoints, second.keypoints]), WIDTH, HEIGHT, cuts=(COUNT,))
    cleaned = clean_track(wrong(both, range(COUNT - 3, COUNT + 3), mistake))
    assert off(cleaned, both).max() < 45


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_at_every_strength(strength):
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    cleaned = clean_track(wrong(truth, [0, 1, 2, 58, 59], upside_down), strength)
    assert off(cleaned, truth)[[0, 1, 2, 58, 59]].max() < 60
    bad = wrong(truth, [0, 1, 2], upside_down)
    assert clean_track(bad, 0) is bad


def test_the_mask_does_not_follow_the_mistake():
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    cleaned = clean_track(wrong(truth, [0, 1, 2], legs_above_the_head))
    masks, expected = (PoseMaskSource(track).read(0, 3) > 0 for track in (cleaned, truth))
    assert ((masks & expected).sum() / (masks | expected).sum()) > 0.93


def test_boxes_of_mistakes_lie_between_those_around_them():
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    low, high = truth.keypoints[..., :2].min(axis=1), truth.keypoints[..., :2].max(axis=1)
    boxes = np.concatenate([low, high, np.full((COUNT, 1), 0.9)], axis=1).astype(np.float32)
    given = boxes.copy()
    given[[0, 30, 31], :4] = (5, 5, 40, 40)
    bad = wrong(PoseTrack(truth.keypoints, WIDTH, HEIGHT, boxes=given), [0, 30, 31], somebody_else)
    cleaned = clean_track(bad)
    assert np.abs(cleaned.boxes[[30, 31], :4] - boxes[[30, 31], :4]).max() < 8
    assert np.array_equal(cleaned.boxes[0, :4], boxes[1, :4]) and (cleaned.boxes[[0, 30, 31], 4] == 0).all()
    rest = np.delete(np.arange(COUNT), [0, 30, 31])
    assert np.array_equal(cleaned.boxes[rest], boxes[rest])


@pytest.mark.parametrize("frames", [6, 9, 12])
def test_short_clips_too(frames):
    truth = dancer_track(frames, WIDTH, HEIGHT)
    cleaned = clean_track(wrong(truth, [0], upside_down))
    assert off(cleaned, truth).max() < 45


@pytest.mark.parametrize("pace", [1.0, 2.0, 3.0])
def test_quick_motion_is_nobodys_mistake(pace):
    for figure in (walk(frames=90, pace=pace), dance(frames=90)):
        track = seen(figure, WIDTH, HEIGHT, 220.0, ground=0.95)
        cleaned = clean_track(track)
        assert np.array_equal(cleaned.keypoints[..., 2], track.keypoints[..., 2])


def test_a_cut_that_nobody_found_loses_no_long_stretch():
    """Both stretches are there to stay: neither is a mistake of a few frames."""
    first, second = dancer_track(40, WIDTH, HEIGHT), dancer_track(40, WIDTH, HEIGHT, center=(0.15, 0.5))
    both = PoseTrack(np.concatenate([first.keypoints, second.keypoints]), WIDTH, HEIGHT)
    confidence = clean_track(both).keypoints[:, :17, 2] + (both.keypoints[:, :17, 2] < 0.5)  # or out of the picture
    assert (confidence[:35] >= 0.5).all() and (confidence[45:] >= 0.5).all()


@pytest.mark.parametrize("mistake", [upside_down, anywhere, somebody_else])
def test_the_face_crop_does_not_follow_the_mistake(mistake):
    """The crops come from the raw track; with steady 0 they are upstream's, which go along."""
    truth = dancer_track(COUNT, WIDTH, HEIGHT)
    bad = wrong(truth, PLACES["everywhere"], mistake)

    def middles(track: PoseTrack, steady: float) -> np.ndarray:
        boxes = face_boxes(track, steady=steady)[0]
        return (boxes[:, :2] + boxes[:, 2:]) / 2

    assert np.abs(middles(bad, 1) - middles(truth, 1)).max() < 25
    assert np.abs(middles(bad, 0) - middles(truth, 0)).max() > 80
    assert face_boxes(bad)[1].sum() == COUNT - len(PLACES["everywhere"]) and face_boxes(bad, steady=0)[1].all()
    assert face_boxes(truth)[1].all()
