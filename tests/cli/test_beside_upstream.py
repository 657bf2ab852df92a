"""Upstream's own command lines, and its files beside ours, frame by frame."""

from __future__ import annotations

import shlex

import cv2
import numpy as np
import pytest
import typer
from PIL import Image

from wan_animate import cli
from wan_animate.cli import generate as generate_command
from wan_animate.cli import preprocess as preprocess_command
from wan_animate.upstream.intermediates import IntermediateVideo

from ..support.record_upstream_files import AREA, FRAMES, SHOWN, TARGET, example, small

FILES = {"animate": ("src_pose", "src_face"), "replace": ("src_pose", "src_face", "src_bg", "src_mask")}


@pytest.fixture(scope="module")
def theirs():
    """(mode, file, frame) -> uint8 ``[H, W, 3]``, before it was encoded."""
    with np.load(TARGET) as record:
        return {
            (mode, name, at): cv2.imdecode(record[f"{mode}_{name}_{at}"], cv2.IMREAD_COLOR)[..., ::-1]
            for mode, names in FILES.items()
            for name in names
            for at in SHOWN
        }


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """(folder of each mode's files, the picture)"""
    folder = tmp_path_factory.mktemp("beside")
    video, picture, track = example(folder)
    track.save(folder / "track.npz")
    line = f"preprocess --video_path {video} --refer_path {picture} --resolution_area {AREA[0]} {AREA[1]} "
    line += f"--track {folder / 'track.npz'} --limit {FRAMES} --clean 0"
    for mode in FILES:
        more = f" --save_path {folder / mode}" + " --replace_flag" * (mode == "replace")
        assert cli.main(shlex.split(line + more)) == 0
    return {mode: folder / mode for mode in FILES}, picture


def pairs(theirs, ours, mode, name):
    """(theirs, ours) of each frame that was recorded."""
    source = IntermediateVideo(ours[0][mode] / f"{name}.mp4", fps=0)
    assert len(source) == FRAMES
    for at in SHOWN:
        pair = theirs[mode, name, at], small(source.read(at, at + 1)[0])
        assert pair[0].shape == pair[1].shape
        yield tuple(one.astype(np.float64) for one in pair)


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize("mode", FILES)
def test_the_pose_is_where_theirs_is(theirs, ours, mode):
    """Lines of two or three pixels; one that lies two pixels beside the other is at 0.6."""
    assert min(alike(*pair) for pair in pairs(theirs, ours, mode, "src_pose")) > 0.88
    assert max(np.abs(a - b).mean() for a, b in pairs(theirs, ours, mode, "src_pose")) < 0.7


@pytest.mark.parametrize("mode", FILES)
def test_the_face_is_theirs_but_for_the_steadying(theirs, ours, mode):
    found = [alike(*pair) for pair in pairs(theirs, ours, mode, "src_face")]
    assert min(found) > 0.85 and max(found) < 1


def test_the_mask_has_their_latent_cells(theirs, ours):
    """The model is shown the first pixel of every 8x8; ours fills whole cells by it."""
    for a, b in pairs(theirs, ours, "replace", "src_mask"):
        assert ((a > 127) == (b > 127))[::8, ::8].mean() > 0.98
        assert ((a > 127) & (b > 127)).sum() / ((a > 127) | (b > 127)).sum() > 0.92


def test_the_background_is_theirs(theirs, ours):
    masks = pairs(theirs, ours, "replace", "src_mask")
    for (a, b), (in_theirs, in_ours) in zip(pairs(theirs, ours, "replace", "src_bg"), masks, strict=True):
        known = cv2.dilate(np.maximum(in_theirs, in_ours), np.ones((5, 5))).max(axis=2) < 128
        assert known.mean() > 0.3 and np.abs(a - b)[known].mean() < 2
        assert b[cv2.erode(in_ours, np.ones((5, 5))).min(axis=2) > 127].mean() < 2


@pytest.mark.parametrize("mode", FILES)
def test_the_picture_is_the_one_that_was_given(ours, mode):
    assert np.array_equal(Image.open(ours[0][mode] / "src_ref.png").convert("RGB"), Image.open(ours[1]).convert("RGB"))


# -- the command lines of its README, at commit 42bf4cf, and its parsers' defaults

PREPROCESS = {
    "ckpt_path": None, "resolution_area": (1280, 720), "fps": 30, "replace_flag": False, "retarget_flag": False,
    "use_flux": False, "iterations": 3, "k": 7, "w_len": 1, "h_len": 1,
}  # fmt: skip
GENERATE = {
    "task": "animate-14B", "frame_num": 77, "prompt": "视频中的人在做动作", "base_seed": -1, "sample_solver": "unipc",
    "sample_steps": 20, "sample_shift": 5.0, "sample_guide_scale": 1.0, "convert_model_dtype": False, "t5_cpu": False,
    "replace_flag": False, "use_relighting_lora": False, "save_file": None,
    "refert_num": 1,  # 77 there, of which it says: "Recommended to be 1 or 5"
}  # fmt: skip
FLUX = {"retarget_flag": True, "use_flux": True}
RELIT = {"replace_flag": True, "use_relighting_lora": True}
CARDS = "--dit_fsdp --t5_fsdp --ulysses_size 8"
LINES = [
    ("--ckpt_path ./Wan2.2-Animate-14B/process_checkpoint --video_path ./examples/wan_animate/animate/video.mp4 "
     "--refer_path ./examples/wan_animate/animate/image.jpeg --save_path ./examples/wan_animate/animate/process_results "
     "--resolution_area 1280 720 --retarget_flag --use_flux", FLUX),
    ("--ckpt_path ./Wan2.2-Animate-14B/process_checkpoint --video_path ./examples/wan_animate/replace/video.mp4 "
     "--refer_path ./examples/wan_animate/replace/image.jpeg --save_path ./examples/wan_animate/replace/process_results "
     "--resolution_area 1280 720 --iterations 3 --k 7 --w_len 1 --h_len 1 --replace_flag", {"replace_flag": True}),
    ("--task animate-14B --ckpt_dir ./Wan2.2-Animate-14B/ --src_root_path "
     "./examples/wan_animate/animate/process_results/ --refert_num 1", {}),
    ("--task animate-14B --ckpt_dir ./Wan2.2-Animate-14B/ --src_root_path "
     "./examples/wan_animate/replace/process_results/ --refert_num 1 --replace_flag --use_relighting_lora ", RELIT),
    ("--task animate-14B --ckpt_dir ./Wan2.2-Animate-14B/ --src_root_path "
     f"./examples/wan_animate/animate/process_results/ --refert_num 1 {CARDS}", {"ulysses_size": 8}),
]  # fmt: skip


@pytest.mark.parametrize("line, given", LINES)
def test_their_command_lines_mean_what_they_mean_there(line, given):
    first = "--video_path" in line
    command = typer.main.get_command((preprocess_command if first else generate_command).app)
    taken = command.make_context("it", shlex.split(line)).params
    wanted = (PREPROCESS if first else GENERATE) | given
    if first:
        wanted |= {"ckpt_path": "./Wan2.2-Animate-14B/process_checkpoint"}
    assert {name: taken[name] for name in wanted} == wanted
