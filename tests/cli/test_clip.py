"""Seams, segments made again, parts and prompts from the shell, on the small weights."""

import av
import pytest
import torch
from safetensors.torch import save_file

from wan_animate import cli
from wan_animate.backends.diffusers import DiffusersDenoiser

from .test_options import inputs  # noqa: F401  (a fixture)


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
