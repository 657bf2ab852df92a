"""A running server under attack: names, numbers and small files, over the HTTP API as anybody can send them.

Each is answered in one sentence, soon and in little memory; nothing outside of the server's folders is read or written,
and the server goes on.
"""

from __future__ import annotations

import shutil
import time
import urllib.error
from pathlib import Path

import pytest

from demo import graphs, small_models
from demo.server import PromptFailed, PromptRejected

from ..support import hostile_media, hostile_pickles, hostile_weights
from ..support.figures import dancer_track

KIT = graphs.KIT
SECONDS, MEGABYTES, LONGEST = 30, 200, 700
NAMES = [
    "..", "../../../../etc/passwd", "/etc/passwd", "C:\\Windows\\win.ini", "\\\\server\\share\\a.mp4", "~/.bashrc",
    "file:///etc/passwd", "../models/vae/x [output]", "passwd [nowhere]", "a\0b", "\ud800", "x" * 5000, "é" * 300, "",
    " ", "CON", 5, True, 1e308, {"a": 1}, [], ["a", "b", "c"],
]  # fmt: skip
PREFIXES = ["../../out", "/tmp/wan_out", "a\0b", "x" * 5000, "..", "a/../../../b", "\ud800", "C:\\out"]
DETECTOR, POSE = small_models.DETECTION["dancer"]
VIDEO = dict(fps=30, width=64, height=64, start=0, limit=0, fit="fill")
LORA = dict(strength=1.0, start=0.0, end=1.0, blocks="", apply="auto")


@pytest.fixture(scope="module")
def server(start_server):
    with start_server() as running:
        folder = running.base_dir / "input"
        hostile_media.write_clip(folder / "good.mp4", range(0, 400, 33))
        dancer_track(6, 64, 64).save(folder / "good.npz")
        for graph in (good(), loader("LoadVideo", "good.mp4"), loader("ApplyLora", small_models.LORA_NAME)):
            running.run(graph, timeout=300)  # right names run; libraries and the model are loaded
        yield running


def good() -> dict:
    """What must still run after every attack."""
    graph: dict = {}
    video = graphs.add(graph, f"{KIT}LoadVideo", file="good.mp4", **VIDEO)
    track = graphs.add(graph, f"{KIT}LoadPoseTrack", file="good.npz")
    for node in (video, track):
        graphs.add(graph, "PreviewAny", source=[node, 0])
    return graph


def load_model(graph: dict) -> str:
    names = dict(model=small_models.TRANSFORMER_NAME, precision="auto", products="auto")
    return graphs.add(graph, f"{KIT}LoadModel", **names)


def loader(name: str, given) -> dict:
    """A graph in which one node of ours takes this name."""
    graph: dict = {}
    if name == "LoadVideo":
        node = graphs.add(graph, f"{KIT}LoadVideo", file=given, **VIDEO)
        images = graphs.add(graph, f"{KIT}FramesToImage", frames=[node, 0], start=0, limit=4)
        graphs.add(graph, "PreviewAny", source=[images, 0])
        return graph
    if name in ("ApplyLora", "RelightLora"):
        node = graphs.add(graph, f"{KIT}{name}", model=[load_model(graph), 0], lora=given, **LORA)
    elif name == "LoadPoseDetector":
        node = graphs.add(graph, f"{KIT}{name}", detector=given, pose_model=POSE, provider="cpu")
    elif name == "LoadModel":
        node = graphs.add(graph, f"{KIT}{name}", model=given, precision="auto", products="auto")
    elif name == "LoadSegmenter":
        node = graphs.add(graph, f"{KIT}{name}", model=given, precision="auto")
    else:
        node = graphs.add(graph, f"{KIT}{name}", file=given)
    graphs.add(graph, "PreviewAny", source=[node, 0])
    return graph


LOADERS = ["LoadVideo", "LoadModel", "ApplyLora", "RelightLora", "LoadPoseTrack", "LoadPrompt", "LoadSegmenter",
           "LoadPoseDetector"]  # fmt: skip


def answer(server, graph: dict) -> str:
    """The sentence that a graph is refused with; "" for one that runs."""
    before, peak = time.monotonic(), begin_peak(server.pid)
    try:
        server.run(graph, timeout=4 * SECONDS)
        said = ""
    except PromptFailed as error:
        assert error.exception_type.endswith("InputError"), f"{error.exception_type}: {error.text}"
        said = error.text
        assert "\n" not in said.strip() and said.rstrip().endswith((".", ")")), said
    except PromptRejected as error:
        said = str(error)
        assert error.node_errors or "\n" not in said, said
        for found in error.node_errors.values():
            for one in found["errors"]:
                assert "Traceback" not in one["details"] and len(one["details"]) < 6000, one
                assert one["type"] != "exception_during_validation", one
    spent, grown = time.monotonic() - before, peak_of(server.pid) - peak
    assert spent < SECONDS and grown < MEGABYTES, f"{spent:.1f} s, {grown} MB: {said[:200]}"
    return said


def begin_peak(pid: int) -> int:
    """MB now; the peak is counted from here (Linux)."""
    status = Path(f"/proc/{pid}/clear_refs")
    if not status.exists():
        return 0
    status.write_text("5")
    return peak_of(pid)


def peak_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) >> 10 if status.exists() else 0


def goes_on(server) -> None:
    assert answer(server, good()) == ""


@pytest.mark.parametrize("name", LOADERS)
def test_names(server, name):
    for given in NAMES:
        assert answer(server, loader(name, given)), given
    goes_on(server)


def defaults(server, kind: str) -> dict:
    """What the frontend puts into a new node's widgets."""
    known = server.node_info()[f"{KIT}{kind}"]["input"]
    found = {}
    for name, (of, *options) in {**known.get("required", {}), **known.get("optional", {})}.items():
        more = options[0] if options else {}
        choices = of if isinstance(of, list) else more.get("options")
        if "default" in more or choices:
            found[name] = more.get("default", choices[0] if choices else None)
    return found


def test_names_of_what_is_written(server, tmp_path):
    outside = {path for path in server.base_dir.parent.iterdir()} | {Path("/tmp/wan_out")}
    before = {path for path in outside if path.exists()}
    kinds = {"SavePoseTrack": "pose", "SaveClip": "frames"}
    for kind, taken in kinds.items():
        for prefix in ("good", *PREFIXES):
            graph: dict = {}
            load = "LoadPoseTrack" if kind == "SavePoseTrack" else "LoadVideo"
            more = {"file": "good.npz"} if kind == "SavePoseTrack" else {"file": "good.mp4", **VIDEO}
            node = graphs.add(graph, f"{KIT}{load}", **more)
            given = {**defaults(server, kind), taken: [node, 0], "filename_prefix": prefix}
            graphs.add(graph, f"{KIT}{kind}", **given)
            said = answer(server, graph)
            assert bool(said) == (prefix != "good") or prefix == "C:\\out", (kind, said)  # a plain name but on Windows
    assert {path for path in server.base_dir.parent.iterdir()} | before == before
    assert not Path("/tmp/wan_out").exists() or Path("/tmp/wan_out") in before
    goes_on(server)


def test_nodes_without_inputs(server):
    """What is missing is said by the host, and no check of ours fails for it."""
    for name in server.node_info():
        if name.startswith(KIT):
            graph: dict = {}
            graphs.add(graph, "PreviewAny", source=[graphs.add(graph, name), 0])
            answer(server, graph)
    goes_on(server)


def animate(**changed) -> dict:
    graph = graphs.load_graph("animate")
    graphs.use_small_sampling(graph)
    graphs.leave_out_retargeting(graph)
    graphs.use_track(graph, "good.npz", 64, 64)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file="good.mp4", width=64, height=64, limit=6)
    graphs.set_inputs(graph, "LoadImage", image="character.png")
    graphs.set_inputs(graph, f"{KIT}Animate", **changed)
    return graph


@pytest.mark.parametrize("name", ["segment_length", "guidance_frames", "steps", "seed"])
def test_numbers_of_animate(server, name):
    from PIL import Image

    Image.new("RGB", (64, 48), "grey").save(server.base_dir / "input" / "character.png")
    for given in (1_000_001, -3, float("nan"), float("inf"), "9" * 5000, 1e308, "many", {"a": 1}, [], 2**70):
        if (name, given) == ("seed", 1_000_001):
            continue
        assert name in answer(server, animate(**{name: given})), given
    goes_on(server)


def test_numbers_of_a_video(server):
    wrong = [-1, float("nan"), float("inf"), "9" * 5000, 1e308, 10**12, "many", {}, 2**70]
    for name in ("fps", "width", "height", "start", "limit"):
        for given in wrong:
            graph = loader("LoadVideo", "good.mp4")
            graphs.set_inputs(graph, f"{KIT}LoadVideo", **{name: given})
            assert name in answer(server, graph), given
    goes_on(server)


def test_videos(server, tmp_path):
    """A playlist would read its neighbour, which is made beside it."""
    made = {name: hostile_media.text_file(*of) for name, of in hostile_media.PLAYLISTS.items()}
    late = [0, 33, 66, 30_000_000_000]
    made["a last stamp at 3e7 s"] = lambda folder: hostile_media.write_clip(folder / "late.mkv", late)
    made["a gap of 1e6 s"] = lambda folder: hostile_media.write_clip(folder / "gap.mkv", [0, 33, 1_000_000_000])
    made["a table of 1e8 frames"] = hostile_media.many_samples
    made["a frame of 16,000 x 16,000"] = hostile_media.huge_frame
    for number, (name, make) in enumerate(made.items()):
        folder = server.base_dir / "input" / str(number)
        folder.mkdir()
        said = answer(server, loader("LoadVideo", f"{number}/{make(folder).name}"))
        assert said or name in ("a table of 1e8 frames", "a gap of 1e6 s"), name
    goes_on(server)


def test_tracks(server):
    bombs = {
        "more": hostile_media.bomb("more", (100_000_000,)),
        "keypoints": hostile_media.bomb("keypoints", (250_000, 133, 3)),
        "claim": hostile_media.claim,
        "rate": hostile_media.archive(fps=-30.0),
        "far": hostile_media.archive(width=10**6, height=10**6),
    }
    for name, make in bombs.items():
        folder = server.base_dir / "input" / f"track {name}"
        folder.mkdir()
        said = answer(server, loader("LoadPoseTrack", f"track {name}/{make(folder).name}"))
        assert said or name == "more", "a key that nobody asked for is not read"
    goes_on(server)


def test_weights(server):
    nested = hostile_weights.nested_json()
    header = hostile_weights.raw_header
    bombs = {
        "nested": header(b'{"a":' + nested.encode() + b"}"),
        "long": lambda folder: _written(folder, (1 << 40).to_bytes(8, "little") + b"{}"),
        "shape": header(b'{"a":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,0]}}' % (2**40, 2**40)),
        "config": hostile_weights.small_animate({"config": nested}),
        "blocks": hostile_weights.small_animate(**{"blocks__10000000__norm3__weight": (8,)}),
    }
    places = {"LoadModel": "diffusion_models", "ApplyLora": "loras", "LoadPrompt": "wan_animate_prompts",
              "LoadSegmenter": "sam2"}  # fmt: skip
    for node, place in places.items():
        for name, make in bombs.items():
            folder = server.base_dir / "models" / place / name
            folder.mkdir(parents=True)
            assert answer(server, loader(node, f"{name}/{make(folder).name}")), (node, name)
            shutil.rmtree(folder)
    goes_on(server)


def test_lora_pickles(server):
    graph: dict = {}
    graphs.add(graph, "PreviewAny", source=[load_model(graph), 0])
    server.run(graph)  # the MODEL that they are put on is no part of what they cost
    for number, (name, body) in enumerate(hostile_pickles.PICKLES.items()):
        folder = server.base_dir / "models" / "loras" / str(number)
        folder.mkdir()
        path = hostile_pickles.opcodes(body, bool(number % 2))(folder)
        assert "take the safetensors form" in answer(server, loader("ApplyLora", f"{number}/{path.name}")), name
    goes_on(server)


def test_what_the_frontend_posts(server):
    for body in (hostile_weights.nested_json(), "{", "[]", '{"client_id": 5}', "\xff"):
        with pytest.raises(urllib.error.HTTPError) as error:
            server.request("/wan_animate_kit/previews", body.encode("latin-1"), {"Content-Type": "application/json"})
        assert error.value.code == 400, body[:20]
    goes_on(server)


def _written(folder: Path, data: bytes) -> Path:
    (folder / "a.safetensors").write_bytes(data)
    return folder / "a.safetensors"
