"""Several people in view: the chosen one is followed through occlusions and cuts."""

import logging

import numpy as np
import pytest

from demo.small_onnx import save_pose
from wan_animate.detect.detector import PoseDetector
from wan_animate.errors import InputError
from wan_animate.people.appearance import appearances
from wan_animate.people.boxes import iou
from wan_animate.people.choosing import PersonChoice
from wan_animate.people.tracks import appearance_distance, assign
from wan_animate.video.frames import TensorSource

from ..support.crowd import Crowd, save_dye_detector, walk

RED, BLUE = 0, 1
FRAMES = 44


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("pose") / "pose.onnx"
    save_pose(path, template=True)
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory, template):
    return PoseDetector(save_dye_detector(tmp_path_factory.mktemp("graphs") / "dyes.onnx"), template)


def follow(detector, source, **choice):
    """The detection, and the IoU ``[T, 2]`` of its boxes with the true ones of the red and the blue dancer."""
    detection = detector.detect(source, batch=8, person=PersonChoice(**choice))
    boxes = detection.track.boxes[:, None, :4]
    return detection, np.nan_to_num(iou(boxes, source.boxes)[:, 0])


CROSS = np.stack([walk(FRAMES, 0.2, 0.8), walk(FRAMES, 0.8, 0.2)], 1)
MEETINGS = {
    "cross": CROSS,
    "turn back": np.stack([walk(FRAMES, 0.2, 0.45, 0.2), walk(FRAMES, 0.8, 0.55, 0.8)], 1),
    "stand together": np.stack([walk(90, 0.2, 0.48, 0.48, 0.2), walk(90, 0.8, 0.52, 0.52, 0.8)], 1),
    "run": CROSS[::3],
}


@pytest.mark.parametrize("meeting", MEETINGS)
@pytest.mark.parametrize("front", [RED, BLUE], ids=["red in front", "blue in front"])
def test_the_chosen_one_is_kept_in_every_frame(detector, meeting, front):
    source = Crowd(MEETINGS[meeting], front=front)
    merged = 0
    for wanted, number in ((RED, 1), (BLUE, 2)):
        detection, overlaps = follow(detector, source, how="number", number=number)
        track = detection.track
        assert overlaps[:, wanted].min() > 0.5
        apart = iou(source.boxes[:, :1], source.boxes[:, 1:])[:, 0, 0] < 0.25
        assert (overlaps[apart, wanted] > overlaps[apart, 1 - wanted] + 0.2).all()
        assert [len(shot.people) for shot in detection.shots] == [2]
        merged += (track.boxes[:, 4] == 0).sum()
        some = [0, len(source) // 2, len(source) - 1]  # the pose was found in the boxes the track has
        images = np.concatenate([source.read(at, at + 1) for at in some])
        assert np.allclose(track.keypoints[some], detector.find_keypoints(images, track.boxes[some]), atol=1e-3)
    assert merged > 0  # there were frames in which the detector could not tell them apart


def test_every_way_to_choose(detector, caplog):
    source = Crowd(np.stack([walk(12, 0.2, 0.22), walk(12, 0.64, 0.66)], 1), sizes=(0.5, 0.8))
    for wanted, choice in (
        (BLUE, {}),
        (BLUE, {"how": "central"}),
        (RED, {"how": "number", "number": 1}),
        (RED, {"how": "point", "x": 0.21, "y": 0.5, "frame": 7}),
        (BLUE, {"how": "point", "x": 0.65, "y": 0.5, "frame": 11}),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            _, overlaps = follow(detector, source, **choice)
        assert overlaps[:, wanted].min() > 0.9, choice
        assert ("2 people are in view (frame 0, left to right" in caplog.text) == (not choice)
    assert "number 2 is followed, the largest: choose with person" in _said(detector, source, caplog)


def _said(detector, source, caplog):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        detector.detect(source)
    return caplog.text


def test_a_choice_that_does_not_exist_says_who_does(detector):
    source = Crowd(np.stack([walk(6, 0.25, 0.25), walk(6, 0.7, 0.7)], 1))
    with pytest.raises(
        InputError, match=r"number 3 was asked for, but at most 2 people.*1 at 0\.2.*2 at 0\.7.*up to 2"
    ):
        follow(detector, source, how="number", number=3)
    source.reads = 0
    with pytest.raises(InputError, match=r"nobody is at the point 0\.48, 0\.1 in frame 4.*1 at 0\.2.*; 2 at 0\.7"):
        follow(detector, source, how="point", x=0.48, y=0.1, frame=4)
    assert source.reads == 1  # told before the clip was gone through
    with pytest.raises(InputError, match="point_frame is 6, but the clip has 6 frames"):
        follow(detector, source, how="point", frame=6)
    for wrong, says in (
        ({"how": "tallest"}, "person is 'tallest'"),
        ({"number": 0}, "counted from 1"),
        ({"x": 1.2}, "between 0 and 1"),
        ({"frame": -1}, "first frame is 0"),
    ):
        with pytest.raises(InputError, match=says):
            PersonChoice(**wrong)


def test_the_result_does_not_depend_on_the_batch(detector):
    source = Crowd(CROSS[::2], front=RED)
    results = [detector.detect(source, batch=batch, person=PersonChoice("number", 2)).track for batch in (1, 5, 64)]
    for other in results[1:]:
        assert np.array_equal(other.boxes, results[0].boxes) and other.cuts == results[0].cuts
        assert np.allclose(other.keypoints, results[0].keypoints, atol=1e-3)


def test_only_frames_in_which_it_was_somebody_else_are_read_again(detector):
    source = Crowd(np.stack([walk(40, 0.25, 0.3), walk(40, 0.75, 0.7)], 1), sizes=(0.8, 0.6))
    source.reads = 0
    detector.detect(source)
    first = source.reads
    assert first <= 44  # at the very start it was not yet known who is there
    source.reads = 0
    seen = []
    detector.detect(source, batch=8, person=PersonChoice("number", 2), progress=lambda *at: seen.append(at))
    told = [at for at in dict.fromkeys(seen) if at[0]]  # as long as a network runs, the same is told again
    assert source.reads <= 44 and told[:5] == [(8, 40), (16, 40), (24, 40), (32, 40), (40, 40)]


def test_somebody_who_leaves_is_not_confused_with_who_stays(detector, caplog):
    leaving = np.concatenate([walk(20, 0.25, 0.25), np.full(40, np.nan)])
    source = Crowd(np.stack([leaving, walk(60, 0.7, 0.7)], 1), sizes=(0.85, 0.6))
    with caplog.at_level(logging.WARNING):
        detection, overlaps = follow(detector, source, how="number", number=1)
    track = detection.track
    assert overlaps[:20, RED].min() > 0.9
    assert (track.boxes[25:, 4] == -1).all() and not track.keypoints[25:, :, 2].any()
    assert "not in view in 35 of 60 frames (25-59)" in caplog.text


def test_after_a_cut_people_are_asked_for_again(detector, caplog):
    """Two shots with the two in other places and sizes, and one with the blue one alone."""
    shots = [
        Crowd(np.stack([walk(15, 0.25, 0.25), walk(15, 0.75, 0.75)], 1), sizes=(0.8, 0.5)),
        Crowd(np.stack([walk(15, 0.75, 0.75), walk(15, 0.25, 0.25)], 1), sizes=(0.5, 0.8), negative=True),
        Crowd(np.stack([np.full(15, np.nan), walk(15, 0.5, 0.5)], 1)),
    ]
    source = TensorSource(np.concatenate([shot.read(0, 15) for shot in shots]))
    source.boxes = np.concatenate([shot.boxes for shot in shots])
    for choice, wanted in (
        ({}, (RED, BLUE, BLUE)),
        ({"how": "number", "number": 1}, (RED, BLUE, BLUE)),
        ({"how": "number", "number": 2}, (BLUE, RED, BLUE)),
        ({"how": "point", "x": 0.25, "y": 0.5, "frame": 2}, (RED, RED, BLUE)),  # by looks in the other shots
        ({"how": "point", "x": 0.75, "y": 0.5, "frame": 20}, (RED, RED, BLUE)),
    ):
        with caplog.at_level(logging.WARNING):
            detection, overlaps = follow(detector, source, **choice)
        assert detection.track.cuts == (15, 30)
        assert [(shot.start, shot.stop) for shot in detection.shots] == detection.track.shots
        assert all(overlaps[15 * at : 15 * at + 15, who].min() > 0.9 for at, who in enumerate(wanted)), choice
    assert "frames 30-44 show no person at the point; the one there who looks most like" in caplog.text


@pytest.mark.parametrize(("meeting", "front"), [("cross", 0), ("turn back", 1)])
def test_two_of_the_real_person_crossing(examples, template, tmp_path, meeting, front):
    """Merged boxes while they half cover each other, one box while one hides the other, misses, shaking, ghosts."""
    from ..support.real_crowd import RealCrowd, crowd_detections, save_number_detector

    ways = {"cross": ((0.25, 0.75), (0.75, 0.25)), "turn back": ((0.25, 0.47, 0.25), (0.75, 0.53, 0.75))}[meeting]
    source = RealCrowd(examples, np.stack([walk(106, *way) for way in ways], 1), front)
    said = crowd_detections(source.boxes, front)
    detector = PoseDetector(save_number_detector(tmp_path / "numbers.onnx", said), template)
    hidden = iou(source.boxes[:, :1], source.boxes[:, 1:])[:, 0, 0] > 0.25
    for wanted in range(2):
        x = (source.boxes[3, wanted, 0] + source.boxes[3, wanted, 2]) / 2 / source.width
        detection, overlaps = follow(detector, source, how="point", x=float(x), y=0.7, frame=3)
        track = detection.track
        assert (overlaps[~hidden, wanted] > overlaps[~hidden, 1 - wanted] + 0.2).all()
        assert overlaps[:, wanted].min() > (0.25 if wanted != front else 0.6)
        middle = (track.boxes[:, 0] + track.boxes[:, 2] - source.boxes[:, wanted, 0] - source.boxes[:, wanted, 2]) / 2
        wide = (source.boxes[:, wanted, 2] - source.boxes[:, wanted, 0]).mean()
        assert np.abs(middle).max() < 0.5 * wide
    source.close()


def test_assignment_is_the_cheapest_of_all():
    from itertools import permutations

    rng = np.random.default_rng(4)
    for _ in range(60):
        rows, columns = rng.integers(1, 6, 2)
        cost = rng.random((rows, columns))
        if rng.random() < 0.5:
            cost[rng.random(cost.shape) < 0.25] = np.inf
        pairs = assign(cost)
        table = np.where(np.isfinite(cost), cost, 100)
        table = table if rows <= columns else table.T
        ways = permutations(range(table.shape[1]), table.shape[0])
        best = min(sum(table[row, way[row]] for row in range(len(table))) for way in ways)
        assert abs(sum(cost[pair] for pair in pairs) + 100 * (min(rows, columns) - len(pairs)) - best) < 1e-9
        assert all(np.isfinite(cost[pair]) for pair in pairs)


def _appearance(image, box):
    return appearances(image[None], [box[None]])[0][0]


def test_appearance_tells_clothes_apart_and_not_sizes():
    source = Crowd(np.array([[0.25, 0.7], [0.3, 0.6]]))
    frames = source.read(0, 2)
    features = np.stack([_appearance(frames[at], source.boxes[at, who]) for at in range(2) for who in range(2)])
    apart = appearance_distance(features, features)
    assert max(apart[RED, 2], apart[BLUE, 3]) < 0.2 < 0.4 < min(apart[RED, BLUE], apart[RED, 3])
    assert np.array_equal(_appearance(frames[0], np.array([-50.0, -50, -10, -10])), np.zeros(128))
