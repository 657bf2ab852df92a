"""``wan-animate --plan``: what the job will be, without a model, leaving nothing behind."""

import re
import sys

import numpy as np
import pytest

from wan_animate import cli
from wan_animate.cli import plans
from wan_animate.cli.make import animate_job, driving_video
from wan_animate.cli.run import parsed
from wan_animate.files import CACHE
from wan_animate.pose import wholebody as body
from wan_animate.pose.track import PoseTrack

from .test_options import inputs  # noqa: F401  (a fixture)


@pytest.fixture
def planned(inputs, tmp_path, monkeypatch, capsys):  # noqa: F811
    from wan_animate.backends import diffusers

    for name in ("load", "encode_prompt", "encode_image"):
        monkeypatch.setattr(diffusers, name, lambda *_, **__: pytest.fail("a model was loaded"))

    def run(code: int = 0, **changes) -> str:
        given = inputs | {"out": tmp_path / "new" / "a.mp4"}
        given |= {key.replace("_", "-"): value for key, value in changes.items()}
        arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
        before = sorted(tmp_path.iterdir())
        assert cli.main([*arguments, "--no-retarget", "--plan"]) == code
        assert sorted(tmp_path.iterdir()) == before, "nothing is written"
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def test_the_plan_is_printed(planned):
    text = planned(limit=8)
    assert re.search(r"\| Clip \| 8 frames of \d+x\d+ at 30 a second: 0.3 s \|", text)
    assert "| Segments | 2 of 5 frames, 1 of them taken over (1 in all) |" in text
    assert "| Padding | 1 frame at the end" in text and "| Shots | 1, no cut |" in text
    assert "smaller than the model was trained on" in text and "GB free |" in text


def test_neither_weights_nor_a_pose_are_needed(planned, tmp_path):
    text = planned(models=tmp_path / "not-downloaded-yet", track=None)
    assert "| Shots | not known without a pose |" in text


def test_what_is_wrong_with_the_track(planned, inputs, tmp_path):  # noqa: F811
    track = PoseTrack.load(inputs["track"])
    keypoints = track.keypoints.copy()
    keypoints[..., 2] = 0
    track.replaced(keypoints).save(tmp_path / "nobody.npz")
    assert "obody was found" not in planned()
    assert "Nobody was found in any frame" in planned(track=tmp_path / "nobody.npz")


def test_a_picture_of_another_framing(planned, inputs, tmp_path):  # noqa: F811
    track = PoseTrack.load(inputs["track"])
    keypoints = track.keypoints.copy()
    keypoints[:, body.LEFT_HIP : body.FEET.stop, 2] = 0
    track.replaced(keypoints).slice(0, 1).save(tmp_path / "bust.npz")
    arguments = [f"--{name}={value}" for name, value in inputs.items()]
    options = parsed(
        [*arguments, f"--out={tmp_path / 'a.mp4'}", f"--reference-track={tmp_path / 'bust.npz'}", "--plan"]
    )
    plan = plans.plan_of(options, driving_video(options))
    assert "framing" in {finding.kind for finding in plan.findings}
    assert plan.size != (320, 176), "the retargeted clip has the picture's shape"


@pytest.mark.parametrize(
    "changes",
    [
        ["--at-cuts=anew"],
        ["--at-cuts=anew", "--crossfade=-1", "--first-segment=2", "--last-segment=3"],
        ["--mode=replace", "--crop", f"--area={96 * 80}"],
        ["--continue-from={video}", "--first-segment=2"],
    ],
)
def test_the_plan_is_the_runs(inputs, tmp_path, changes):  # noqa: F811
    track = PoseTrack.load(inputs["track"])
    PoseTrack(track.keypoints, track.width, track.height, track.fps, cuts=(2, 5)).save(tmp_path / "cut.npz")
    given = inputs | {"track": tmp_path / "cut.npz", "limit": 8, "out": tmp_path / "a.mp4"}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    changes = [change.format(video=inputs["video"]) for change in changes]
    options = parsed([*arguments, *changes, "--no-retarget", "--plan"])
    frames = driving_video(options)
    job, _ = animate_job(options, frames)
    plan = plans.plan_of(options, frames)
    assert plan.segments == job.wanted() and plan.sampled == job.controls.size
    whole = job.plan()
    assert plan.count == len(whole) and plan.made_twice == sum(one.previous_frames for one in job.wanted())
    if "--crop" in changes:
        assert plan.size == frames.native_size and plan.tokens < plan.size[0] * plan.size[1] // 256 * 3
    if "--at-cuts=anew" in changes:
        assert "each begun anew" in plan.text() and {one.shot for one in whole} == {(0, 2), (2, 5), (5, 8)}


def test_what_the_options_of_a_clip_cannot_have_is_said_before(planned):
    assert "segments 7 to 2" in planned(code=2, limit=8, first_segment=7)
    assert "cross-fade is over 3 frames" in planned(code=2, crossfade=3)
    assert "| Segments | 2 of 2: 1 of 5 frames" in planned(limit=8, first_segment=2)


def test_bad_input_is_refused_as_ever(planned):
    assert "--steps is 0" in planned(code=2, steps=0)
    assert "--video is /no/a.mp4, which is not there" in planned(code=2, video="/no/a.mp4")
    assert "segment length is 6" in planned(code=2, segment=6)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"out": "/dev/null/x/a.mp4"}, "1. The video (--out) cannot be written to the folder /dev/null/x"),
        ({"out": "y.gif"}, "1. The video (--out) is written as .mp4, but y.gif ends in .gif: name it y.mp4."),
        ({"codec": "prores_422"}, "is written as .mov, but {new}/a.mp4 ends in .mp4: name it a.mov."),
        ({"sheet": "s.txt"}, "1. The contact sheet (--sheet) is written as .png, but s.txt ends in .txt"),
        ({"out": f"{'x' * 300}.mp4"}, "): choose a shorter or plainer name."),
    ],
)
def test_where_a_run_could_not_write(planned, tmp_path, changes, says):
    assert "(--out)" not in planned() and "(--out)" not in planned(out=tmp_path / "new" / "newer" / "b.mp4")
    assert says.format(new=tmp_path / "new") in planned(**changes)


def test_no_place_to_write_need_be_named(inputs, capsys):  # noqa: F811
    arguments = [f"--{name}={value}" for name, value in inputs.items()]
    assert cli.main(["plan", *arguments, "--no-retarget", "--codec=prores_422"]) == 0
    said = capsys.readouterr().out
    assert "(--out)" not in said and "GB free |" in said


def test_free_bytes_of_a_place_that_is_not_there_yet(tmp_path):
    free = plans.free_at(tmp_path / "a" / "b" / "c.mp4")
    assert free == pytest.approx(plans.free_at(tmp_path / "a.mp4"), rel=0.01) and free > 0


def test_where_runs_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", str(tmp_path))
    assert plans.runs().path == tmp_path / "wan-animate" / "runs.json"
    assert np.array_equal(plans.runs().read(), [])
