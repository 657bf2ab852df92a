"""What used to go on in silence: nearly nobody found, a black mask, a single mask or picture for a whole clip."""

import logging

import numpy as np
import pytest
import torch

from wan_animate.chain.conditioning import build_conditioning
from wan_animate.chain.controls import controls
from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.latents import CachedVAE
from wan_animate.chain.segments import plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.log import SEGMENT_MASK, heard
from wan_animate.mask.background import BackgroundSource
from wan_animate.mask.from_pose import PoseMaskSource
from wan_animate.mask.shape import ShapedMaskSource
from wan_animate.mask.track import MaskTrack, MaskTrackSource
from wan_animate.pose.clean import clean_track
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.pose.found import warn_if_rarely_found
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.canvas import LOST, with_warnings
from wan_animate.preview.rarely_found import found_picture
from wan_animate.preview.report import pose_report
from wan_animate.preview.report_plot import draw_report
from wan_animate.video.derived import RepeatedSource, ResizedSource, lasting
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainDenoiser, PlainVAE, make_job
from ..support.figures import dancer_track
from ..support.reads import RecordedSource

WIDTH, HEIGHT, COUNT = 160, 96, 18


def found_in(*frames: int) -> PoseTrack:
    keypoints = dancer_track(COUNT, WIDTH, HEIGHT).keypoints.copy()
    keypoints[np.setdiff1d(np.arange(COUNT), frames)] = 0
    return PoseTrack(keypoints, WIDTH, HEIGHT)


@pytest.mark.parametrize("frames", [(9,), (7, 8)])
def test_a_person_who_is_cleaned_away_is_an_error(frames):
    words = "only 1 of 18 frames \\(9\\)" if len(frames) == 1 else "only 2 of 18 frames \\(7-8\\)"
    with pytest.raises(InputError, match=f"clean pose: a body was found in {words}.* strength to 0"):
        clean_track(found_in(*frames))
    clip = TensorSource(np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(InputError, match="clean pose: a body was found"):
        controls(clip, found_in(*frames), "replace")
    assert clean_track(found_in(*frames), 0).body_found.sum() == len(frames)


def test_a_person_found_now_and_then_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        cleaned = clean_track(found_in(*range(6)))
    assert "a body was found in 6 of 18 frames (0-5)" in caplog.text
    report = pose_report(cleaned)
    assert report.text().startswith("Warning: a body was found in 6 of 18 frames (0-5)")
    picture = draw_report(report, 960, 560)
    assert picture.shape == (560, 960, 3) and (picture[-5, :, :] == LOST).all()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        whole = clean_track(found_in(*range(9)))  # half of the clip: somebody who leaves
    assert not caplog.text and not pose_report(whole).warnings and "Warning" not in pose_report(whole).text()


@pytest.mark.parametrize("frames", [(9,), (7, 8)])
def test_a_person_hardly_found_is_said_without_cleaning(frames, caplog):
    track, words = found_in(*frames), f"a body was found in {len(frames)} of 18 frames"
    with caplog.at_level(logging.WARNING):
        assert clean_track(track, 0) is track
    assert f"clean pose: {words}" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        said = warn_if_rarely_found(track, "draw pose")
    assert said.startswith(words) and f"draw pose: {words}" in caplog.text
    shown = found_picture(track, said)
    assert shown.shape[1] == 640 and (shown[-3:] == LOST).all() and shown[:360].any()
    assert warn_if_rarely_found(found_in(*range(9)), "draw pose") is None


def test_nobody_at_all_has_a_picture_too():
    nobody = PoseTrack(np.zeros((COUNT, 133, 3), np.float32), 32, 4000)
    shown = found_picture(nobody, warn_if_rarely_found(nobody, "draw pose"))
    assert not shown[:360].any() and (shown[-3:] == LOST).all()


def test_warnings_are_wrapped_beneath_a_picture():
    picture = np.full((40, 300, 3), 7, np.uint8)
    assert with_warnings(picture, []) is picture
    shown = with_warnings(picture, ["a sentence that is too long to be written on a single line of this picture"])
    assert shown.shape[1:] == (300, 3) and len(shown) >= 40 + 2 * 20 and np.array_equal(shown[:40], picture)


def job(**changes) -> AnimateJob:
    track = dancer_track(COUNT, WIDTH, HEIGHT)
    clip = np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8)
    settings = dict(
        reference=torch.zeros(HEIGHT, WIDTH, 3),
        pose=DrawnPoseSource(track),
        mode="replace",
        background=TensorSource(clip),
        character_mask=PoseMaskSource(track),
        segment_length=9,
    )
    return make_job(**{**settings, **changes})


def test_a_black_mask_is_refused_before_sampling():
    job().check()
    for value in (0, 100):  # below half of full scale is black to the model
        black = TensorSource(np.full((COUNT, HEIGHT, WIDTH), value, np.uint8))
        with pytest.raises(InputError, match="character mask is black in all 18 frames.* invert it"):
            job(character_mask=black).check()
    with pytest.raises(InputError, match="character mask is black in all 18 frames"):
        job(character_mask=TensorSource(np.zeros((1, HEIGHT, WIDTH), np.float32))).check()
    nobody = PoseTrack(np.zeros((COUNT, 133, 3), np.float32), WIDTH, HEIGHT)
    unseen = PoseMaskSource(nobody)
    packed = MaskTrackSource(MaskTrack.from_source(unseen))
    for mask in (unseen, packed, ShapedMaskSource(unseen, stabilize=2), ShapedMaskSource(packed, cells=True)):
        with pytest.raises(InputError, match="character mask is black in all 18 frames"):
            job(character_mask=mask).check()
    assert ResizedSource(packed, 20, 20).is_black()
    assert not MaskTrackSource(MaskTrack.from_source(PoseMaskSource(dancer_track(2, WIDTH, HEIGHT)))).is_black()
    late = np.zeros((COUNT, HEIGHT, WIDTH), np.float32)
    late[-1, 5, 5] = 1
    job(character_mask=TensorSource(late)).check()


def test_a_black_mask_is_named_in_the_report():
    report = pose_report(
        dancer_track(COUNT, WIDTH, HEIGHT), mask=TensorSource(np.zeros((COUNT, HEIGHT, WIDTH), np.uint8))
    )
    assert "Warning: the mask is empty in every frame" in report.text() and draw_report(report).any()


def test_a_black_pose_is_said(caplog):
    nobody = PoseTrack(np.zeros((COUNT, 133, 3), np.float32), WIDTH, HEIGHT)
    with caplog.at_level(logging.WARNING):
        made = job(pose=DrawnPoseSource(nobody))
        made.check()
    assert "the pose video is black in all 18 frames" in caplog.text


def test_a_black_mask_that_only_reading_tells_is_said(caplog):
    class Unread(TensorSource):
        def is_black(self):
            return None

    masks = np.zeros((COUNT, HEIGHT, WIDTH), np.float32)
    masks[:8, 4, 4] = 1
    work = job(character_mask=Unread(masks))
    work.check()
    reference = torch.zeros(1, 16, 1, HEIGHT // 8, WIDTH // 8)
    with caplog.at_level(logging.WARNING), heard([SEGMENT_MASK]) as beside_masks:
        for segment in list(plan_segments(COUNT, 9, 1))[:2]:
            before = torch.zeros(segment.previous_frames, HEIGHT, WIDTH, 3) if segment.previous_frames else None
            build_conditioning(segment, work.controls, CachedVAE(PlainVAE()), reference, before)
    assert caplog.text.count("the character mask is black in frames") == 1 and beside_masks == []


def test_a_white_mask_is_said_before_its_segment_is_sampled(caplog):
    """With the frames, those of the padding left out; frames that two segments share are said with both."""
    masks = np.zeros((COUNT, HEIGHT, WIDTH), np.uint8)
    masks[:, 4:9, 4:9] = masks[2:4] = masks[8:10] = masks[17] = 255
    work = job(character_mask=TensorSource(masks))
    work.check()
    reference = torch.zeros(1, 16, 1, HEIGHT // 8, WIDTH // 8)
    said = []
    for segment in plan_segments(COUNT, 9, 1):
        caplog.clear()
        before = torch.zeros(segment.previous_frames, HEIGHT, WIDTH, 3) if segment.previous_frames else None
        with caplog.at_level(logging.WARNING):
            build_conditioning(segment, work.controls, CachedVAE(PlainVAE()), reference, before)
        said.append(caplog.text.partition("white all over in ")[2].partition(":")[0])
    assert said == ["frames 2-3, 8", "frames 8-9", "frames 17"]


def test_what_is_in_memory_is_known_to_be_black_or_not():
    assert TensorSource(np.zeros((9, 4, 4, 3), np.uint8)).is_black()
    assert TensorSource(np.full((9, 4, 4), 0.49, np.float32)).is_black()
    masks = np.zeros((60, 8, 8), np.float32)
    masks[20:, 3, 3] = 0.5
    assert not TensorSource(masks).is_black() and TensorSource(masks[:20]).is_black()


def test_one_mask_and_one_background_stand_for_every_frame():
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, 20:60, 30:70] = 255
    scene = np.random.default_rng(0).integers(1, 255, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    one = job(character_mask=TensorSource(mask), background=TensorSource(scene))
    one.check()
    many = job(
        character_mask=TensorSource(np.repeat(mask, COUNT, 0)), background=TensorSource(np.repeat(scene, COUNT, 0))
    )
    for name in ("character_mask", "background"):
        assert np.array_equal(getattr(one.controls, name).read(3, 14), getattr(many.controls, name).read(3, 14))
        assert getattr(one.controls, name).fps == one.controls.pose.fps
    frames = np.random.default_rng(1).integers(1, 255, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    shaped = ShapedMaskSource(TensorSource(mask), stabilize=2)
    cut = BackgroundSource(TensorSource(frames), shaped).read(2, 9)
    assert np.array_equal(cut, frames[2:9] * (shaped.read(0, 1)[..., None] < 128))
    track = dancer_track(COUNT, WIDTH, HEIGHT)
    moving = BackgroundSource(TensorSource(scene), PoseMaskSource(track))
    assert len(moving) == COUNT
    assert np.array_equal(moving.read(4, 5), scene * (PoseMaskSource(track).read(4, 5)[..., None] < 128))
    assert "without jumps" in pose_report(track, mask=TensorSource(mask)).text()


def test_one_stays_one_where_there_is_one():
    single = TensorSource(np.zeros((1, 4, 4), np.uint8))
    assert lasting(single, single) is single
    two = TensorSource(np.zeros((2, 4, 4), np.uint8))
    assert lasting(two, TensorSource(np.zeros((5, 4, 4), np.uint8))) is two
    with pytest.raises(InputError, match="there are 2"):
        RepeatedSource(two, 5)


def half_masked(frames: slice) -> np.ndarray:
    masks = PoseMaskSource(dancer_track(COUNT, WIDTH, HEIGHT)).read(0, COUNT).copy()
    masks[frames, : HEIGHT // 2] = 0
    return masks


def test_a_mask_that_leaves_the_old_person_is_named_at_the_end_of_the_run(tmp_path):
    """It is checked as the run reads it: once a frame, and by the end only what a resumed run did not read is left."""
    mask = RecordedSource(half_masked(slice(10, 13)))
    work = job(character_mask=mask, background=TensorSource(np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8)))
    store = SegmentStore(tmp_path / "job")
    generate(work, PlainDenoiser(), PlainVAE(), store).close()
    read = list(mask.reads)
    coverage = work.controls.checked_mask.coverage()
    assert mask.reads == read and sorted(frame for part in read for frame in range(*part)) == list(range(COUNT))
    assert np.flatnonzero(coverage.uncovered).tolist() == [10, 11, 12] and "10-12" in coverage.warnings[0]

    mask = RecordedSource(half_masked(slice(10, 13)))
    again = job(character_mask=mask, background=TensorSource(np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8)))
    assert again.key() == work.key()
    for number in range(1, 3):
        store.frames_path(number).unlink()
    generate(again, PlainDenoiser(), PlainVAE(), store).close()
    assert np.array_equal(again.controls.checked_mask.coverage().faults, coverage.faults)


def test_a_pose_that_came_as_pictures_tells_only_of_empty_masks():
    masks = half_masked(slice(10, 13))
    masks[4] = 0
    drawn = TensorSource(DrawnPoseSource(dancer_track(COUNT, WIDTH, HEIGHT)).read(0, COUNT))
    coverage = job(pose=drawn, character_mask=TensorSource(masks)).controls.checked_mask.coverage()
    assert np.flatnonzero(coverage.uncovered).tolist() == [4]
    assert make_job(torch.zeros(HEIGHT, WIDTH, 3), pose=drawn).controls.checked_mask is None


def test_a_pose_drawn_at_another_size_is_compared_where_it_was_drawn():
    track = dancer_track(COUNT, WIDTH, HEIGHT)
    for width, height, fit in ((320, 192, "fill"), (160, 160, "pad"), (64, 48, "fill")):
        drawn = DrawnPoseSource.at_size(track, width, height, fit)
        placed = PoseMaskSource.at_size(track, width, height, fit, grow=1.5)
        assert not job(pose=drawn, character_mask=placed).controls.checked_mask.coverage().uncovered.any()
        shown = drawn.shown
        assert (shown.width, shown.height) == (width, height)
        assert np.allclose(shown.keypoints, track.placed(width, height, fit).keypoints, atol=1e-3)


def test_the_report_has_a_row_for_what_the_mask_leaves_out():
    track = dancer_track(COUNT, WIDTH, HEIGHT)
    whole = pose_report(track, mask=TensorSource(half_masked(slice(0, 0))))
    assert whole.text().endswith("in the mask: the whole person, in every frame.") and not whole.warnings
    report = pose_report(track, mask=TensorSource(half_masked(slice(10, 13))))
    assert report.text().startswith("Warning: the mask") and report.warnings == report.coverage.warnings
    assert "in the mask: not the whole person in 3 frames (10-12)." in report.text()
    red = [(draw_report(one)[:200] == LOST).all(axis=2).sum() for one in (whole, report)]
    assert red[1] > red[0] + 500, "three frames of a row"
    assert "in the mask" not in pose_report(track).text()
