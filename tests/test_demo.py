"""What `make demo` shows somebody who has nothing but this repository: our own clip, the small weights."""

import os
import re

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from demo import run
from demo.example import SIZE, clip_at_hand
from demo.figure import draw_figure, figure_keypoints, room
from wan_animate.pose.wholebody import LEFT_SHOULDER, RIGHT_KNEE, RIGHT_SHOULDER

SMALL = {"FRAMES": "5", "SEGMENT": "5", "STEPS": "2", "WEIGHTS": "small", "WAN_ANIMATE_EXAMPLES": "none"}
BLOCKS = (20, 11)


def demo(monkeypatch, out, mode: str, **more) -> np.ndarray:
    """The demo's clip: uint8 ``[T, H, W, 3]``."""
    for name in ("IMAGE", "VIDEO", "WIDTH", "HEIGHT", "PREVIOUS_FRAMES", "SEED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**SMALL, "MODE": mode, "OUT": str(out), **more}.items():
        monkeypatch.setenv(name, value)
    assert run.main() == 0
    assert (out / f"{mode}.png").stat().st_size > 10_000
    return video(out / f"{mode}.mp4")


def video(path) -> np.ndarray:
    with av.open(str(path)) as clip:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])


def likeness(result: np.ndarray) -> tuple[float, float, float]:
    """Mean difference in levels of a result's first frame, averaged over blocks as the small VAE shows it, from: the
    empty room beside the dancer, the dancer between shoulders and knees, the robot's picture beside the robot."""
    posed = figure_keypoints(0.0, *SIZE)
    picture = np.asarray(Image.open(clip_at_hand()[1]).convert("RGB"))
    column, row = (posed[:, :2] / SIZE * BLOCKS).astype(int).T
    beside, body = np.zeros((2, *BLOCKS[::-1]), bool)
    beside[1:-1, 1 : column.min() - 1] = beside[1:-1, column.max() + 2 : -1] = True  # and no bars
    body[row[RIGHT_SHOULDER] : row[RIGHT_KNEE], column[RIGHT_SHOULDER] : column[LEFT_SHOULDER] + 1] = True
    assert beside.sum() > 40 and body.sum() > 10

    def difference(other: np.ndarray, where: np.ndarray) -> float:
        blocks = (cv2.resize(one, BLOCKS, interpolation=cv2.INTER_AREA).astype(float) for one in (result[0], other))
        return float(np.abs(np.subtract(*blocks))[where].mean())

    return difference(room(*SIZE), beside), difference(draw_figure(posed, *SIZE), body), difference(picture, beside)


def check_replaced(result: np.ndarray) -> None:
    scene, dancer, picture = likeness(result)
    assert scene < 20 < picture, "outside the mask is the driver's room, not the ground of the picture"
    assert dancer > 20, "inside it is no dancer any more"


def check_animated(result: np.ndarray) -> None:
    scene, _, picture = likeness(result)
    assert picture < 20 < scene, "all of the scene is the picture's own"


def test_replace_without_a_comfyui_shows_the_scene_around_the_character(offline, monkeypatch, tmp_path):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    check_replaced(demo(monkeypatch, tmp_path, "replace", COMFYUI_PATH="none"))


def test_animate_without_a_comfyui_shows_the_pictures_own_scene(monkeypatch, tmp_path):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    monkeypatch.setenv("WAN_ANIMATE_CACHE", str(tmp_path / "own"))
    check_animated(demo(monkeypatch, tmp_path, "animate", COMFYUI_PATH="none"))
    assert os.environ["WAN_ANIMATE_CACHE"] == str(tmp_path / "own")
    assert not list(tmp_path.glob("own/**/runs.json")), (
        "the times of small weights would be taken for those of real ones"
    )


def test_replace_on_a_comfyui_shows_the_scene_around_the_character(host, offline, monkeypatch, tmp_path, capsys):
    """And the server and all that it runs leave this machine alone (``offline``)."""
    check_replaced(demo(monkeypatch, tmp_path, "replace"))
    printed = capsys.readouterr().out
    assert "  Frames to Mask\n" in printed and "  Create Video\n" in printed
    assert not re.search(r"^  \S*[a-z][A-Z]", printed, re.MULTILINE), "the names of classes are nobody's words"
    mask = video(tmp_path / "replace_mask.mp4")[..., 0] > 127
    share = mask.mean(axis=(1, 2))
    assert 0.1 < share.min() and share.max() < 0.6, share
    assert not mask[:, :, :16].any() and not mask[:, :, -16:].any(), "bars and walls are nobody"
