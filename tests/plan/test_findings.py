"""Each fault of a job's inputs: found where it is, not found where it is not, each with a remedy."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.plan.cards import Device
from wan_animate.plan.clip_plan import ClipPlan, plan_clip
from wan_animate.pose import wholebody as body
from wan_animate.pose.track import PoseTrack

from ..support.figures import dancer_track

FRAMES = 153  # two full segments of 77
CARD = Device("NVIDIA H100 80GB HBM3", 85_000_000_000)


def plan(frames: int = FRAMES, **changes) -> ClipPlan:
    given = dict(size=(832, 480), frames=frames, fps=Fraction(30), lossless=1.0, device=CARD)
    return plan_clip(**given | changes)


def kinds(**changes) -> set[str]:
    found = plan(**changes).findings
    for finding in found:
        assert finding.what and finding.remedy and str(finding).endswith(".") and "\n" not in str(finding)
    return {finding.kind for finding in found}


@pytest.fixture(scope="module")
def track() -> PoseTrack:
    """A dancer, whole, close enough for a face of 60 pixels."""
    return dancer_track(FRAMES, 832, 480)


def without(track: PoseTrack, parts, frames=slice(None)) -> PoseTrack:
    keypoints = track.keypoints.copy()
    keypoints[frames, parts, 2] = 0
    return track.replaced(keypoints)


def shrunk(track: PoseTrack, by: float) -> PoseTrack:
    keypoints = track.keypoints.copy()
    centre = np.array([track.width / 2, track.height / 2], np.float32)
    keypoints[..., :2] = (keypoints[..., :2] - centre) * by + centre
    return track.replaced(keypoints)


ALL = slice(0, body.COUNT)
LEGS = slice(body.LEFT_HIP, body.FEET.stop)


def test_nothing_is_wrong_with_what_the_model_was_trained_on(track):
    given = dict(track=track, reference=track.slice(0, 1), mask_area=np.full(FRAMES, 0.2), mode="replace")
    assert kinds(**given, free=10**12) == set()


def test_what_a_video_is_converted_from_is_in_the_plan():
    said = "'phone.mp4' is HDR (HLG, BT.2020): it is brought to SDR in BT.709."
    text = plan(notes=[said]).text()
    assert f"\n- {said}\n\n| Plan |" in text and "Nothing is wrong" in text
    assert "\n- " not in plan().text()


def test_nobody_in_some_frames(track):
    gone = without(track, ALL, slice(40, 61))
    (finding,) = [one for one in plan(track=gone).findings if one.kind == "no_person"]
    assert "frames 40-60" in finding.what and "start and limit" in finding.remedy
    assert "no_person" not in kinds(track=without(track, ALL, slice(40, 44))), "Clean Pose fills a short gap"
    assert kinds(track=without(track, ALL)) == {"no_person"}, "a face is not asked for where nobody is"


def test_a_small_face(track):
    assert "small_face" in kinds(track=shrunk(track, 0.4)) and "small_face" not in kinds(track=track)
    assert "no_face" in kinds(track=without(track, body.FACE))
    loaded = track.scaled(208, 120)  # as a track of a small video; the clip is large
    assert "small_face" not in kinds(track=loaded) and "small_face" in kinds(track=track, size=(208, 112))
    far = track.keypoints.copy()
    far[:50] = shrunk(track, 0.4).keypoints[:50]
    assert "small_face" not in kinds(track=track.replaced(far)), "a third of the clip"


def test_an_empty_mask(track):
    area = np.full(FRAMES, 0.2)
    area[7:9] = 0
    (finding,) = [one for one in plan(mask_area=area, track=track).findings if one.kind == "empty_mask"]
    assert "frames 7-8" in finding.what
    assert "empty_mask" in kinds(mask_area=np.zeros(FRAMES)) and "empty_mask" not in kinds(mask_area=np.ones(FRAMES))
    nobody = without(track, ALL, slice(0, 20))
    area = np.full(FRAMES, 0.2)
    area[:20] = 0
    assert "empty_mask" not in kinds(mask_area=area, track=nobody), "nobody is there to be masked"


def test_a_white_mask(track):
    area = np.full(FRAMES, 0.2)
    area[[4, 5, 80]] = 1
    given = dict(mode="replace", mask_area=area, track=track)
    assert kinds(**given) == {"white_mask"}
    text = plan(**given).text()
    assert "mask is white all over in frames 4-5, 80: nothing of the scene is kept there. Take mode animate" in text
    assert "white all over in every frame" in plan(**given | dict(mask_area=np.ones(1))).text()


def test_picture_and_driver_framed_otherwise(track):
    bust = without(track, LEGS).slice(0, 1)
    whole = track.slice(0, 1)
    pairs = (track, bust, "a picture that shows the feet"), (without(track, LEGS), whole, "cut the picture")
    for driver, picture, remedy in pairs:
        (finding,) = [one for one in plan(track=driver, reference=picture).findings if one.kind == "framing"]
        assert remedy in finding.remedy and "the shoulders" in finding.what and "the feet" in finding.what
    assert "framing" not in kinds(track=track, reference=whole)
    assert "framing" not in kinds(track=without(track, LEGS), reference=bust)
    assert "framing" in kinds(track=track, reference=without(whole, ALL)), "nobody in the picture"


def test_parts_outside_the_frame_are_not_shown(track):
    below = replace(track, height=300)  # the legs lie below it
    assert "framing" in kinds(track=below, reference=track.slice(0, 1))


@pytest.mark.parametrize(
    "kind, bad, good",
    [
        ("sides", {"size": (830, 480)}, {"size": (832, 464)}),
        ("size", {"size": (320, 192)}, {"size": (480, 832)}),
        ("size", {"size": (1920, 1088)}, {"size": (720, 1280)}),
        ("fps", {"fps": Fraction(60)}, {"fps": Fraction(24)}),
        ("fps", {"fps": Fraction(12)}, {"fps": Fraction(30000, 1001)}),
        ("segment_length", {"segment_length": 33}, {"segment_length": 33, "frames": 30}),
        ("previous_frames", {"previous_frames": 13}, {"previous_frames": 5}),
        ("last_segment", {"frames": 156}, {"frames": 180}),
        ("disk", {"free": 10**6}, {"free": 10**9}),
        ("vram", {"device": Device("NVIDIA GeForce RTX 4090", 25 * 10**9)}, {"device": Device("CPU")}),
        ("vram", {"device": Device("NVIDIA GeForce RTX 3060", 6 * 10**9)}, {"device": CARD}),
        ("vram", {"device": Device("A", 30 * 10**9)}, {"device": Device("A", 30 * 10**9), "weights": "fp8"}),
    ],
)  # fmt: skip
def test_settings(kind, bad, good):
    assert kind in kinds(**bad) and kind not in kinds(**good)


def test_the_limit_that_saves_a_segment_saves_it():
    (finding,) = [one for one in plan(156).findings if one.kind == "last_segment"]
    limit = int(finding.remedy.split("limit of ")[1].split()[0])
    assert len(plan(limit).segments) == len(plan(156).segments) - 1


def test_what_cannot_be_planned_is_said(track):
    for changes, says in (
        ({"segment_length": 10}, "segment length is 10"),
        ({"track": track.slice(0, 9)}, "the clip has 153 frames and the pose 9"),
        ({"mask_area": np.ones(5)}, "the character mask 5"),
        ({"weights": "int2"}, "choose bf16 or fp8"),
        ({"frames": 0}, "has no frames"),
    ):
        with pytest.raises(InputError, match=says):
            plan(**changes)
    assert plan(mask_area=np.ones(1)).mask_area.shape == (FRAMES,), "one mask for all frames"
