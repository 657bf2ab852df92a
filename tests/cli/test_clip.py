"""Seams, segments made again, parts and prompts from the shell, on the small weights."""

import json
import shutil

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wan_animate import cli
from wan_animate.backends import diffusers as diffusers_backend
from wan_animate.backends.diffusers import DiffusersDenoiser
from wan_animate.cli import checks
from wan_animate.cli.by_hand import check_by_hand
from wan_animate.cli.make import animate_job, driving_video
from wan_animate.cli.run import parsed
from wan_animate.errors import InputError
from wan_animate.record.clip_record import read_record
from wan_animate.record.frame_hashes import FrameHashes
from wan_animate.video.source import VideoSource

from .test_options import inputs  # noqa: F401  (a fixture)
from .test_upstream_files import write_lora


@pytest.fixture
def run(inputs, small_models, tmp_path, monkeypatch):  # noqa: F811
    """``run(*arguments)`` to (frames of the mp4, seeds and prompts that were sampled with)."""
    made, denoise = [], DiffusersDenoiser.denoise

    def watched(self, conditioning, noise, on_step):
        made.append((conditioning.seed, float(self._prompt_of(conditioning.segment).mean())))
        return denoise(self, conditioning, noise, on_step)

    monkeypatch.setattr(DiffusersDenoiser, "denoise", watched)
    from wan_animate.backends import diffusers

    monkeypatch.setattr(
        diffusers, "encode_prompt", lambda folder, text, device: torch.full((1, 5, 4096), len(text) * 0.01)
    )
    monkeypatch.setattr(checks, "check_encoders", lambda *_: None)
    given = {**inputs, "models": small_models.diffusers, "limit": 8, "steps": 1, "area": 160 * 96, "previous-frames": 1}

    def run(*arguments, without=(), out="a.mp4"):
        made.clear()
        command = [f"--{name}={value}" for name, value in given.items() if name not in without]
        assert cli.main([*command, f"--out={tmp_path / out}", "--no-retarget", *arguments]) == 0
        with av.open(str(tmp_path / out)) as clip:
            return sum(1 for _ in clip.decode(video=0)), list(made)

    return run


def test_segments_and_prompts_from_the_shell(run, tmp_path):
    count, made = run("--crossfade=1", "--keep-segments")
    assert count == 8 and [seed for seed, _ in made] == [0, 1]
    count, made = run("--crossfade=1", "--segment-seeds=2:77", "--keep-segments", f"--sheet={tmp_path / 'sheet.png'}")
    assert count == 8 and [seed for seed, _ in made] == [77], "the first segment was kept"
    count, made = run("--crossfade=1", "--segment-seeds=1:5", "--keep-rest", "--keep-segments")
    assert [seed for seed, _ in made] == [5], "the second was kept"
    count, made = run("--last-segment=1", f"--sheet={tmp_path / 'sheet.png'}")
    assert count == 5 and len(made) == 1
    (tmp_path / "a.mp4").rename(tmp_path / "before.mp4")
    count, made = run(f"--continue-from={tmp_path / 'before.mp4'}")
    assert count == 7 and len(made) == 2
    assert len(list(tmp_path.glob(".a-*"))) == 3, "only what was to be kept"


def test_finished_segments_are_found_under_any_name(run):
    assert len(run("--keep-segments", out="c [1].mp4")[1]) == 2
    assert [seed for seed, _ in run("--segment-seeds=2:9", out="c [1].mp4")[1]] == [9]


def test_a_prompt_file_that_is_replaced_makes_the_clip_anew(run, tmp_path):
    """The file's content counts, not its name."""
    file = tmp_path / "mine.safetensors"
    for value in (0.1, 0.2):
        save_file({"cond": torch.full((1, 5, 4096), value)}, file)
        made = run("--keep-segments", f"--prompt-file={file}", without=["prompt-file"])[1]
        assert [prompt for _, prompt in made] == pytest.approx([value, value], rel=0.01)
    file.rename(tmp_path / "moved.safetensors")
    assert not run(f"--prompt-file={tmp_path / 'moved.safetensors'}", without=["prompt-file"])[1]


def test_a_prompt_for_frames_from_the_shell(run):
    _, made = run("--prompt=one", "--prompt-for", "5", "-1", "another one", without=["prompt-file"])
    assert [prompt for _, prompt in made] == pytest.approx([0.03, 0.11], rel=0.01)


def test_what_cannot_be_made_leaves_nothing(inputs, small_models, tmp_path, capsys):  # noqa: F811
    """Beside a finished job whose segments would be taken over: the folder of a new one is not begun, or is gone."""
    given = {**inputs, "models": small_models.diffusers, "limit": 8, "steps": 1, "area": 160 * 96, "previous-frames": 1}
    line = [*(f"--{name}={value}" for name, value in given.items()), f"--out={tmp_path / 'a.mp4'}", "--no-retarget"]
    assert cli.main([*line, "--keep-segments"]) == 0
    damaged = tmp_path / "models"
    shutil.copytree(small_models.diffusers, damaged)
    (damaged / "image_encoder").mkdir(exist_ok=True)
    (damaged / "image_encoder" / "config.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    for more, says in (
        (["--prompt-for", "5", "-1", "another"], "has no text_encoder"),
        ([f"--models={damaged}"], "has no folder image_processor"),
        (["--first-segment=2", "--segment-seeds=1:3"], "segment 1, from which it goes on, is not finished"),
        (["--segment-seeds=1:3", "--keep-rest", "--shift=4"], "no clip with these settings is finished"),
    ):
        assert cli.main([*line, *more]) == 2
        assert says in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before, more


def test_weights_that_cannot_be_loaded_leave_nothing(run, small_models, tmp_path, monkeypatch):
    """Only loading finds it, after the first segment was taken over."""
    run("--keep-segments")
    before = sorted(tmp_path.rglob("*"))

    def broken(*_, **__):
        raise InputError("the transformer cannot be loaded")

    monkeypatch.setattr(diffusers_backend, "load", broken)
    with pytest.raises(AssertionError):
        run("--segment-seeds=2:9")
    assert sorted(tmp_path.rglob("*")) == before


def test_another_format_loras_and_edits_from_the_shell(run, small_models, tmp_path):
    """FFV1 holds the frames bit for bit; a LoRA and a hand moved in the editor show; the record comes along."""
    edits, lora = tmp_path / "edits.json", tmp_path / "light.safetensors"
    edits.write_text(json.dumps({"width": 320, "height": 176, "keys": {"10": [[0, 60, -40], [7, 60, -40]]}}))
    write_lora(lora, small_models.diffusers)
    shots, records = {}, {}
    for name, given in (
        ("plain", [f"--lora={lora}", "--lora-strength=0"]),
        ("edited", [f"--pose-edits={edits}"]),
        ("relit", [f"--lora={lora}", f"--lora-2={lora}", "--lora-2-strength=0.5"]),
    ):
        count, _ = run("--codec=ffv1", "--limit=5", *given, out=f"{name}.mkv")
        clip = VideoSource(tmp_path / f"{name}.mkv", fps=0)
        assert count == len(clip) == 5
        shots[name], records[name] = clip.read(0, 5), read_record(tmp_path / f"{name}.mkv")
        hashed = FrameHashes()
        hashed.add(shots[name])
        assert records[name].frames == hashed.whole, "the lossless frames"
    assert np.abs(shots["plain"].astype(int) - shots["edited"]).max() > 20
    assert records["relit"].frames != records["plain"].frames
    assert {one.part for one in records["relit"].models} >= {"lora", "lora_2"}
    assert records["relit"].settings["lora_2_strength"] == 0.5 and "pose_edits" in records["edited"].files
    later = {"lora_strength", "lora_2_strength", "mask_prompts_only", "codec"}
    assert not later & records["edited"].settings.keys(), "as the records of before"


def test_mask_points_from_the_shell(inputs, small_models, tmp_path):  # noqa: F811
    points = tmp_path / "points.json"
    given = {**inputs, "models": small_models.diffusers, "area": 160 * 96, "mode": "replace", "out": "a.mp4"}
    command = [f"--{name}={value}" for name, value in given.items()]
    sam = f"--sam2={small_models.segmenter}"
    outside = [{"frame": 99, "box": [2, 2, 30, 20], "size": [160, 96]}]
    nobody = [{"frame": 0, "negative": [{"x": 20, "y": 20}], "size": [160, 96]}]
    only = ["--mask-prompts-only"]
    for prompts, more, says in (
        (outside, [], "point_frame is 99, but the clip has frames 0 to 4"),
        (nobody, only, "nothing says where it is on frame 0"),
        (nobody, [], None),  # beside the pose's own points
    ):
        points.write_text(json.dumps(prompts))
        options = parsed([*command, sam, f"--mask-prompts={points}", *more])
        check_by_hand(options)
        if says is None:
            mask = animate_job(options, driving_video(options))[1].character_mask
            assert mask is not None and mask.read(0, 5).any()
        else:
            with pytest.raises(InputError, match=says):
                animate_job(options, driving_video(options))
