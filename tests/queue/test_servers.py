"""On real ComfyUI servers: one of two killed, the driver killed and started again, a job that cannot be done."""

import io
import json
import os
import re
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image

from demo import graphs
from demo.example import track_beside
from wan_animate.errors import InputError
from wan_animate.queue.client import ComfyClient, PromptFailed
from wan_animate.queue.jobs import graph_key
from wan_animate.queue.server import ComfyServer
from wan_animate.queue.state import FILE
from wan_animate.video.source import VideoSource

from ..support.queue_command import main

JOBS = 8
POISONED = "poisoned"


@pytest.fixture(scope="module")
def table(folder):
    """Eight jobs that blur differently, and one whose part of the video does not exist."""
    lines = ["name,video,Soften.sigma,start"]
    lines += [f"job{at},clip.mp4,{1 + at / 4},0" for at in range(JOBS)]
    lines.insert(3, f"{POISONED},clip.mp4,1.0,5000")
    path = folder / "jobs.csv"
    path.write_text("\n".join(line.replace("start", "1.start") for line in lines))
    return path


@pytest.fixture(scope="module")
def first(start_server):
    with start_server() as server:
        yield server


@pytest.fixture(scope="module")
def serial(first, folder, table, tmp_path_factory):
    """Pictures of the jobs, one after the other on one server, by the host's own queue."""
    graph = json.loads((folder / "work.json").read_text())
    graph["1"]["inputs"]["file"] = first.upload(folder / "clip.mp4")
    made = {}
    for at in range(JOBS):
        graph["3"]["inputs"]["sigma"] = 1 + at / 4
        (item,) = first.run(graph)["outputs"]["5"]["images"]
        made[f"job{at}"] = np.asarray(Image.open(io.BytesIO(first.fetch(item))))
    return made


def queue(*arguments: object) -> int:
    return main([*map(str, arguments)])


def events(out) -> list[dict]:
    path = out / FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds: float = 120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_clip(first, folder, serial, tmp_path, capfd):
    out = tmp_path / "out"
    given = (folder / "work.json", "--server", first.url, "--out", out, "--name", "one")
    settings = ("--set", f"video={folder / 'clip.mp4'}", "--set", "Soften.sigma=1.25")
    assert queue(*given, *settings) == 0
    told = capfd.readouterr()
    assert "1 of 1 jobs are in" in told.out and "1/1 one: one.png" in told.err and "Soften" in told.err
    np.testing.assert_array_equal(np.asarray(Image.open(out / "one.png")), serial["job1"])
    before = first.get("/history")
    assert queue(*given, *settings) == 0
    assert "was done before" in capfd.readouterr().err and first.get("/history").keys() == before.keys()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--set", "Sofen.sigma=1"], "no node of the workflow is named Sofen"),
        (["--set", "Soften.sigmas=1"], "Soften has no input sigmas: it has blur_radius, image, sigma"),
        (["--set", "Soften.sigma=1000"], "Soften.sigma is 1000: give"),
        (["--set", "video=gone.mp4"], "gone.mp4, which does not exist"),
        (["--set", "2.frames=1"], "2.frames comes from Load Driving Video"),
        (["--set", "nonsense"], "is no parameter: give node.input=value"),
        (["--server", "ftp://x"], "is no address of a server"),
        (["--server", "http://127.0.0.1:9"], "there is no ComfyUI at http://127.0.0.1:9"),
    ],
)
def test_refused_before_anything_is_uploaded(first, folder, tmp_path, capfd, arguments, says):
    held = sorted((first.base_dir / "input").iterdir()), first.get("/history").keys()
    server = [] if "--server" in arguments else ["--server", first.url]
    clip = [] if any("video" in one for one in arguments) else ["--set", f"video={folder / 'clip.mp4'}"]
    out = tmp_path / "out"
    assert queue(folder / "work.json", "--out", out, *clip, *server, *arguments) == 2
    assert re.search(re.escape(says), capfd.readouterr().err)
    assert not out.exists() and held == (sorted((first.base_dir / "input").iterdir()), first.get("/history").keys())


def test_a_server_that_is_no_comfyui(folder, tmp_path, capfd):
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_address[1]}"
        assert queue(folder / "work.json", "--server", url, "--out", tmp_path / "out") == 2
        other.shutdown()
    assert f"what answers at {url} is no ComfyUI" in capfd.readouterr().err


def test_the_canvas_format_and_a_model_that_is_not_there(first, folder, tmp_path, capfd):
    from demo.importing import ROOT

    assert (
        queue(ROOT / "workflows" / "Wan Animate - Character.json", "--server", first.url, "--out", tmp_path / "out")
        == 2
    )
    assert "choose Workflow > Export (API)" in capfd.readouterr().err
    assert queue(ROOT / "workflows" / "api" / "animate.json", "--server", first.url, "--out", tmp_path / "out") == 2
    assert re.search(r"is '.*\.(safetensors|onnx)', which the server does not have", capfd.readouterr().err)


def test_ctrl_c_cancels_and_the_same_command_goes_on(first, folder, driver, serial, tmp_path):
    out = tmp_path / "out"
    given = (folder / "work.json", "--server", first.url, "--out", out, "--name", "one",
             "--set", f"video={folder / 'clip.mp4'}", "--set", "Soften.sigma=9")  # fmt: skip
    process = driver(*given)
    wait_for(lambda: any(one["event"] == "sent" for one in events(out)) and not first.is_idle())
    process.send_signal(signal.SIGINT)
    process.wait(60)
    wait_for(first.is_idle, 60)
    assert process.returncode in (130, -signal.SIGINT) and not (out / "one.png").exists()
    assert queue(*given) == 0 and sorted(one.name for one in out.iterdir()) == ["one.png", FILE]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_server_and_the_driver_killed(first, start_server, folder, table, driver, serial, tmp_path):
    out = tmp_path / "out"
    with start_server() as second:
        given = (folder / "work.json", "--servers", f"{first.url},{second.url}", "--jobs", table, "--out", out,
                 "--grace", 2)  # fmt: skip
        before = set(first.get("/history"))
        process = driver(*given)
        done = lambda: [one for one in events(out) if one["event"] == "done"]  # noqa: E731
        wait_for(lambda: {one["worker"] for one in done()} == {first.url, second.url})
        process.kill()
        process.wait()
        process = driver(*given)
        wait_for(lambda: second.get("/queue")["queue_running"])
        os.killpg(second.pid, signal.SIGKILL)
        told = process.communicate(timeout=300)[0]
    assert process.returncode == 1, told
    assert re.search(rf"^ *{POISONED}: .*LoadVideo.*5000", told, re.M), told
    assert re.search(rf"^{JOBS} of {JOBS + 1} jobs are in .*, 1 failures", told, re.M), told

    assert {one.name for one in out.iterdir()} == {FILE, *(f"{name}.png" for name in serial)}
    assert not (tmp_path / ".out.lock").exists()
    for name, picture in serial.items():
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{name}.png")), picture)

    finished = done()
    assert sorted(one["name"] for one in finished) == sorted(serial), "once each"
    history = [entry for prompt, entry in first.get("/history").items() if prompt not in before]
    made = [graph_key(entry["prompt"][2]) for entry in history if entry["status"]["status_str"] == "success"]
    assert sorted(made) == sorted(one["key"] for one in finished if one["worker"] == first.url), "nothing run twice"


def test_the_shipped_workflow(first, driving, tmp_path, capfd):
    video, image, detectors = driving
    character = track_beside(image)
    graph = graphs.load_graph("animate")
    graphs.use_small_models(graph, detectors, character and first.upload(character))
    settings = {"segment_length": 5, "guidance_frames": 1, "steps": 1, "sampler_name": "euler"}
    graphs.set_inputs(graph, f"{graphs.KIT}Animate", **settings)
    (tmp_path / "animate.json").write_text(json.dumps(graph))
    given = {"image": image, "video": video, "LoadVideo.limit": 5, "LoadVideo.width": 128, "LoadVideo.height": 96,
             "seed": 3, "LoadVideo.fps": 30}  # fmt: skip
    settings = [one for name, value in given.items() for one in ("--set", f"{name}={value}")]
    assert queue(tmp_path / "animate.json", "--server", first.url, "--out", tmp_path / "out", *settings) == 0
    assert "Animate Character" in capfd.readouterr().err
    assert len(VideoSource(tmp_path / "out" / "animate.mp4")) == 5


def test_the_client_as_others_use_it(first, folder):
    client = ComfyClient(first.url + "/")
    graph = json.loads((folder / "work.json").read_text())
    graph["1"]["inputs"] |= {"file": client.upload(folder / "clip.mp4"), "start": 5000}
    with pytest.raises(PromptFailed, match="LoadVideo.*5000"):
        first.run(graph)
    assert client.input_size("clip.mp4") == (folder / "clip.mp4").stat().st_size
    assert client.input_size("none.mp4") is None
    server = ComfyServer(first.url)
    assert server.alive()
    with pytest.raises(InputError, match="is no address"):
        ComfyClient("127.0.0.1:8188")
