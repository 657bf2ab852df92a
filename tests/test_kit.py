"""The commands' own tools: finding and starting a host, whose modules get imported, what the demo asks for."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo import environment, graphs, host, run
from demo.example import clip_at_hand, examples_folder, track_beside
from demo.server import HostServer
from demo.small_models import DETECTION
from wan_animate.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def fake_host(folder: Path, main: str = "raise SystemExit(3)") -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").write_text(main)
    (folder / "comfyui_version.py").write_text('__version__ = "0.33.1"\n')
    return folder


def test_host_by_path(tmp_path):
    path = fake_host(tmp_path / "Comfy UI")
    found = host.find_host({"COMFYUI_PATH": str(path)})
    assert (found.path, found.version, found.models) == (path, "0.33.1", path / "models")
    assert found.python == Path(sys.executable)
    (path / ".venv" / "bin").mkdir(parents=True)
    (path / ".venv" / "bin" / "python").touch()
    assert host.find_host({"COMFYUI_PATH": str(path)}).python == path / ".venv" / "bin" / "python"
    assert host.find_host({"COMFYUI_PATH": str(path), "COMFYUI_PYTHON": sys.executable}).python == Path(sys.executable)


def test_host_at_home_or_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setattr(host, "ROOT", tmp_path / "elsewhere")
    monkeypatch.setattr(host, "__file__", str(tmp_path / "elsewhere" / "demo" / "host.py"))
    assert host.find_host({}) is None
    path = fake_host(tmp_path / "comfy" / "ComfyUI")
    assert host.find_host({"COMFYUI_PATH": ""}).path == path
    assert host.find_host({"COMFYUI_PATH": "none"}) is None


def test_host_around_this_folder(tmp_path, monkeypatch):
    path = fake_host(tmp_path / "ComfyUI")
    monkeypatch.setattr(host, "ROOT", path / "custom_nodes" / "ComfyUI-WanAnimateKit")
    assert host.find_host({}).path == path


@pytest.mark.parametrize("name, value", [("COMFYUI_PATH", "/nowhere/at/all"), ("COMFYUI_PYTHON", "/no/python")])
def test_a_wrong_path_is_said(tmp_path, name, value):
    environ = {"COMFYUI_PATH": str(fake_host(tmp_path / "host")), name: value}
    with pytest.raises(host.HostError, match=f"^{name} is {value}, but there is no"):
        host.find_host(environ)


def test_only_our_packages_are_found_by_name():
    code = (
        "import sys; from demo import importing; importing.install(); importing.install()\n"
        "import wan_animate.errors, demo.graphs\n"
        "assert not any(importing._is_root(entry) for entry in sys.path), sys.path\n"
        "try:\n    import nodes\nexcept ModuleNotFoundError:\n    print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


def test_nodes_is_the_hosts(pack, pack_nodes, host):
    import nodes

    assert Path(nodes.__file__).parent == host.path
    assert "WanAnimateKitAnimate" in pack_nodes
    assert sys.modules[f"{pack.__name__}.nodes"].__file__ == str(ROOT / "nodes" / "__init__.py")


def test_a_host_that_dies_is_reported_with_its_log(tmp_path):
    path = fake_host(tmp_path / "host", "import sys; print('no such thing as a GPU'); sys.exit(3)")
    described = host.Host(path, Path(sys.executable), "0")
    with pytest.raises(host.HostError, match=r"(?s)exit 3.*no such thing as a GPU"):
        HostServer(described, tmp_path / "base").start()


def test_a_host_that_will_not_stop_is_stopped(tmp_path):
    psutil = pytest.importorskip("psutil", reason="psutil is missing: run make setup")
    main = """
import http.server, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
port = int(sys.argv[sys.argv.index("--port") + 1])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""
    described = host.Host(fake_host(tmp_path / "host", main), Path(sys.executable), "0")
    base = tmp_path / "base"
    with HostServer(described, base) as server:
        assert server.get("/system_stats") == {}
        process = psutil.Process(server.pid)
        family = [process, *process.children(recursive=True)]
        linked = base / "custom_nodes" / host.PACK_NAME
        assert linked.resolve() == ROOT
        started = time.monotonic()
    assert time.monotonic() - started < 30
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert not alive and len(gone) == 2
    assert (ROOT / "demo" / "host.py").exists()


def test_own_base_folder_is_removed_and_the_repository_is_not(tmp_path):
    described = host.Host(fake_host(tmp_path / "host"), Path(sys.executable), "0")
    server = HostServer(described)
    with pytest.raises(host.HostError), server:
        pass
    assert not server.base_dir.exists() and (ROOT / "wan_animate").is_dir()


def check_links(graph: dict) -> None:
    for node, what in graph.items():
        for name, value in what["inputs"].items():
            if isinstance(value, list):
                assert value[0] in graph, f"{what['class_type']} {node}.{name} is connected to nothing"


@pytest.mark.parametrize(("mode", "character"), [("animate", True), ("animate", False), ("replace", False)])
def test_graph_changes_leave_no_loose_end(mode, character):
    graph = graphs.load_graph(mode)
    graphs.use_small_models(graph, "dancer", "character.npz" if character else None)
    graphs.use_track(graph, "track.npz", 640, 368)
    saved = graphs.save_signals(graph, 30)
    check_links(graph)
    kinds = {what["class_type"] for what in graph.values()}
    assert not kinds & {"CLIPLoader", "CLIPVisionLoader", "CLIPVisionEncode", "WanAnimateKitLoadPoseDetector"}
    assert {"WanAnimateKitLoadPoseTrack", "WanAnimateKitCropFace", "WanAnimateKitLoadPrompt"} <= kinds
    assert set(saved) == {"pose", "face"} | ({"mask"} if mode == "replace" else set())
    sized = "WanAnimateKitRetargetPose" if character else "WanAnimateKitDrawPose"
    assert graph[graphs.node_of(graph, sized)]["inputs"]["width"] == 640
    assert len(graphs.nodes_of(graph, "WanAnimateKitLoadPoseTrack")) == 1 + character


@pytest.mark.parametrize("detectors", list(DETECTION))
@pytest.mark.parametrize("character", [None, "character.npz"])
def test_small_detectors_are_not_shown_the_character(detectors, character):
    """They find the drawn dancer or a standing pose, and nobody in a picture of a robot."""
    graph = graphs.load_graph("animate")
    graphs.use_small_models(graph, detectors, character)
    check_links(graph)
    (detect,) = graphs.nodes_of(graph, f"{graphs.KIT}DetectPose")
    assert graph[detect]["inputs"]["frames"][0] == graphs.node_of(graph, f"{graphs.KIT}LoadVideo")
    assert bool(graphs.nodes_of(graph, f"{graphs.KIT}RetargetPose")) == (character is not None)


def test_one_variable_says_where_the_example_clip_is(tmp_path):
    """For tests, demo and benchmarks alike; another folder, or none, gives our own clip."""
    folder = tmp_path / "clips" / "animate"
    folder.mkdir(parents=True)
    names = video, image = folder / "video.mp4", folder / "image.jpeg"
    for path in names:
        path.touch()
    environ = {"WAN_ANIMATE_EXAMPLES": str(tmp_path / "clips")}
    assert clip_at_hand(tmp_path / "own", environ) == (video, image, "template")
    job = run.options(environ)
    assert (job.video, job.image, job.own) == (video, image, False)
    for named in ("none", str(tmp_path / "elsewhere")):
        video, image, detectors = clip_at_hand(tmp_path / "own", {"WAN_ANIMATE_EXAMPLES": named})
        assert (video.name, image.name, detectors) == ("dancer.mp4", "robot.png", "dancer")
        assert track_beside(image) is not None
    assert examples_folder({}) == ROOT.parent / "shared" / "examples"


def test_demo_options(tmp_path):
    image, video = tmp_path / "my picture.png", tmp_path / "dance.mp4"
    image.touch(), video.touch()
    (tmp_path / "dance_pose.npz").touch(), (tmp_path / "my picture_pose.npz").touch()
    job = run.options({"IMAGE": str(image), "VIDEO": str(video), "MODE": "replace", "FRAMES": "0", "STEPS": ""})
    assert (job.image, job.video, job.mode, job.frames, job.steps, job.own) == (image, video, "replace", 0, None, False)
    assert job.track == tmp_path / "dance_pose.npz" and job.character == tmp_path / "my picture_pose.npz"
    run.small_settings(job)
    assert (job.frames, job.steps) == (0, run.SMALL["STEPS"])


@pytest.mark.parametrize(
    "environ",
    [
        {"MODE": "dance"}, {"STEPS": "many"}, {"VIDEO": "/no/video.mp4"}, {"WEIGHTS": "huge"}, {"STEPS": "0"},
        {"STEPS": "²"}, {"STEPS": "-1"}, {"WIDTH": "8"}, {"HEIGHT": "100000"}, {"SEGMENT": "0"},
        {"PREVIOUS_FRAMES": "0"}, {"SEED": str(2**64)},
    ],
)  # fmt: skip
def test_demo_options_that_cannot_work(environ):
    (name,) = environ
    with pytest.raises(InputError, match=f"^{name} is "):
        run.options(environ)


def test_demo_segments_that_the_model_cannot_make():
    with pytest.raises(InputError, match="segment length is 10, but the model works in 4n.1 frames"):
        run.options({"SEGMENT": "10"})
    with pytest.raises(InputError, match=r"previous frames \(9\) must be fewer than the segment length \(9\)"):
        run.options({"SEGMENT": "9", "PREVIOUS_FRAMES": "9"})


def test_a_demo_that_cannot_write_its_result(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OUT", str(tmp_path / "file" / "out"))
    assert run.main() == 1
    assert capsys.readouterr().err.startswith("demo: the result (OUT) cannot be written to the folder ")
    with pytest.raises(InputError, match="the result cannot be written to"):
        run.write_whole(tmp_path / "no" / "a.mp4", b"x")
    assert run.write_whole(tmp_path / "a.mp4", b"x").read_bytes() == b"x"


def test_real_weights_are_found_by_name_in_any_subfolder():
    listed = {
        "diffusion_models": ["flux.safetensors", "Wan22\\Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors"],
        "vae": ["wan/wan_2.1_vae.safetensors"],
        "detection": ["yolov10m.onnx"],
    }
    assert run.real_files(listed) == {
        "transformer": "Wan22\\Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors",
        "vae": "wan/wan_2.1_vae.safetensors",
        "person_detector": "yolov10m.onnx",
    }


def test_own_example_clip(tmp_path):
    import av

    from demo.example import FPS, SECONDS, SIZE, write_example

    video, image = write_example(tmp_path)
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == SIZE and stream.average_rate == FPS
        assert stream.frames == round(SECONDS * FPS)
        assert container.streams.audio
    stamp = video.stat().st_mtime_ns
    assert write_example(tmp_path) == (video, image) and video.stat().st_mtime_ns == stamp


def test_set_up_installs_what_the_project_names(tmp_path):
    wanted = environment.requirements()
    names = (ROOT / "requirements.txt").read_text().split()
    assert wanted[: len(names)] == names
    assert any(one.startswith("diffusers>=") for one in wanted) and any(one.startswith("pytest>=") for one in wanted)
    assert not any(one.startswith(("onnxruntime-gpu", "ray")) for one in wanted)
    assert not environment._fits(tmp_path / "nothing", None)
    before = environment.wanted_state(None)
    after = environment.wanted_state(host.Host(tmp_path, Path(sys.executable), "1"))
    assert before != after and json.loads(json.dumps(after)) == after
