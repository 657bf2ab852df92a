"""Whether a mask holds the person of the pose: frames in which the old person would show are named, and no others."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.mask.coverage import (
    EMPTY,
    FAULTS,
    HEAD,
    LIMBS,
    LOST,
    PARTS,
    CheckedMaskSource,
    check_masks,
    uncovered,
    warn_of_uncovered,
)
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.mask.shape import ShapedMaskSource
from wan_animate.mask.track import MaskTrack, MaskTrackSource
from wan_animate.pose import wholebody as L
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.canvas import LOST as RED
from wan_animate.preview.coverage import coverage_picture
from wan_animate.video.frames import TensorSource

from ..support.figures import dancer_track
from ..support.reads import RecordedSource

WIDTH, HEIGHT, COUNT = 320, 180, 24
EVERYTHING = np.ones((HEIGHT, WIDTH), np.uint8)


@pytest.fixture(scope="module")
def pose():
    return dancer_track(COUNT, WIDTH, HEIGHT)


@pytest.fixture
def masks(pose):
    """Silhouettes of the dancer, uint8 of 0 and 255."""
    return PoseMaskSource(pose).read(0, COUNT).copy()


def without(mask: np.ndarray, points: np.ndarray, reach: int) -> np.ndarray:
    """The mask without a square around every point."""
    mask = mask.copy()
    for x, y in np.rint(points).astype(int):
        mask[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = 0
    return mask


def faults(coverage, frame: int) -> set[str]:
    return {fault for fault in FAULTS if coverage.frames(fault)[frame]}


def test_a_mask_of_the_person_is_not_complained_of(pose, masks):
    for source in (TensorSource(masks), PoseMaskSource(pose, grow=0.8), TensorSource(masks / np.float32(255))):
        coverage = check_masks(source, pose)
        assert not coverage.uncovered.any() and coverage.warnings == [] and coverage.worst is None
        assert coverage_picture(coverage, CheckedMaskSource(source, pose)) is None
    assert not check_masks(ShapedMaskSource(TensorSource(masks), 3, 7, 10, 20, cells=True), pose).uncovered.any()


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_mask_cut_in_half_is_named_by_its_frames(pose, masks, side):
    middle = pose.keypoints[7, [*L.DRAWN_FIRST], :2].mean(axis=0).astype(int)
    columns = {"left": slice(0, middle[0]), "right": slice(middle[0], None)}.get(side, slice(None))
    rows = {"top": slice(0, middle[1]), "bottom": slice(middle[1], None)}.get(side, slice(None))
    masks[[5, 6, 7, 15], rows, columns] = 0
    coverage = check_masks(TensorSource(masks), pose)
    assert np.flatnonzero(coverage.uncovered).tolist() == [5, 6, 7, 15]
    assert all("5-7" in words or "15" in words for words in coverage.warnings)


@pytest.mark.parametrize(
    "part, joints",
    [
        (HEAD, [*range(5), *range(L.FACE.start, L.FACE.stop)]),
        ("left hand", range(L.LEFT_HAND.start, L.LEFT_HAND.stop)),
        ("right hand", range(L.RIGHT_HAND.start, L.RIGHT_HAND.stop)),
        ("left foot", [L.LEFT_BIG_TOE, L.LEFT_SMALL_TOE]),
        ("right foot", [L.RIGHT_BIG_TOE, L.RIGHT_SMALL_TOE]),
        (LIMBS, [L.LEFT_KNEE]),
    ],
)
def test_the_part_that_is_left_out_is_named(pose, part, joints):
    keypoints = pose.keypoints[4]
    found = uncovered(without(EVERYTHING, keypoints[[*joints], :2], 4), keypoints)
    assert list(found) == [part] and set(found) <= set(PARTS)
    assert 0 < len(found[part]) <= len(joints) + 1


def test_the_top_of_the_head_counts(pose):
    """A mask that ends at the brows leaves the old hair."""
    keypoints = pose.keypoints[4]
    brows = keypoints[L.FACE.start + 17 : L.FACE.start + 27, 1].min()
    mask = EVERYTHING.copy()
    mask[: int(brows)] = 0
    assert list(uncovered(mask, keypoints)) == [HEAD]


def test_what_is_not_seen_or_not_in_the_picture_does_not_count(pose):
    keypoints = pose.keypoints[4].copy()
    hand = slice(L.LEFT_HAND.start, L.LEFT_HAND.stop)
    mask = without(EVERYTHING, keypoints[[L.LEFT_WRIST, *range(hand.start, hand.stop)], :2], 4)
    assert list(uncovered(mask, keypoints)) == ["left hand"]
    keypoints[[L.LEFT_WRIST, *range(hand.start, hand.stop)], 2] = 0.4
    assert uncovered(mask, keypoints) == {}
    outside = pose.keypoints[4].copy()
    outside[hand, :2] += (WIDTH, 0)
    outside[L.LEFT_WRIST, 2] = 0
    assert uncovered(EVERYTHING, outside) == {}
    low = pose.keypoints[4].copy()
    low[[L.LEFT_KNEE, L.RIGHT_KNEE], 1] = HEIGHT - 2  # behind the edge of a desk: a guess
    mask = EVERYTHING.copy()
    mask[HEIGHT - 5 :] = 0
    low[[*range(L.LEFT_ANKLE, L.RIGHT_HEEL + 1)], 2] = 0
    assert uncovered(mask, low) == {}
    assert uncovered(EVERYTHING * 0, np.zeros((133, 3), np.float32)) == {}


def test_a_point_beside_the_edge_may_be_the_poses_mistake(pose):
    keypoints = pose.scaled(4 * WIDTH, 4 * HEIGHT).keypoints[4]
    person = np.linalg.norm(keypoints[L.LEFT_SHOULDER, :2] - keypoints[L.RIGHT_SHOULDER, :2])
    x, y = np.rint(keypoints[L.LEFT_ELBOW, :2]).astype(int)
    for gap, named in ((0.02, False), (0.2, True)):
        mask = np.ones((4 * HEIGHT, 4 * WIDTH), np.uint8)
        reach = max(int(gap * person), 1) - 1
        mask[y - reach : y + reach + 1, x - reach : x + reach + 1] = 0
        assert (LIMBS in uncovered(mask, keypoints)) == named


def test_empty_and_lost_masks(pose, masks):
    masks[3:6] = 0
    masks[9] = 0
    masks[9, :20, :20] = 255  # something else
    nobody = pose.keypoints.copy()
    nobody[4] = 0
    coverage = check_masks(TensorSource(masks), pose.replaced(nobody))
    assert [faults(coverage, frame) for frame in (2, 3, 4, 5, 9)] == [set(), {EMPTY}, set(), {EMPTY}, {LOST}]
    empty, lost = coverage.warnings
    assert "empty in 2 of 24 frames (3, 5)" in empty and "Segment Character" in empty
    assert "not where the pose is in 1 of 24 frames (9)" in lost
    assert np.flatnonzero(check_masks(TensorSource(masks)).uncovered).tolist() == [3, 4, 5], "without a pose"
    face = pose.keypoints[0].copy()
    face[[*range(L.LEFT_SHOULDER, 23), *range(91, 133)], 2] = 0  # a close-up: too few joints to prompt with
    assert list(uncovered(EVERYTHING * 0, face)) == [EMPTY] and uncovered(EVERYTHING, face) == {}


def test_poses_of_another_size_and_single_masks(pose, masks):
    large = pose.scaled(4 * WIDTH, 4 * HEIGHT)
    assert not check_masks(TensorSource(masks), large).uncovered.any()
    union = TensorSource(masks.max(axis=0)[None])
    assert len(check_masks(union, pose).uncovered) == COUNT and not check_masks(union, pose).uncovered.any()
    cut = masks[:1].copy()
    cut[:, : HEIGHT // 2] = 0
    assert check_masks(TensorSource(cut), pose).uncovered.all()
    with pytest.raises(InputError, match="character mask, pose: it has 24 frames and there are 10 pictures"):
        check_masks(TensorSource(masks[:10]), pose)


def test_what_lies_beyond_a_window_is_outside_its_mask(pose, masks):
    """A window cut from the frames: its mask may hold all that it shows, and still leave a hand of the old person."""
    left, right = 60, 200
    hand = pose.keypoints[:, L.LEFT_HAND, 0]
    assert (hand.max(axis=1) < left).any() or (hand.max(axis=1) > right).any()
    shifted = pose.keypoints - np.array([left, 0, 0], np.float32)
    shifted = PoseTrack(shifted, right - left, HEIGHT, pose.fps)
    window = TensorSource(masks[:, :, left:right])
    pictures = np.tile([-float(left), 0, WIDTH, HEIGHT], (COUNT, 1))
    assert not CheckedMaskSource(window, shifted).coverage().uncovered.any()
    inside = replace(shifted, pictures=pictures)
    found = CheckedMaskSource(window, inside).coverage()
    twice = TensorSource(np.repeat(np.repeat(masks[:, :, left:right], 2, axis=1), 2, axis=2))
    assert np.array_equal(CheckedMaskSource(twice, inside).coverage().uncovered, found.uncovered)
    cut = masks.copy()
    cut[:, :, :left] = cut[:, :, right:] = 0
    assert np.array_equal(found.faults, check_masks(TensorSource(cut), pose).faults) and found.uncovered.any()


def test_checking_changes_nothing_and_reads_nothing_twice(pose, masks):
    masks[20, :, : WIDTH // 2] = 0
    source = RecordedSource(masks)
    checked = CheckedMaskSource(source, pose)
    assert checked.fingerprint() == source.fingerprint() and checked.is_black() is False and checked.kind == "mask"
    assert np.array_equal(checked.read(0, 16), masks[:16]) and np.array_equal(checked.read(3, 5), masks[3:5])
    before = list(source.reads)
    done = []
    coverage = checked.coverage(lambda *at: done.append(at))
    assert source.reads == [*before, (16, 24)] and done == [(8, 24), (16, 24), (24, 24)]
    assert np.flatnonzero(coverage.uncovered).tolist() == [20]
    assert np.array_equal(check_masks(TensorSource(masks), pose).faults, coverage.faults)


def test_masks_that_leave_nothing_of_the_scene_are_named(pose, masks, caplog):
    """White in every 8x8 cell, as the latent has it; with a pose and without."""
    masks[3:6] = masks[9] = 255
    masks[9, 1::8] = 0  # every cell has some
    masks[12] = 255
    masks[12, 40:48, 80:88] = 0  # one cell has none
    for track in (pose, None):
        coverage = check_masks(TensorSource(masks), track)
        assert np.flatnonzero(coverage.white).tolist() == [3, 4, 5, 9] and coverage.worst == 3
        (words,) = coverage.warnings
        assert "white all over in 4 frames (3-5, 9): nothing of the scene is kept" in words and "animate" in words
    assert not check_masks(TensorSource(np.zeros_like(masks))).white.any()
    checked = CheckedMaskSource(TensorSource(np.full((4, HEIGHT, WIDTH), 255, np.uint8)))
    with caplog.at_level(logging.WARNING):
        (words,) = warn_of_uncovered(checked.coverage(), "shape mask")
    assert "white all over in every frame" in words and words in caplog.text
    assert (coverage_picture(checked.coverage(), checked)[-3:] == RED).all()


def test_what_was_read_is_told_before_the_rest_is(masks):
    masks[2] = masks[20] = 255
    source = RecordedSource(masks)
    checked = CheckedMaskSource(source)
    checked.read(0, 8)
    assert np.flatnonzero(checked.found().white).tolist() == [2] and source.reads == [(0, 8)]


def test_the_warning_is_logged_and_drawn(pose, masks, caplog):
    masks[5:9] = without(masks[5], pose.keypoints[5:9, L.LEFT_HAND].reshape(-1, 3)[:, :2], 6)
    checked = CheckedMaskSource(TensorSource(masks), pose)
    with caplog.at_level(logging.WARNING):
        (words,) = warn_of_uncovered(checked.coverage(), "shape mask")
    assert f"shape mask: {words}" in caplog.text and "left hand 5-8" in words and "Raise grow iterations" in words
    clip = TensorSource(np.full((COUNT, 90, 160, 3), 120, np.uint8))
    for frames in (None, clip):
        picture = coverage_picture(checked.coverage(), checked, frames)
        assert picture.shape[1] == 960 and (picture[-3:] == RED).all()
        assert (picture[:540] == RED).all(axis=2).sum() > 20, "the points outside"


def test_the_real_presenter(examples):
    """The mask of the example clip drops a moving hand in places: that is seen, and mended by the shape's defaults."""
    pose = PoseTrack.load(examples / "video_pose.npz").scaled(480, 270)
    masks = MaskTrackSource(MaskTrack.load(examples / "video_mask.npz"), width=480, height=270)
    raw = check_masks(masks, pose)
    assert 15 < raw.uncovered.sum() < 45 and not raw.frames(HEAD).any() and not raw.frames("right hand").any()
    assert raw.frames("left hand")[[0, 33, 60]].all() and not raw.uncovered[[25, 45, 50, 75]].any()
    shaped = ShapedMaskSource(masks, stabilize=2, cells=True)
    assert check_masks(shaped, pose).uncovered.sum() <= 4
    assert not check_masks(PoseMaskSource(pose), pose).uncovered.any()
    half = shaped.read(0, len(masks)).copy()
    half[40:52, :, 300:] = 0
    half[70] = 0
    cut = check_masks(TensorSource(half), pose)
    assert cut.uncovered[40:52].all() and faults(cut, 70) == {EMPTY} and cut.uncovered.sum() <= 17
