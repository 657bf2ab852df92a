"""What the pose report counts, says and draws."""

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.pose.clean import clean_track
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.canvas import CUT, LOST
from wan_animate.preview.report import jitter, mask_areas, pose_report, spans
from wan_animate.preview.report_plot import COLORS, MASK, draw_report, nice_step
from wan_animate.video.frames import TensorSource

from ..support.figures import dancer_track

WIDTH, HEIGHT = 854, 480


def shaken(size: float, frames: int = 90) -> PoseTrack:
    keypoints = dancer_track(frames, WIDTH, HEIGHT).keypoints.copy()
    keypoints[..., :2] += np.random.default_rng(0).normal(size=keypoints[..., :2].shape) * size
    return PoseTrack(keypoints, WIDTH, HEIGHT)


def test_jitter_is_the_noise_and_not_the_motion():
    for part, values in jitter(shaken(3)).items():
        # The mean length of a vector of two normal numbers is sqrt(pi / 2) of their deviation.
        assert abs(np.nanmean(values) / (3 * 1.2533) - 1) < 0.1, part
    for values in jitter(shaken(0)).values():
        assert np.nanmean(values) < 0.35
    still = PoseTrack(np.repeat(shaken(2, 1).keypoints, 20, axis=0), WIDTH, HEIGHT)
    assert all(np.nanmax(values) == 0 for values in jitter(still).values())


def test_jitter_stops_at_cuts_and_gaps():
    track = shaken(1, 40)
    cut = PoseTrack(track.keypoints, WIDTH, HEIGHT, cuts=(20,))
    values = jitter(cut)["body"]
    assert np.isnan(values[[0, 18, 19, 20, 38, 39]]).all() and np.isfinite(values[1:18]).all()
    keypoints = track.keypoints.copy()
    keypoints[:, 91:133, 2] = 0
    assert np.isnan(jitter(track.replaced(keypoints))["hands"]).all()
    assert all(np.isnan(value).all() for value in jitter(track.slice(0, 3)).values())


def test_what_cleaning_changed_is_counted():
    raw = shaken(2)
    keypoints = raw.keypoints.copy()
    keypoints[30:33, 112:133] = 0  # a gap that is filled
    keypoints[50, 13, :2] += 120  # a jump that is replaced
    keypoints[60:85, 7, :2] = keypoints[60:85, 5, :2] + (250, 0)  # an arm too long for too long
    raw = raw.replaced(keypoints)
    report = pose_report(clean_track(raw), raw)
    assert report.filled == 3 * 21 and report.moved == 1 and report.dropped == 25
    for part in ("body", "hands", "face", "feet"):
        assert np.nanmean(report.jitter[part]) < 0.4 * np.nanmean(report.raw_jitter[part])
    text = report.text()
    assert "filled in 63 points, took out 25 and put 1 elsewhere" in text
    assert "jitter of the face" in text and "before cleaning" in text


def test_missing_parts_are_named():
    keypoints = dancer_track(40, WIDTH, HEIGHT).keypoints.copy()
    keypoints[5:8, 91:112, 2] = 0
    keypoints[20, 91:112, 2] = 0
    keypoints[:, 23:91, 2] = 0
    report = pose_report(PoseTrack(keypoints, WIDTH, HEIGHT, cuts=(10,)))
    assert report.missing == {"body": 0, "face": 40, "left hand": 4, "right hand": 0}
    text = report.text()
    assert "left hand: not found in 4 frames (5-7, 20)." in text
    assert "face: not found in any frame." in text and "2 shots (cuts at 10)" in text
    assert "mask" not in text and "cleaning" not in text
    assert spans(np.arange(0, 40, 2)) == "0, 2, 4, 6, 8, 10, ..."


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mask_areas(dtype):
    masks = np.zeros((20, 10, 10), dtype)
    masks[:, :5, :4] = 255 if dtype == np.uint8 else 1
    masks[7] = 0
    seen = []
    assert np.allclose(
        mask_areas(TensorSource(masks), lambda done, total: seen.append((done, total))), [0.2] * 7 + [0] + [0.2] * 12
    )
    assert seen == [(8, 20), (16, 20), (20, 20)]
    report = pose_report(dancer_track(20, WIDTH, HEIGHT), mask=TensorSource(masks))
    assert "empty in 1 frames (7)" in report.text()
    masks[7] = masks[6]
    masks[12:] = 0
    masks[12:, :2, :4] = 255 if dtype == np.uint8 else 1
    assert "it jumps at 12." in pose_report(dancer_track(20, WIDTH, HEIGHT), mask=TensorSource(masks)).text()


def drawn(picture: np.ndarray, color) -> int:
    return int((np.abs(picture.astype(int) - color).max(axis=2) < 12).sum())


def test_the_plot():
    raw = shaken(2, 60)
    keypoints = raw.keypoints.copy()
    keypoints[20:45, 91:112] = 0
    raw = PoseTrack(keypoints, WIDTH, HEIGHT, cuts=(30,))
    mask = TensorSource(np.full((60, 8, 8), 128, np.uint8))
    picture = draw_report(pose_report(clean_track(raw), raw, mask))
    assert picture.shape == (700, 1200, 3) and picture.dtype == np.uint8
    for color in (*COLORS.values(), CUT, LOST, MASK):
        assert drawn(picture, color) > 50, color
    bare = draw_report(pose_report(dancer_track(60, WIDTH, HEIGHT)), 960, 560)
    assert bare.shape == (560, 960, 3)
    assert drawn(bare, MASK) == 0 and drawn(bare, CUT) == 0 and drawn(bare, LOST) < 250  # the legend's square


@pytest.mark.parametrize("frames", [1, 3, 2000])
def test_plots_of_all_lengths(frames):
    keypoints = np.resize(dancer_track(min(frames, 60), WIDTH, HEIGHT).keypoints, (frames, 133, 3))
    assert draw_report(pose_report(PoseTrack(keypoints, WIDTH, HEIGHT))).any()
    assert draw_report(pose_report(PoseTrack(np.zeros_like(keypoints), WIDTH, HEIGHT))).any()


def test_steps_of_the_axes_are_round():
    assert [nice_step(*pair) for pair in ((10, 5), (1, 3), (0.07, 3), (105, 10))] == pytest.approx([2, 0.5, 0.05, 20])


def test_other_clips_are_refused():
    track = dancer_track(10, WIDTH, HEIGHT)
    with pytest.raises(InputError, match="pose has 10 frames and raw has 9"):
        pose_report(track, track.slice(0, 9))
    with pytest.raises(InputError, match="mask has 4"):
        pose_report(track, mask=TensorSource(np.zeros((4, 8, 8), np.uint8)))
    with pytest.raises(InputError, match="carries pictures"):
        pose_report(track, mask=TensorSource(np.zeros((10, 8, 8, 3), np.uint8)))
