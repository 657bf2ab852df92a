"""What retargeting, the edit prompts and the preview say to input they cannot use, and what they say at all."""

from pathlib import Path

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.retarget import retarget_sheet
from wan_animate.retarget.edit_prompts import edit_prompts
from wan_animate.retarget.placement import sized
from wan_animate.retarget.retarget import best_frame, retarget
from wan_animate.video.frames import TensorSource

from ..support.motion import BODIES, LEGS, dance, picture_of, seen, stance, without

ARMS = (7, 8, 9, 10, *range(91, 133))


@pytest.fixture(scope="module")
def driver():
    return seen(dance(frames=60), 960, 540, 220.0)


def nobody(frames: int = 1) -> PoseTrack:
    return PoseTrack(np.zeros((frames, 133, 3)), 640, 480)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"reference": "clip"}, ["reference_pose", "60 frames", "one picture"]),
        ({"reference": nobody()}, ["reference_pose", "no body", "choose"]),
        ({"driver": nobody(5)}, ["pose:", "5 frames", "choose a clip"]),
        ({"driver_edit": "clip"}, ["driver_edit_pose", "60 frames"]),
        ({"reference_edit": nobody()}, ["reference_edit_pose", "no body"]),
        ({"proportions": 1.5}, ["proportions is 1.5", "between 0"]),
        ({"align": "knees"}, ["align", "'knees'", "auto, feet, hips, neck"]),
        ({"travel": "far"}, ["travel", "'far'", "in picture, full, none"]),
    ],
)
def test_bad_input_is_named_in_one_sentence(driver, wrong, words):
    wrong = {key: driver if isinstance(value, str) and value == "clip" else value for key, value in wrong.items()}
    with pytest.raises(InputError) as error:
        retarget(**{"driver": driver, "reference": picture_of("child"), **wrong})
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".") and ". " not in message and "\n" not in message


def test_points_far_outside_or_piled_up_do_no_harm(driver):
    keypoints = driver.keypoints.copy()
    keypoints[10, 7, :2] = 1e7
    keypoints[20, :, :2] = 5.0
    keypoints[30, 9, :2] = np.nan
    result = retarget(driver.replaced(keypoints), picture_of("child"))
    assert np.isfinite(result.keypoints).all()
    whole = retarget(driver, picture_of("child"))
    others = np.ones(60, bool)
    others[[10, 20, 30]] = False
    assert np.abs(whole.keypoints - result.keypoints)[others, :17, :2].max() < 8


def test_a_head_alone_is_no_body(driver):
    with pytest.raises(InputError, match="no body"):
        retarget(without(driver, *range(5, 23), *range(91, 133)), picture_of("child"))


def test_the_size_is_the_references_shape_at_the_clips_pixels():
    reference = picture_of("child")  # 480 x 832
    small = sized(reference, 416 * 240)
    assert small.width % 16 == 0 and small.height % 16 == 0
    assert small.width * small.height <= 416 * 240
    assert small.width / small.height == pytest.approx(480 / 832, rel=0.06)
    # as the picture itself would be letterboxed
    np.testing.assert_array_equal(small.keypoints, reference.letterboxed(small.width, small.height).keypoints)


def test_prompts_ask_for_what_the_driver_shows(driver):
    whole = edit_prompts(driver, picture_of("child"))
    assert "straight legs" in whole.driver and "straight legs" in whole.reference
    assert "out to the sides" in whole.driver, "a wide picture"
    assert "hang straight down" in whole.reference, "a tall one"
    half = edit_prompts(without(driver, *LEGS), picture_of("child"))
    assert "legs" not in half.driver and "Both hands" in half.driver and "legs" not in half.reference
    bust = edit_prompts(without(driver, *LEGS, *ARMS), picture_of("child"))
    assert "into the camera" in bust.driver and "arms" not in bust.reference.lower()
    for prompts in (whole, half, bust):
        assert "Keep the same person" in prompts.driver and "Keep the same person" in prompts.reference


def test_prompts_ask_to_zoom_out_or_turn_around_where_needed(driver):
    assert "Zoom out" in edit_prompts(driver, picture_of("upper body only")).reference
    assert "Zoom out" not in edit_prompts(driver, picture_of("child")).reference
    for yaw, turned in ((0.2, False), (1.4, True), (3.1, True)):
        reference = seen([stance(BODIES["child"], yaw)], 480, 832, 400.0, ground=0.9)
        assert ("turned around" in edit_prompts(driver, reference).reference) == turned, yaw


def test_the_prompts_frame_is_the_one_that_shows_most(driver):
    keypoints = driver.keypoints.copy()
    keypoints[:40, 9] = keypoints[:40, 7]  # a forearm that cannot be seen
    late = driver.replaced(keypoints)
    assert edit_prompts(late, picture_of("child")).frame == best_frame(late) >= 40


def test_prompts_refuse_what_they_cannot_judge(driver):
    with pytest.raises(InputError, match="reference_pose.*60 frames"):
        edit_prompts(driver, driver)
    with pytest.raises(InputError, match="^pose: no body"):
        edit_prompts(nobody(3), picture_of("child"))


def test_the_wording_is_our_own():
    text = (Path(__file__).parents[2] / "wan_animate" / "retarget" / "edit_prompts.py").read_text(encoding="utf-8")
    for theirs in ("standard T-pose", "face oriented forward", "arms extending straight down by the sides"):
        assert theirs not in text


def test_the_preview_shows_all_three():
    poses = dance(frames=20)
    driver = seen(poses, 320, 180, 70.0)
    reference = picture_of("child")
    result = retarget(driver, reference)
    plain = retarget_sheet(driver, reference, result, moments=3)
    assert plain.dtype == np.uint8 and plain.ndim == 3
    frames = TensorSource(np.full((20, 90, 160, 3), 200, np.uint8))
    picture = np.full((832, 480, 3), (0, 100, 200), np.uint8)
    over = retarget_sheet(driver, reference, result, frames, picture, first=7, moments=3)
    assert over.shape == plain.shape
    assert (over == 200).all(axis=2).mean() > 0.1, "the video's frames"
    assert (over == (0, 35, 70)).all(axis=2).mean() > 0.1, "the dimmed picture"
    ghost = (np.abs(plain.astype(int) - plain[..., :1]).max(axis=2) <= 6) & (plain[..., 0] > 70) & (plain[..., 0] < 160)
    right = round(384 * 320 / 180)  # the driver is left of it
    assert ghost[:, right:].sum() > 100 and ghost[30:400, :right].sum() == 0
    assert ((plain[..., 0] > 100) & (plain[..., 2] == 0)).any(), "skeletons in the model's colours"


@pytest.mark.parametrize("size, beside, most", [((320, 180), True, 0.24), ((180, 320), False, 0.45)])
def test_the_preview_uses_the_nodes_room(size, beside, most):
    """A picture's height in a node's room 1 high and 0.85 wide: of five columns it was 0.09 and 0.29."""
    driver = seen(dance(frames=9), *size, 70.0)
    sheet = retarget_sheet(driver, PoseTrack(driver.keypoints[:1], *size), driver)
    height, width = sheet.shape[:2]
    assert 384 * min(0.85 / width, 1 / height) > most - 0.02
    one = round(384 * size[0] / size[1])
    assert abs(width - (2 if beside else 3) * one) < 30, "two beside each other, or a column for each of three moments"
