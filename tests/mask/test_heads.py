"""Mask from Pose covers hair, hats and big heads."""

from dataclasses import replace

import numpy as np
import pytest

from demo.figure import figure_keypoints
from wan_animate.mask.from_pose import PoseMaskSource, silhouette
from wan_animate.mask.lost import fill_lost
from wan_animate.mask.track import MaskTrack, MaskTrackSource
from wan_animate.pose import wholebody
from wan_animate.pose.track import PoseTrack

from ..support.hats import HATS, above_shoulders, box_of, person

WIDTH, HEIGHT = 640, 480
FRAMES = range(0, 40, 8)


def dancer(at: int) -> np.ndarray:
    return figure_keypoints(at / 15, WIDTH, HEIGHT, size=0.7, center=(0.5, 0.62))


def uncovered(hat: str, boxed: bool, at: int) -> tuple[float, int, float]:
    """(uncovered share of the person above the shoulders, rows by which the mask is higher, mask over person)"""
    keypoints = dancer(at)
    true = person(keypoints, WIDTH, HEIGHT, hat)
    mask = silhouette(keypoints, WIDTH, HEIGHT, box=box_of(true) if boxed else None) > 0
    head = true & above_shoulders(keypoints, true.shape)
    higher = np.flatnonzero(true.any(axis=1))[0] - np.flatnonzero(mask.any(axis=1))[0]
    return (head & ~mask).sum() / head.sum(), int(higher), mask.sum() / true.sum()


@pytest.mark.parametrize("hat", HATS)
def test_a_persons_box_says_how_high_the_hat_goes(hat):
    for at in FRAMES:
        shows, higher, size = uncovered(hat, True, at)
        assert shows < (0.07 if hat == "big head" else 0.005)
        assert 0 < higher < 20  # of a head of 90 rows
        assert size < 1.95


@pytest.mark.parametrize("hat", [hat for hat in HATS if hat != "wizard's hat"])
def test_without_a_box_there_is_room_for_a_top_hat(hat):
    for at in FRAMES:
        shows, higher, size = uncovered(hat, False, at)
        assert shows < (0.25 if hat == "big head" else 0.005)  # at its sides alone
        assert higher > 0 and size < 1.95


def test_a_bare_head_with_a_box_costs_next_to_nothing():
    for at in FRAMES:
        keypoints = dancer(at)
        true = person(keypoints, WIDTH, HEIGHT)
        boxed, free = (silhouette(keypoints, WIDTH, HEIGHT, box=box) for box in (box_of(true), None))
        below = ~above_shoulders(keypoints, true.shape)
        assert np.array_equal(boxed[below], free[below])
        assert boxed.sum() < 0.95 * free.sum()


def test_a_raised_hand_says_nothing_of_the_hat():
    keypoints = dancer(0)
    keypoints[wholebody.RIGHT_WRIST, :2] = keypoints[0, :2] + (-40, -150)
    keypoints[wholebody.RIGHT_HAND, :2] += (
        keypoints[wholebody.RIGHT_WRIST, :2] - keypoints[wholebody.RIGHT_HAND.start, :2]
    )
    true = person(keypoints, WIDTH, HEIGHT, "top hat")
    raised = silhouette(keypoints, WIDTH, HEIGHT, box=box_of(true))
    assert np.array_equal(raised, silhouette(keypoints, WIDTH, HEIGHT))


def test_a_box_around_the_points_says_nothing_of_the_hat():
    """From keypoints of other packs, or with a score below 0."""
    keypoints = dancer(3)
    low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
    free = silhouette(keypoints, WIDTH, HEIGHT)
    for box in ([*low, *high, 1.0], [0, 0, WIDTH, HEIGHT, -1]):
        assert np.array_equal(silhouette(keypoints, WIDTH, HEIGHT, box=np.float32(box)), free)


def test_masks_and_filled_frames_go_by_the_tracks_boxes():
    keypoints = np.stack([dancer(at) for at in range(4)])
    true = np.stack([person(one, WIDTH, HEIGHT, "wizard's hat") for one in keypoints])
    boxes = np.stack([box_of(one) for one in true])
    track = PoseTrack(keypoints, WIDTH, HEIGHT, boxes=boxes)
    masks = PoseMaskSource(track).read(0, 4) > 0
    head = true & np.stack([above_shoulders(one, true.shape[1:]) for one in keypoints])
    assert not (head & ~masks).any()
    assert PoseMaskSource(track).fingerprint() != PoseMaskSource(replace(track, boxes=None)).fingerprint()
    small = PoseMaskSource.at_size(track, 320, 240).read(0, 4) > 0
    assert not (head[:, ::2, ::2] & ~small).mean() > 1e-4
    empty = MaskTrack.from_source(MaskTrackSource(MaskTrack.from_source(PoseMaskSource(track))))
    filled = fill_lost(empty, np.array([False, True, False, False]), track)
    assert np.array_equal(filled.read(1, 2)[0] > 0, masks[1])


def test_the_real_presenters_mask_grows_little(examples):
    track = PoseTrack.load(examples / "video_pose.npz").scaled(960, 540)
    true = MaskTrack.load(examples / "video_mask.npz").read(0, 106)[::7] > 0
    boxes = np.zeros((106, 5), np.float32)
    boxes[::7] = [box_of(one) for one in true]
    for given, most in ((None, 1.25), (boxes, 1.21)):
        mask = PoseMaskSource(replace(track, boxes=given)).read(0, 106)[::7] > 0
        head = true & np.stack([above_shoulders(one, true.shape[1:]) for one in track.keypoints[::7]])
        assert (head & ~mask).sum() < 0.006 * head.sum() and mask.sum() < most * true.sum()
        assert all(np.argmax(one.any(axis=1)) < np.argmax(other.any(axis=1)) for one, other in zip(mask, true))
