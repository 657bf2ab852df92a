"""Only the file that is asked for is read, and Cancel ends what takes long."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from wan_animate.errors import Cancelled, InputError
from wan_animate.pose.openpose import from_openpose
from wan_animate.video.audio import read_audio
from wan_animate.video.source import VideoSource
from wan_animate.video.tags import read_tags

from .support.hostile_media import PLAYLISTS, SDP, crowd, text_file, write_clip


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_list_of_files_is_refused_by_name_everywhere(tmp_path, name):
    path = text_file(*PLAYLISTS[name])(tmp_path)
    for read in (VideoSource, read_audio, read_tags):
        with pytest.raises(InputError, match="names other files, and only the file itself is read") as error:
            read(path)
        assert str(error.value).startswith(f"video '{path.name}' is a ")


def test_a_list_that_does_not_look_like_one_opens_nothing_either(tmp_path):
    """FFmpeg knows an SDP by any of its lines: the formats that are opened decide, not how a file begins."""
    hidden = tmp_path / "a.mp4"
    hidden.write_text("s=x\nc=IN IP4 127.0.0.1\n" + SDP)
    begun = time.monotonic()
    with pytest.raises(InputError, match="cannot be opened as a video"):
        VideoSource(hidden)
    assert time.monotonic() - begun < 2
    concat = tmp_path / "b.mp4"
    concat.write_text("\x0c# a comment\nffconcat version 1.0\nfile 'a.mkv'\n")
    write_clip(tmp_path / "a.mkv")
    with pytest.raises(InputError):
        VideoSource(concat)


def test_a_name_with_a_protocol_in_it_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mkv")
    os.rename("a.mkv", "http:a.mkv")
    assert len(VideoSource("http:a.mkv", fps=0)) == 12
    with pytest.raises(InputError, match="was not found"):
        VideoSource("concat:http:a.mkv|http:a.mkv")


@pytest.mark.skipif(not Path("/usr/bin/strace").exists(), reason="no strace here: the formats are tested without")
def test_the_system_sees_no_other_file_opened(tmp_path):
    for name, made in (("a concat list", "a.ffconcat"), ("a playlist under another ending", "a.mp4")):
        path = text_file(*PLAYLISTS[name])(tmp_path)
        assert path.name == made
        read = f"VideoSource({str(path)!r})"
        code = f"from wan_animate.video.source import VideoSource\ntry: {read}\nexcept ValueError: pass"
        log = tmp_path / "log"
        trace = ["strace", "-f", "-qq", "-e", "trace=open,openat,connect,sendto", "-o", str(log)]
        subprocess.run([*trace, sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1], timeout=120)
        text = log.read_text()
        assert str(path) in text and "secret.ts" not in text


def test_looking_through_a_long_video_is_reported_and_cancelled(tmp_path):
    path = write_clip(tmp_path / "a.mkv", range(0, 33 * 6000, 33), (16, 16))
    seen = []
    VideoSource(path, fps=0, report=lambda done, total: seen.append((done, total)))
    assert len(seen) >= 3 and seen[0][0] == 0 and seen == sorted(seen) and all(done <= total for done, total in seen)

    def cancel(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        VideoSource(path, report=cancel)


def test_following_a_crowd_is_cancelled():
    frames = crowd(40, 6)(Path())
    calls = []

    def cancel(done, total):
        calls.append(done)
        if len(calls) > 8:  # past reading them, while they are followed
            raise Cancelled

    with pytest.raises(Cancelled):
        from_openpose(frames, report=cancel)


def test_a_network_without_end_is_cancelled(tmp_path):
    pytest.importorskip("onnx", reason="the graph is made by onnx: pip install onnx")
    from wan_animate.detect.onnx_model import OnnxModel

    from .support.hostile_weights import endless_loop, onnx_graph

    network = OnnxModel(onnx_graph(endless_loop)(tmp_path), "cpu", "pose model")
    threading.Timer(0.3, network.stop).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        network.run(np.zeros((1, 3, 256, 192), np.float32))
    assert time.monotonic() - begun < 3


def test_cancel_while_a_network_runs_ends_the_run(tmp_path):
    """The thread that waits hears it, not only the one between two batches."""
    pytest.importorskip("onnx", reason="the graph is made by onnx: pip install onnx")
    from wan_animate.detect.detector import PoseDetector
    from wan_animate.detect.onnx_model import OnnxModel
    from wan_animate.video.frames import TensorSource

    from .support.hostile_weights import endless_loop, onnx_graph
    from .support.onnx_graphs import known_answer_files

    detector = PoseDetector(*known_answer_files(tmp_path), "cpu")
    detector.pose_network = OnnxModel(onnx_graph(endless_loop)(tmp_path), "cpu", "pose model")
    begun = time.monotonic()

    def cancel(done, total):
        if time.monotonic() - begun > 0.5:
            raise Cancelled

    frames = TensorSource(np.zeros((4, 64, 96, 3), np.uint8))
    with pytest.raises(Cancelled):
        detector.detect(frames, progress=cancel)
    assert time.monotonic() - begun < 5
