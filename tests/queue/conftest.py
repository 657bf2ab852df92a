"""A workflow that takes a second, the shell's command in and out of this process, two servers."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMES, WIDTH, HEIGHT = 8, 128, 96


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """``work.json`` (blurs a video's frames, saves the last), ``clip.mp4``."""
    folder = tmp_path_factory.mktemp("jobs")
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
    random = np.random.default_rng(0)
    for _ in range(FRAMES):
        writer.write(random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    writer.release()
    load = {"file": "", "fps": 0.0, "width": WIDTH, "height": HEIGHT, "start": 0, "limit": 0, "fit": "fill"}
    blur = {"image": ["2", 0], "blur_radius": 31, "sigma": 1.0}
    graph = {
        "1": node("WanAnimateKitLoadVideo", "Load Driving Video", **load),
        "2": node("WanAnimateKitFramesToImage", "Frames to Image", frames=["1", 0], start=0, limit=0),
        "3": node("ImageBlur", "Soften", **blur),
        "4": node("ImageFromBatch", "Last", image=["3", 0], batch_index=FRAMES - 1, length=1),
        "5": node("SaveImage", "Save", images=["4", 0], filename_prefix="queue"),
    }
    (folder / "work.json").write_text(json.dumps(graph))
    return folder


def node(kind: str, title: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


@pytest.fixture(scope="session")
def driver():
    """Starts the command in a process of its own."""

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.support.queue_command", *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start
