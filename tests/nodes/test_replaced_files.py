"""A file that is replaced under its name while ComfyUI holds what it loaded from it: size and time are as they were."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from demo import example, graphs, small_models
from demo.server import PromptFailed
from wan_animate.pose.track import PoseTrack
from wan_animate.video.write import write_video

KIT = graphs.KIT
FRAMES, SIZE = 5, (96, 64)


@pytest.fixture(scope="module")
def server(start_server):
    """One of its own, whose files are no links to those of other tests."""
    starting = start_server()
    (starting.base_dir / "custom_nodes").mkdir()
    shutil.copy(Path(__file__).with_name("tiny_text_encoder.py"), starting.base_dir / "custom_nodes")
    with starting as running:
        folder = running.base_dir
        for path in [*(folder / "models").rglob("*.safetensors"), *(folder / "models").rglob("*.onnx")]:
            copied = path.with_name(path.name + ".copy")
            shutil.copy2(path, copied)
            os.replace(copied, path)
        example.write_example(folder / "input")
        dancer = example.Dancer(FRAMES / 30, SIZE, 30)
        track = PoseTrack(np.stack([dancer.keypoints(at) for at in range(FRAMES)]), *SIZE)
        track.save(folder / "input" / "track.npz")
        write_video(folder / "input" / "driver.mp4", dancer, None, 30)
        yield running


def replace(path: Path, new: bytes | None = None) -> None:
    """Puts another file of this size and time in place of one; without ``new``, with a bit in its middle turned."""
    stat = path.stat()
    if new is None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        new = bytes(data)
    other = path.with_name(path.name + ".new")
    other.write_bytes(new)
    assert len(new) == stat.st_size
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(other, path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def ran(server, graph: dict) -> set[str]:
    """Classes of the nodes that ran, and did not come from ComfyUI's cache."""
    executed: set[str] = set()

    def watch(kind, data):
        if kind == "executing" and data.get("node"):
            executed.add(graph[data["node"]]["class_type"])

    server.run(graph, watch, timeout=600)
    return executed


def loaders() -> dict:
    """Every node of ours that loads a file by its name, with something that asks for its output."""
    graph: dict = {}
    detector, pose = small_models.DETECTION["dancer"]
    model = graphs.add(graph, f"{KIT}LoadModel", model=small_models.TRANSFORMER_NAME, precision="auto", products="auto")
    lora = dict(lora=small_models.LORA_NAME, strength=1.0, start=0.0, end=1.0, blocks="", apply="auto")
    video = dict(file="driver.mp4", fps=30, width=SIZE[0], height=SIZE[1], start=0, limit=FRAMES, fit="fill")
    made = [
        graphs.add(graph, f"{KIT}ApplyLora", model=[model, 0], **lora),
        graphs.add(graph, f"{KIT}RelightLora", model=[model, 0], **lora),
        graphs.add(graph, f"{KIT}LoadPoseDetector", detector=detector, pose_model=pose, provider="cpu"),
        graphs.add(graph, f"{KIT}LoadSegmenter", model=small_models.SEGMENTER_NAME, precision="auto"),
        graphs.add(graph, f"{KIT}LoadPoseTrack", file="track.npz"),
        graphs.add(graph, f"{KIT}LoadPrompt", file=small_models.PROMPT_NAME),
        graphs.add(graph, f"{KIT}LoadVideo", **video),
    ]
    for node in made:
        graphs.add(graph, "PreviewAny", source=[node, 0])
    return graph


def changed_track(path: Path) -> bytes:
    """Another pose in a file of the same size."""
    track = PoseTrack.load(path)
    for step in range(1, 200):
        keypoints = track.keypoints.copy()
        keypoints[0, 0, 0] += step / 7
        other = path.with_name("other.npz")
        PoseTrack(keypoints, track.width, track.height).save(other)
        data = other.read_bytes()
        other.unlink()
        if len(data) == path.stat().st_size and data != path.read_bytes():
            return data
    raise AssertionError("no other pose of this size")


def test_every_loader_looks_again(server):
    graph, models, inputs = loaders(), server.base_dir / "models", server.base_dir / "input"
    names = {node["class_type"] for node in graph.values()} - {"PreviewAny"}
    assert ran(server, graph) >= names
    assert not ran(server, graph) & names, "nothing has changed"
    detector, pose = small_models.DETECTION["dancer"]
    lora = {f"{KIT}ApplyLora", f"{KIT}RelightLora"}
    files = {
        models / "diffusion_models" / small_models.TRANSFORMER_NAME: {f"{KIT}LoadModel", *lora},
        models / "loras" / small_models.LORA_NAME: lora,
        models / "detection" / detector: {f"{KIT}LoadPoseDetector"},
        models / "detection" / pose: {f"{KIT}LoadPoseDetector"},
        models / "sam2" / small_models.SEGMENTER_NAME: {f"{KIT}LoadSegmenter"},
        models / "wan_animate_prompts" / small_models.PROMPT_NAME: {f"{KIT}LoadPrompt"},
        inputs / "track.npz": {f"{KIT}LoadPoseTrack"},
        inputs / "driver.mp4": {f"{KIT}LoadVideo"},
    }
    for path, nodes in files.items():
        if path.suffix == ".onnx":  # the same network, copied: another file all the same
            replace(path, path.read_bytes())
        else:
            replace(path, changed_track(path) if path.suffix == ".npz" else None)
        assert ran(server, graph) & names == nodes, path.name


def animate(seed: int = 1) -> dict:
    graph = graphs.load_graph("animate")
    graphs.use_small_sampling(graph)
    graphs.leave_out_retargeting(graph)
    graphs.use_track(graph, "track.npz", *SIZE)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file="driver.mp4", width=SIZE[0], height=SIZE[1], limit=FRAMES)
    graphs.set_inputs(graph, "LoadImage", image="robot.png")
    graphs.set_inputs(graph, f"{KIT}Animate", steps=1, segment_length=FRAMES, seed=seed, sampler_name="euler")
    return graph


def other_weights(path: Path, factor: float) -> bytes:
    """The same model with every tensor scaled, in a file of the same size."""
    from safetensors.torch import load_file, save

    return save({name: value * factor for name, value in load_file(path).items()}, {"format": "pt"})


@pytest.fixture
def new(server):
    """``new(graph)``: the frames of the job that the run made, None where it made none."""
    jobs = server.base_dir / "output" / "wan_animate_kit" / "jobs"

    def made() -> dict[str, bytes]:
        found = {path.name: (path / "segment_0000.mkv").read_bytes() for path in jobs.glob("*")}
        return {name: data for name, data in found.items() if name not in known}

    def new(graph: dict) -> bytes | None:
        ran(server, graph)
        found = made()
        known.update(found)
        assert len(found) <= 1
        return next(iter(found.values()), None)

    known: set[str] = set()
    known.update(made())
    return new


def test_a_job_is_of_the_model_that_made_it(server, new):
    """Load Animate Model looks again. ComfyUI's Load VAE does not: a clip that is made with the VAE in memory is not
    taken for one of the file on disk."""
    models = server.base_dir / "models"
    first = new(animate())
    assert first is not None and new(animate()) is None
    transformer = models / "diffusion_models" / small_models.TRANSFORMER_NAME
    whole = transformer.read_bytes()
    replace(transformer, other_weights(transformer, 1.05))
    second = new(animate())
    assert second is not None and second != first, "made with the new model, under a key of its own"
    replace(transformer, whole)
    assert new(animate()) is None, "the former model again: its job is found"

    vae = models / "vae" / small_models.VAE_NAME
    replace(vae, other_weights(vae, 0.9))
    log = server.log()
    held = new(animate(seed=3))
    assert held is not None and f"{vae.name} has changed since ComfyUI loaded it" in server.log()[len(log) :]
    server.forget()
    anew = new(animate(seed=3))
    assert anew is not None and anew != held, "the clip of the VAE in memory is not taken for one of the new file"


@pytest.mark.parametrize(
    ("folder", "node", "taken"),
    [
        ("text_encoders", "TestPromptOfFile", "positive"),
        ("clip_vision", "TestFeaturesOfFile", "clip_vision_output"),
    ],
)
def test_a_job_is_of_what_was_encoded(server, new, folder, node, taken):
    """ComfyUI keeps what an encoder made, also after its file is replaced: a clip that is made with that is not taken
    for one of the new file, and is found again where the file is the former one."""
    file = server.base_dir / "models" / folder / "encoder.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"first encoder")

    def graph(seed: int) -> dict:
        made = animate(seed)
        encoder = graphs.add(made, node, file=file.name)
        graphs.set_inputs(made, f"{KIT}Animate", **{taken: [encoder, 0]})
        return made

    assert new(graph(20)) is not None and new(graph(20)) is None
    replace(file, b"other encoder")
    held = new(graph(21))
    assert held is not None, "made with what ComfyUI holds"
    server.forget()
    anew = new(graph(21))
    assert anew is not None and anew != held
    replace(file, b"first encoder")
    server.forget()
    assert new(graph(21)) is None, "the clip of the former file is there"


def test_a_model_that_is_overwritten_in_its_place(server, new):
    """Its pages may be what ComfyUI computes with: the run ends in a sentence, and goes on once it is loaded again."""
    vae = server.base_dir / "models" / "vae" / small_models.VAE_NAME
    assert new(animate(30)) is not None
    other = other_weights(vae, 0.95)
    with open(vae, "r+b") as file:
        file.write(other)
    with pytest.raises(PromptFailed) as error:
        server.run(animate(31), timeout=600)
    assert f"{vae.name} was overwritten while its weights were in memory" in error.value.text
    assert "unload models and the execution cache" in error.value.text
    server.forget()
    assert new(animate(31)) is not None
