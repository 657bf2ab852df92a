"""Cleaning held against the truth: what is left of noise, what it costs a clean track, lag, and mistakes put right."""

import tracemalloc

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose import wholebody
from wan_animate.pose.clean import clean_track, smooth_points
from wan_animate.pose.repair import repair
from wan_animate.pose.track import PoseTrack
from wan_animate.time_series import noise_correlation, noise_level, smooth

from ..support.figures import dancer_track
from ..support.motion import dance, seen, walk

WIDTH, HEIGHT = 854, 480
ARMS = ([7, 9, *range(91, 112)], [8, 10, *range(112, 133)])


def noisy(track: PoseTrack, size: float, alike: float = 0.0, seed: int = 0) -> PoseTrack:
    """With Gaussian noise of ``size`` pixels, each frame's ``alike`` to the one before."""
    noise = np.random.default_rng(seed).normal(size=(len(track), wholebody.COUNT, 2)) * size
    for frame in range(1, len(noise)):
        noise[frame] = alike * noise[frame - 1] + np.sqrt(1 - alike**2) * noise[frame]
    keypoints = track.keypoints.copy()
    keypoints[..., :2] += noise
    return track.replaced(keypoints)


def distance(one: PoseTrack, other: PoseTrack, part=slice(None)) -> float:
    """Mean over the points that ``other`` shows."""
    way = np.linalg.norm(one.keypoints[..., :2] - other.keypoints[..., :2], axis=2)[:, part]
    return float(way[(other.keypoints[..., 2] >= 0.5)[:, part]].mean())


def lag(cleaned: PoseTrack, truth: PoseTrack, part=slice(None)) -> float:
    """By how many frames ``cleaned`` is late, by least squares on the truth's own velocity."""
    truth_points, shown = truth.keypoints[:, part, :2].astype(float), truth.keypoints[:, part, 2] >= 0.5
    velocity, error = np.gradient(truth_points, axis=0), cleaned.keypoints[:, part, :2] - truth_points
    return float(-(error * velocity)[shown].sum() / (velocity**2)[shown].sum())


@pytest.fixture(scope="module")
def real(examples):
    return PoseTrack.load(examples / "video_pose.npz").scaled(WIDTH, HEIGHT)


def walked(pace: float = 1.0) -> PoseTrack:
    return seen(walk(frames=120, pace=pace), WIDTH, HEIGHT, 220.0, ground=0.95)


def tracks() -> dict[str, PoseTrack]:
    return {
        "dancer": dancer_track(150, WIDTH, HEIGHT),
        "walk": walked(),
        "dance": seen(dance(frames=120), WIDTH, HEIGHT, 220.0, ground=0.95),
    }


@pytest.mark.parametrize("name", ["dancer", "walk", "dance"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_little_of_the_noise_is_left_in_generated_motion(name, size):
    track = tracks()[name]
    rough = noisy(track, size)
    cleaned = clean_track(rough)
    assert distance(cleaned, track) <= 0.4 * distance(rough, track)
    assert abs(lag(cleaned, track)) < 0.1


@pytest.mark.parametrize("name", ["dancer", "walk", "dance"])
def test_a_clean_track_is_left_nearly_as_it_is(name):
    track = tracks()[name]
    cleaned = clean_track(track)
    assert distance(cleaned, track) < 0.5
    assert np.array_equal(cleaned.keypoints[..., 2], track.keypoints[..., 2])


def test_the_real_track(real):
    """Its own hands shake by three pixels, which counts as truth here: so noise must be well above that."""
    assert distance(clean_track(real), real) <= 0.5
    for size in (4, 8):
        rough = noisy(real, size)
        cleaned = clean_track(rough)
        assert distance(cleaned, real) <= 0.4 * distance(rough, real)
        assert abs(lag(cleaned, real)) < 0.1
        for part in (slice(0, 17), wholebody.FACE, slice(91, 133)):
            assert abs(lag(cleaned, real, part)) < 0.1


def test_noise_that_lasts_over_frames_is_taken_out_too(real):
    track = dancer_track(150, WIDTH, HEIGHT)
    for truth, share in ((track, 0.45), (real, 0.55)):
        rough = noisy(truth, 4, alike=0.5)
        assert distance(clean_track(rough), truth) <= share * distance(rough, truth)


def test_backwards_is_the_same():
    rough = noisy(dancer_track(120, WIDTH, HEIGHT), 3)
    turned = clean_track(rough.replaced(rough.keypoints[::-1]))
    assert distance(clean_track(rough), rough.replaced(turned.keypoints[::-1])) < 0.05


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9, 20])
def test_short_clips(frames):
    rough = noisy(dancer_track(frames, WIDTH, HEIGHT), 2)
    cleaned = clean_track(rough)
    assert len(cleaned) == frames and distance(cleaned, rough) < 8


def test_strength(real):
    rough = noisy(real, 4)
    assert clean_track(rough, 0) is rough
    done = [distance(clean_track(rough, strength), rough) for strength in (0.05, 0.25, 0.5, 0.75, 1)]
    assert done == sorted(done) and done[0] < 0.2
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="strength"):
            clean_track(rough, wrong)


def test_nothing_is_carried_over_a_cut():
    first, second = noisy(dancer_track(40, WIDTH, HEIGHT), 2), dancer_track(40, WIDTH, HEIGHT, center=(0.2, 0.5))
    both = np.concatenate([first.keypoints, second.keypoints])
    whole = clean_track(PoseTrack(both, WIDTH, HEIGHT, cuts=(40,)))
    parts = [clean_track(PoseTrack(part, WIDTH, HEIGHT)).keypoints for part in (both[:40], both[40:])]
    assert np.array_equal(whole.keypoints, np.concatenate(parts))
    assert whole.cuts == (40,)


def changed(change) -> tuple[PoseTrack, PoseTrack]:
    truth = dancer_track(150, WIDTH, HEIGHT)
    keypoints = truth.keypoints.copy()
    change(keypoints)
    return truth, truth.replaced(keypoints)


@pytest.mark.parametrize("noise", [0, 2])
def test_swapped_arms_are_put_back(noise):
    left, right = ARMS
    truth = noisy(dancer_track(150, WIDTH, HEIGHT), noise)
    keypoints = truth.keypoints.copy()
    for frame in (*range(40, 46), 90):
        keypoints[frame][left], keypoints[frame][right] = truth.keypoints[frame][right], truth.keypoints[frame][left]
    repaired = repair(keypoints.astype(float), 30, 10)
    assert sorted(set(np.nonzero(repaired.swapped)[0].tolist())) == [*range(40, 46), 90]
    points = np.stack([repaired.points.real, repaired.points.imag], axis=-1)
    assert np.abs(points - truth.keypoints[..., :2]).max() < 1e-3


@pytest.mark.parametrize("pace", [1.0, 2.0])
def test_legs_that_cross_are_not_swapped(pace):
    track = noisy(walked(pace), 1)
    assert not repair(track.keypoints.astype(float), 30, 10).swapped.any()


@pytest.mark.parametrize("noise", [0, 2])
@pytest.mark.parametrize(
    ("joint", "frames", "away"),
    [
        (9, [70], (120, -60)),
        (13, [80, 81, 82], (-90, 0)),
        (10, [0], (100, 0)),
        (16, [149], (0, -110)),
        (0, [30, 31], (60, 60)),
    ],
)
def test_joints_that_jump_away_are_dropped_and_filled(joint, frames, away, noise):
    truth = noisy(dancer_track(150, WIDTH, HEIGHT), noise)
    keypoints = truth.keypoints.copy()
    keypoints[frames, joint, :2] += away
    repaired = repair(keypoints.astype(float), 30, 10)
    assert set(np.flatnonzero(repaired.dropped[:, joint])) == set(frames)
    others = np.delete(repaired.dropped, joint, axis=1)
    assert not others[:, :17].any()
    cleaned = clean_track(truth.replaced(keypoints)).keypoints[:, joint]
    inner = [frame for frame in frames if 0 < frame < 149]
    assert (cleaned[inner, 2] >= 0.5).all()
    off = np.linalg.norm(cleaned[inner, :2] - truth.keypoints[inner, joint, :2], axis=1)
    assert not len(off) or off.max() < 6 + 3 * noise


def test_true_motion_is_not_dropped(real):
    for track in (real, *tracks().values()):
        for size in (0, 1, 3):
            dropped = repair(noisy(track, size).keypoints.astype(float), 30, 10).dropped
            assert dropped.sum() <= 0.001 * dropped.size


def test_bones_far_too_long_are_dropped():
    def stretch(keypoints):
        keypoints[100:130, 7, :2] = keypoints[100:130, 5, :2] + (230, 0)

    truth, wrong = changed(stretch)
    repaired = repair(wrong.keypoints.astype(float), 30, 10)
    assert set(np.flatnonzero(repaired.dropped[:, 7])) == set(range(100, 130))
    assert not repaired.dropped[:, [5, 6, 8, 9, 10]].any()
    assert (clean_track(wrong).keypoints[100:130, 7, 2] == 0).all()  # too long to be filled in


def test_short_gaps_are_filled_along_the_arm_and_long_ones_stay_empty():
    def lose(keypoints):
        keypoints[40:48, 91:112] = 0
        keypoints[80:110, 91:112] = 0

    truth, lost = changed(lose)
    cleaned = clean_track(lost)
    hand = cleaned.keypoints[:, 91:112]
    assert (hand[40:48, :, 2] >= 0.5).all() and (hand[80:110, :, 2] == 0).all()
    off = np.linalg.norm(hand[40:48, :, :2] - truth.keypoints[40:48, 91:112, :2], axis=2)
    assert off.mean() < 6
    assert clean_track(lost, 1).keypoints[80:110, 91:112, 2].max() == 0


def test_gaps_are_not_filled_where_nobody_can_have_gone():
    def jump(keypoints):
        keypoints[40:44, 9] = 0
        keypoints[44:, 9, :2] += (0, 300)

    _, lost = changed(jump)
    assert (clean_track(lost).keypoints[40:44, 9, 2] < 0.5).all()


def test_faint_and_brief_sightings():
    def flicker(keypoints):
        keypoints[20:90, 91:112, 2] = 0.05  # gone
        keypoints[50, 91:112, 2] = 0.9  # and there for one frame
        keypoints[100:140:2, 13, 2] = 0.45  # flickers about what is drawn

    _, track = changed(flicker)
    confidence = clean_track(track).keypoints[..., 2]
    assert (confidence[21:89, 91:112] < 0.3).all()
    assert (confidence[100:140, 13] >= 0.5).all()


def test_points_count_by_their_confidence():
    truth = dancer_track(150, WIDTH, HEIGHT)
    bad = np.random.default_rng(5).random((150, 17)) < 0.3
    keypoints = noisy(truth, 1).keypoints.copy()
    keypoints[:, :17, :2] += np.where(bad[..., None], np.random.default_rng(6).normal(size=(150, 17, 2)) * 9, 0)
    blind = clean_track(truth.replaced(keypoints))
    keypoints[:, :17, 2] = np.where(bad, 0.35, 1)
    told = clean_track(truth.replaced(keypoints))
    body = slice(0, 17)
    assert distance(told, truth, body) < 0.8 * distance(blind, truth, body)


def test_what_was_never_seen_stays_as_it_came():
    track = dancer_track(60, WIDTH, HEIGHT)
    keypoints = noisy(track, 2).keypoints.copy()
    keypoints[:, 13:23, 2] = 0.02
    cleaned = clean_track(track.replaced(keypoints)).keypoints
    assert np.array_equal(cleaned[:, 13:23], keypoints[:, 13:23])
    nothing = np.zeros_like(keypoints)
    assert np.array_equal(clean_track(track.replaced(nothing)).keypoints, nothing)


def test_the_noise_is_measured():
    rng = np.random.default_rng(0)
    t = np.arange(300)[:, None]
    motion = 40 * np.sin(2 * np.pi * t / 40) + np.zeros((1, 20))  # 0.75 Hz
    ones = np.ones((300, 20))
    for size in (0.5, 2, 8):
        found = noise_level(motion + rng.normal(size=(300, 20)) * size, ones)
        assert abs(np.median(found) / size - 1) < 0.1
    assert noise_level(motion, ones).max() < 0.02
    for alike in (0.0, 0.3, 0.5):
        noise = rng.normal(size=(300, 40))
        for frame in range(1, 300):
            noise[frame] = alike * noise[frame - 1] + np.sqrt(1 - alike**2) * noise[frame]
        assert abs(noise_correlation(noise, np.ones((300, 40))) - alike) < 0.15


def test_smoothing_is_near_the_best_there_is():
    """A still path, a step and a wave, each against every single smoother of the bank."""
    t = np.arange(200)
    paths = np.stack([0 * t, 100.0 * (t >= 100), 60 * np.sin(2 * np.pi * t / 25)], axis=1)
    paths = np.repeat(paths, 40, axis=1)
    rough = paths + np.random.default_rng(1).normal(size=paths.shape) * 3
    weights, count = np.ones_like(rough), paths.shape[1]
    done = smooth(rough, weights, np.full(count, 3.0), np.arange(count))
    error = np.sqrt(((done - paths) ** 2).mean(axis=0)).reshape(3, 40).mean(axis=1)
    assert error[0] < 1.1 and error[1] < 1.8 and error[2] < 1.8  # of 3
    again = smooth(paths, weights, np.zeros(count), np.arange(count))
    assert np.abs(again - paths).max() < 1e-6


def test_long_shots_go_in_windows_that_nobody_sees():
    truth = dancer_track(1000, WIDTH, HEIGHT)
    rough = noisy(truth, 2)
    cleaned = clean_track(rough)
    assert distance(cleaned, truth) <= 0.3 * distance(rough, truth)
    # No step where windows meet: accelerations there are as everywhere.
    bend = np.abs(np.diff(cleaned.keypoints[..., :2] - truth.keypoints[..., :2], 2, axis=0)).mean(axis=(1, 2))
    assert bend.max() < 4 * np.median(bend)


def test_memory_does_not_grow_with_the_shot():
    def peak(frames: int) -> int:
        points = np.random.default_rng(0).normal(size=(frames, wholebody.COUNT)) + 0j
        tracemalloc.start()
        smooth_points(points, np.ones(points.shape))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found - 3 * points.nbytes  # the points themselves, in and out

    assert peak(1500) < 1.2 * peak(500)
