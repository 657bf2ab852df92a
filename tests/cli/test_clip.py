"""Seams, segments made again, parts and prompts from the shell, on the small weights."""

import json

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wan_animate import cli
from wan_animate.backends.diffusers import DiffusersDenoiser
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


def test_loras_from_the_shell(run, small_models, tmp_path, capsys):
    lora, other = tmp_path / "light.safetensors", tmp_path / "fast.safetensors"
    for file in (lora, other):
        write_lora(file, small_models.diffusers)
    plain = run("--keep-segments") and read_record(tmp_path / "a.mp4")
    records = {}
    for name, given in (
        ("off", [f"--lora={lora}", "--lora-strength=0"]),
        ("once", [f"--lora={lora}"]),
        ("weak", [f"--lora={lora}", "--lora-strength=0.5"]),
        ("halves", [f"--lora={lora}", "--lora-strength=0.5", f"--lora-2={other}", "--lora-2-strength=0.5"]),
    ):
        run(*given, "--last-segment=1", out=f"{name}.mp4")
        records[name] = read_record(tmp_path / f"{name}.mp4")
    frames = {name: str(record.frames) for name, record in records.items()}
    assert frames["off"] != frames["once"] != frames["weak"] != frames["off"]
    assert not {"lora_strength", "mask_prompts_only"} & plain.settings.keys(), "older clips have no such settings"
    assert {one.part for one in records["halves"].models} >= {"lora", "lora_2"}
    once, halves = (
        VideoSource(tmp_path / f"{name}.mp4", fps=0).read(0, 5).astype(float) for name in ("once", "halves")
    )
    assert np.abs(once - halves).mean() < 0.5, "two halves are a whole"


def test_another_format_and_edits_from_the_shell(run, inputs, tmp_path):  # noqa: F811
    """FFV1 holds the frames bit for bit; a hand moved in the editor moves in the clip; the record comes along."""
    edits = tmp_path / "edits.json"
    edits.write_text(json.dumps({"width": 320, "height": 176, "keys": {"10": [[0, 60, -40], [7, 60, -40]]}}))
    shots = {}
    for name, given in (("plain", []), ("edited", [f"--pose-edits={edits}"])):
        count, _ = run("--codec=ffv1", *given, out=f"{name}.mkv")
        clip = VideoSource(tmp_path / f"{name}.mkv", fps=0)
        assert count == len(clip) == 8
        shots[name] = clip.read(0, 8).astype(int)
        hashed = FrameHashes()
        hashed.add(shots[name].astype(np.uint8))
        assert read_record(tmp_path / f"{name}.mkv").frames == hashed.whole
    assert np.abs(shots["plain"] - shots["edited"]).max() > 20
    assert "pose_edits" in read_record(tmp_path / "edited.mkv").files


def test_mask_points_from_the_shell(run, small_models, tmp_path):
    points = tmp_path / "points.json"
    points.write_text(json.dumps([{"frame": 0, "box": [2, 2, 40, 30], "size": [160, 96]}]))
    sam = ["--mode=replace", f"--sam2={small_models.segmenter}", "--last-segment=1"]
    run(*sam, out="pose.mp4")
    run(*sam, f"--mask-prompts={points}", "--mask-prompts-only", out="points.mp4")
    pose, own = (read_record(tmp_path / f"{name}.mp4") for name in ("pose", "points"))
    assert own.settings["mask_prompts_only"] is True and "mask_prompts" in own.files
    assert own.inputs["mask video"] != pose.inputs["mask video"] and own.frames != pose.frames
