"""Whole jobs in a window: several segments, a cut, a resumed one; the shell's --crop."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from demo.figure import draw_figure, figure_keypoints
from wan_animate.chain.control_sources import Controls
from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.pose.track import PoseTrack
from wan_animate.pose.wholebody import RIGHT_HAND, RIGHT_WRIST
from wan_animate.stitch.controls import cropped_controls, stitch_clip
from wan_animate.stitch.plan import WindowSize
from wan_animate.stitch.stitch import StitchedSource
from wan_animate.video.audio import read_audio
from wan_animate.video.derived import ResizedSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.chain import PlainDenoiser, PlainVAE

RIGHT = [RIGHT_WRIST, *range(RIGHT_HAND.start, RIGHT_HAND.stop)]
WIDTH, HEIGHT, COUNT, CUT, LENGTH = 640, 360, 22, 13, 9


@pytest.fixture(scope="module")
def source():
    """A small dancer, and after a cut another place."""
    frames = [
        draw_figure(figure_keypoints(at / 24, WIDTH, HEIGHT, (0.3 if at < CUT else 0.7, 0.6), 0.4), WIDTH, HEIGHT)
        for at in range(COUNT)
    ]
    return TensorSource(np.stack(frames), Fraction(24))


@pytest.fixture(scope="module")
def track():
    """As found at a working size."""
    points = [figure_keypoints(at / 24, WIDTH, HEIGHT, (0.3 if at < CUT else 0.7, 0.6), 0.4) for at in range(COUNT)]
    return PoseTrack(np.stack(points), WIDTH, HEIGHT, Fraction(24), cuts=(CUT,)).scaled(320, 180)


def window_job(source, track):
    controls = cropped_controls(source, track, size=WindowSize("budget", 96 * 96))
    controls.face = None
    return AnimateJob(torch.rand(60, 40, 3, generator=torch.Generator().manual_seed(1)), controls, "replace", LENGTH)


def run(source, track, folder, during=None):
    job = window_job(source, track)
    controls, window = job.controls, job.controls.window
    clip = generate(job, PlainDenoiser(during=during), PlainVAE(), SegmentStore(folder))
    return StitchedSource(source, clip, window, controls.character_mask, feather=6), window


def test_segments_and_cuts(source, track, tmp_path):
    stitched, window = run(source, track, tmp_path / "job")
    assert len(stitched) == COUNT and (stitched.width, stitched.height, stitched.fps) == (WIDTH, HEIGHT, 24)
    assert window.speed == 0 and window.places[0, 0] != window.places[-1, 0]
    frames, before = stitched.read(0, COUNT), source.read(0, COUNT)
    differs = (frames != before).any(axis=3)
    for at in range(COUNT):
        left, top, width, height = window.places[at].round().astype(int)
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[top : top + height, left : left + width] = False
        assert not differs[at][outside].any() and differs[at][~outside].mean() > 0.3


def test_a_stopped_job_goes_on_and_gives_the_same_bytes(source, track, tmp_path):
    whole, _ = run(source, track, tmp_path / "whole")

    def stop(segment, step):
        if segment == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(source, track, tmp_path / "stopped", stop)
    made = []
    again, _ = run(source, track, tmp_path / "stopped", lambda segment, step: made.append(segment))
    assert set(made) == {2}
    assert (again.read(0, COUNT) == whole.read(0, COUNT)).all()


@pytest.mark.parametrize("continues", [False, True])
def test_some_segments_are_put_where_they_belong_with_their_sound(source, track, tmp_path, continues):
    """The last shot alone, or a clip that goes on from another: silence but for the frames that are made."""
    job = window_job(source, track)
    if continues:
        first = 5
        job.previous_frames = first
        job.options = ClipOptions(continue_from=TensorSource(np.zeros((6, *job.controls.size[::-1], 3), np.uint8)))
    else:
        first = CUT
        job.options = ClipOptions(cuts=(CUT,), cut_frames=COUNT, first_segment=2)
    clip = generate(job, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"))
    assert clip.part_of == (first, COUNT) and len(clip) == COUNT - first
    time = torch.arange(48000) / 48000
    wave = torch.where(time < first / 24, 0, torch.sin(2 * torch.pi * 440 * time))
    audio = {"waveform": wave[None, None], "sample_rate": 48000}
    stitched = stitch_clip(job.controls, clip, tmp_path / "a.mp4", audio)
    assert len(VideoSource(tmp_path / "a.mp4", fps=0)) == len(stitched) == COUNT - first
    differs = (stitched.read(0, len(stitched)) != source.read(first, COUNT)).any(axis=3)
    for at, place in enumerate(job.controls.window.places[first:].round().astype(int)):
        left, top, width, height = place
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[top : top + height, left : left + width] = False
        assert not differs[at][outside].any() and differs[at][~outside].mean() > 0.1
    heard = read_audio(tmp_path / "a.mp4")["waveform"][0, 0]
    loud = heard[: round(48000 * len(clip) / 24)].unfold(0, 2000, 2000).square().mean(dim=1) > 0.1
    assert loud[1:-1].all()


@pytest.mark.parametrize("draw", [False, True])
def test_a_hand_beyond_the_window_is_said(source, track, draw):
    """A hand that leaps out for a frame does not move the window; the old one shows there."""
    points = track.keypoints.copy()
    points[5, RIGHT] += [150, 0, 0]
    controls = cropped_controls(source, track.replaced(points), size=WindowSize("budget", 96 * 96), strength=0)
    left, _, width, _ = controls.window.places[5]
    assert (points[5, RIGHT, 0] * 2 > left + width).all() and (points[5, RIGHT, 0] * 2 < WIDTH).all()
    if draw:  # as a graph's nodes make them, the pose drawn at twice the mask's size and brought back
        pose = DrawnPoseSource.at_size(
            controls.pose.track.scaled(*(2 * side for side in controls.size)), *controls.size
        )
        controls = Controls(pose, None, controls.background, controls.character_mask)
    (words,) = controls.checked_mask.coverage().warnings
    assert "cuts off part of the person in 1 of 22 frames (right hand 5)" in words
    assert words.endswith("What lies beyond the window comes in with more margin in Crop to Character.")
    assert not cropped_controls(source, track).checked_mask.coverage().warnings


def test_the_window_is_planned_alike_from_frames_of_another_size(source, track):
    """The same track on the video's own frames, or on the working frames it was found in."""
    window = cropped_controls(source, track).window
    same = cropped_controls(source, track.scaled(WIDTH, HEIGHT)).window
    assert np.abs(window.places - same.places).max() < 4 and window.size == same.size
    small = ResizedSource(source, 320, 176)
    of_small = cropped_controls(small, track).window
    assert np.abs(of_small.places[:, 2] * 2 - window.places[:, 2]).max() < 12


def test_full_size_frames_of_a_video(tmp_path, source):
    from wan_animate.video.write import write_video

    write_video(tmp_path / "a.mp4", source)
    working = VideoSource(tmp_path / "a.mp4", fps=12, max_area=160 * 96, start=2, limit=6)
    full = working.full_size()
    assert (full.width, full.height, len(full), full.fps) == (WIDTH, HEIGHT, 6, 12)
    assert full.picture == (0, 0, WIDTH, HEIGHT) and full.start_seconds == working.start_seconds
    native = VideoSource(tmp_path / "a.mp4", fps=12, start=2, limit=6)
    assert full.fingerprint() == native.fingerprint() != working.fingerprint()
    small = working.read(1, 3)
    assert (full.read(0, 6) == native.read(0, 6)).all() and (working.read(1, 3) == small).all()
    assert native.full_size() is native
