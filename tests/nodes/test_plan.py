"""Plan Clip and a whole job on a running server: what was planned is what happens; what the run says meanwhile and
at its end; what the mp4 of Save Video says of how it was made."""

from __future__ import annotations

import io
import json
import shutil
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from demo import graphs
from demo.example import Dancer, track_beside
from demo.server import PromptRejected
from wan_animate import cli
from wan_animate.chain.segment_files import LosslessSource
from wan_animate.plan.cards import Device
from wan_animate.plan.clip_plan import plan_clip
from wan_animate.plan.measured import Runs
from wan_animate.record.clip_record import TAG, read_record
from wan_animate.record.frame_hashes import FrameHashes
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

KIT = graphs.KIT
LENGTH, FRAMES, STEPS, FPS, SEGMENTS = 5, 8, 2, 30, 2
WIDTH, HEIGHT = 128, 80
PREVIEW, PREVIEW_OF_NODE = 1, 4  # the host's binary messages
PHASE = "wan_animate_kit.phase"


@pytest.fixture(scope="module")
def host_server(start_server):
    """A server of its own, on which nothing was measured before, and whose device is known."""
    with start_server("--cpu") as server:
        yield server


@pytest.fixture(scope="module")
def graph(host_server, driving):
    """The shipped animate workflow on small weights, with Plan Clip beside Animate Character."""
    video, image, detectors = driving
    character = track_beside(image)
    graph = graphs.load_graph("animate")
    graphs.use_small_models(graph, detectors, character and host_server.upload(character))
    graphs.set_inputs(graph, "LoadImage", image=host_server.upload(image, "jane-doe-picture.png"))
    graphs.set_inputs(
        graph, f"{KIT}LoadVideo", file=host_server.upload(video, "jane-doe-dance.mp4"), fps=FPS, width=WIDTH,
        height=HEIGHT, start=0, limit=FRAMES,
    )  # fmt: skip
    settings = dict(segment_length=LENGTH, guidance_frames=1, steps=STEPS, seed=31, sampler_name="euler")
    graphs.set_inputs(graph, f"{KIT}Animate", **settings)
    wired = graph[graphs.node_of(graph, f"{KIT}Animate")]["inputs"]
    graphs.add(
        graph, f"{KIT}PlanClip", frames=wired["pose"], mode="animate", steps=STEPS, cfg=1.0, segment_length=LENGTH,
        previous_frames=1, pose=[graphs.driver_detect(graph), 0], reference_image=wired["reference_image"],
    )  # fmt: skip
    return graph


def planned(graph: dict) -> dict:
    """What the frontend queues for Plan Clip alone: the node and what is above it."""
    wanted, pending = {}, [graphs.node_of(graph, f"{KIT}PlanClip")]
    while pending:
        node = pending.pop()
        wanted[node] = graph[node]
        pending += [value[0] for value in graph[node]["inputs"].values() if isinstance(value, list)]
    return wanted


def plan_text(host_server, graph: dict) -> str:
    entry = host_server.run(planned(graph), timeout=600)
    shown = entry["outputs"][graphs.node_of(graph, f"{KIT}PlanClip")]
    assert shown["images"][0]["type"] == "temp"
    picture = cv2.imdecode(np.frombuffer(host_server.fetch(shown["images"][0]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == 1200 and picture.std() > 20
    return shown["text"][0]


@pytest.fixture(scope="module")
def ran(host_server, graph):
    """(what Plan Clip said before, the run's messages, its history entry, what Plan Clip said after)"""
    before = plan_text(host_server, graph)
    messages = []

    def watch(kind, data):
        if kind == "preview":
            (number,) = struct.unpack(">I", data[:4])
            messages.append((number, data[4:]))
        elif kind == PHASE:
            messages.append((PHASE, data))

    entry = host_server.run(graph, watch, timeout=1200)
    return before, messages, entry, plan_text(host_server, graph)


@pytest.fixture(scope="module")
def saved(host_server, graph, ran, tmp_path_factory):
    """The mp4 that Save Video wrote."""
    (item,) = ran[2]["outputs"][graphs.node_of(graph, "SaveVideo")]["images"]
    path = tmp_path_factory.mktemp("saved") / "saved.mp4"
    path.write_bytes(host_server.fetch(item))
    return path


def job_folder(host_server, saved):
    """Of the clip that was saved, not of another that a test made."""
    clips = host_server.base_dir.glob("output/wan_animate_kit/jobs/*/clip*.mp4")
    (folder,) = [path.parent for path in clips if read_record(path).frames == read_record(saved).frames]
    return folder


@pytest.fixture
def driving_file(host_server):
    """The driving video in the server's input folder, which is put back after the test."""
    path = host_server.base_dir / "input" / "jane-doe-dance.mp4"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def test_the_plan_alone_loads_no_model(host_server, graph):
    kinds = {node["class_type"] for node in planned(graph).values()}
    assert not {f"{KIT}LoadModel", "VAELoader", f"{KIT}Animate"} & kinds
    plan_text(host_server, graph)


def test_before_the_first_run_and_after(ran):
    before, _, _, after = ran
    assert f"| Segments | {SEGMENTS} of {LENGTH} frames, 1 of them taken over (1 in all) |" in before
    assert f"| Clip | {FRAMES} frames of " in before and "| Shots | 1, no cut |" in before
    assert "| Padding | 1 frame at the end" in before
    unknown = "not known for CPU before the first run of this model here"
    assert unknown in before and "smaller than the model was trained on" in before
    assert unknown in after, "the small model's run tells nothing of the one that Plan Clip is for"


def test_the_disk_is_what_the_plan_said(host_server, saved):
    folder = job_folder(host_server, saved)
    clip = LosslessSource([(path, 0, None) for path in sorted(folder.glob("segment_*.mkv"))], Fraction(FPS))
    assert len(clip) == FRAMES
    written = {
        "segments": sum(path.stat().st_size for path in folder.glob("segment_*.mkv")),
        "tails": sum(path.stat().st_size for path in folder.glob("tail_*.safetensors")),
        "video": next(folder.glob("clip*.mp4")).stat().st_size,
    }
    runs = Runs(host_server.base_dir / "user" / "wan_animate_kit" / "runs.json")
    plan = plan_clip(
        (clip.width, clip.height), FRAMES, Fraction(FPS), 9.9, Device("CPU"), segment_length=LENGTH, steps=STEPS,
        runs=runs, model=runs.read()[-1].model,
    )  # fmt: skip
    for part, size in written.items():
        assert getattr(plan.disk, part) == pytest.approx(size, rel=0.2), part
    here = f"estimated from the run here at {clip.width}x{clip.height} on "  # on a CPU the weights are of 32 bits
    assert plan.times is not None and plan.times.basis.startswith(here) and "float32 weights" in plan.times.basis
    assert runs.read()[-1].model == "256x5" and runs.read()[-1].steps == STEPS
    (run,) = [run for run in runs.read() if (run.width, run.height) == (clip.width, clip.height)]
    assert run.step_seconds > 0 and run.device == "CPU" and run.segment_length == LENGTH


def test_the_node_tells_what_is_left(graph, ran):
    node = graphs.node_of(graph, f"{KIT}Animate")
    texts = [data["text"] for kind, data in ran[1] if kind == PHASE and data["node"] == node and "text" in data]
    assert {"segment 2 of 2: sampling, step 1 of 2", "segment 2 of 2: encoding"} <= set(texts), texts
    assert texts[:2] == ["comparing the inputs with finished segments", "begins"]
    assert texts[2].startswith("segment 1 of 2: loading the VAE, encoding")
    assert any(text.startswith("segment 1 of 2: loading the model, sampling") for text in texts)
    assert any(text.startswith("segment 2 of 2: decoding") for text in texts)
    assert texts[-1] == "looking at the finished clip"


def test_the_segments_are_followed(graph, ran):
    """The states that the frontend draws: nothing done, one after the other, all done; and both ends of each."""
    node = graphs.node_of(graph, f"{KIT}Animate")
    told = [data for kind, data in ran[1] if kind == PHASE and data["node"] == node]
    states = [data["state"]["states"] for data in told if "state" in data]
    assert states[0] == ["to do", "to do"] and states[-1] == ["done", "done"]
    for wanted in (["running", "to do"], ["done", "running"]):
        assert wanted in states
    (plan,) = [data["plan"] for data in told if "plan" in data]
    assert sum(plan["frames"]) == FRAMES and plan["first"][0] == 0 and plan["resumed"] == 0
    assert {name for data in told for name in data if name.startswith("ends_")} == {"ends_0", "ends_1"}
    (own,) = ran[2]["outputs"][node]["wan_animate_kit"]
    assert own["timeline"]["state"]["states"] == ["done", "done"] and own["clip"]["frames"] == FRAMES


def test_every_finished_segment_is_previewed(ran):
    pictures = [data for kind, data in ran[1] if kind in (PREVIEW, PREVIEW_OF_NODE)]
    shown = [cv2.imdecode(np.frombuffer(data[data.index(b"\xff\xd8") :], np.uint8), 1) for data in pictures]
    assert len([picture for picture in shown if picture is not None and picture.shape[1] == 510]) >= SEGMENTS


def test_the_boundaries_are_shown_at_the_end(host_server, graph, ran, saved):
    *_, item = ran[2]["outputs"][graphs.node_of(graph, f"{KIT}Animate")]["images"]
    strip = cv2.imdecode(np.frombuffer(host_server.fetch(item), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    folder = job_folder(host_server, saved)
    clip = LosslessSource([(path, 0, None) for path in sorted(folder.glob("segment_*.mkv"))], Fraction(FPS))
    frame = cv2.resize(clip.read(4, 5)[0], (clip.width, clip.height)).astype(int)
    found = strip[: clip.height, : clip.width].astype(int)
    assert np.abs(found - frame).mean() < 2, "the last frame of the first segment comes first"


def test_save_video_keeps_the_record(host_server, graph, saved):
    with av.open(str(saved)) as container:
        assert TAG in container.metadata and "prompt" in container.metadata
    record = read_record(saved)
    assert record.host == "ComfyUI" and record.versions["comfyui"] == "0.33.0"
    settings = record.settings
    assert (settings["seed"], settings["steps"], settings["sampler_name"]) == (31, STEPS, "euler")
    names = {(model.part, model.name) for model in record.models}
    assert ("vae", "wan_2.1_vae-small.safetensors") in names
    assert ("model", "Wan2_2-Animate-small.safetensors") in names
    assert {"driving video", "reference image", "pose", "face", "pose track"} == set(record.inputs)
    hashes = FrameHashes()
    folder = job_folder(host_server, saved)
    for path in sorted(folder.glob("segment_*.mkv")):
        source = LosslessSource([(path, 0, None)], Fraction(FPS))
        hashes.add(source.read(0, len(source)))
        hashes.end_segment()
    assert (record.frames, list(record.segments)) == (hashes.whole, hashes.segments)
    own = read_record(next(folder.glob("clip*.mp4")))
    assert own == record


def test_the_clip_itself_has_nothing_private(host_server, saved):
    """Save Video adds the workflow, as it does for every clip; ours names no file of the user's."""
    content = next(job_folder(host_server, saved).glob("clip*.mp4")).read_bytes()
    for word in ("jane-doe", str(host_server.base_dir), "/tmp", "/root", "/home"):
        assert word.encode() not in content


def test_what_reaches_another_container(host_server, graph, ran, saved, tmp_path):
    """Save Video as mkv: transcoded, its tags in capitals."""
    again = json.loads(json.dumps(graph))
    node = graphs.node_of(again, "SaveVideo")
    again[node]["inputs"] |= {"format": "mkv", "format.codec": "auto"}
    entry = host_server.run(again, timeout=600)
    (item,) = entry["outputs"][node]["images"]
    path = tmp_path / "saved.mkv"
    path.write_bytes(host_server.fetch(item))
    assert read_record(path) == read_record(saved)


def test_settings_that_cannot_run_are_refused_before(host_server, graph):
    bad = planned(json.loads(json.dumps(graph)))
    bad[graphs.node_of(bad, f"{KIT}PlanClip")]["inputs"]["segment_length"] = 10
    with pytest.raises(PromptRejected, match="segment length is 10"):
        host_server.run(bad)


def test_the_file_is_a_video_after_all(saved):
    with av.open(io.BytesIO(saved.read_bytes())) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


def reproduced(server, *arguments) -> int:
    return cli.main(["reproduce", *map(str, arguments), "--server", server.url])


def test_the_clip_is_made_again_on_the_server(host_server, saved, tmp_path, capsys):
    folder = job_folder(host_server, saved)
    before = set(folder.parent.iterdir())
    assert reproduced(host_server, saved, "--out", tmp_path / "again.mp4") == 0
    assert f"the same {FRAMES} frames, bit for bit" in capsys.readouterr().err
    assert read_record(tmp_path / "again.mp4") == read_record(saved)
    (made,) = set(folder.parent.iterdir()) - before
    first, second = (path / "segment_0000.mkv" for path in (folder, made))
    assert not first.samefile(second), "made, not taken from what the server kept"
    shutil.rmtree(made)


def test_another_driving_video_is_told(host_server, saved, driving, driving_file, tmp_path, capsys):
    """The same name in the server's input folder, and other frames in it."""
    shorter = tmp_path / "shorter.mp4"
    if driving[0].stem == "dancer":  # the small networks find the dancer as it is drawn
        source = Dancer(1.0, fps=25)
    else:
        source = VideoSource(driving[0], fps=FPS, size=(WIDTH, HEIGHT), limit=FRAMES + 2)
    write_video(shorter, source)
    host_server.upload(shorter, driving_file.name)
    assert reproduced(host_server, saved, "--out", tmp_path / "again.mp4") == 1
    said = capsys.readouterr().err
    assert "the driving video is another (hash " in said and "other frames from segment 1 of 2 on" in said


def test_what_the_server_lacks_is_told(host_server, saved, driving_file, tmp_path, capsys):
    driving_file.unlink()
    assert reproduced(host_server, saved, "--out", tmp_path / "again.mp4") == 2
    said = capsys.readouterr().err
    assert "refused the workflow" in said and "jane-doe-dance.mp4" in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_no_server_and_no_workflow(host_server, saved, tmp_path, capsys):
    assert cli.main(["reproduce", str(saved)]) == 2
    assert "give --server" in capsys.readouterr().err
    assert cli.main(["reproduce", str(saved), "--server", "http://127.0.0.1:9", f"--out={tmp_path / 'a.mp4'}"]) == 2
    assert "there is no ComfyUI at http://127.0.0.1:9" in capsys.readouterr().err
    assert cli.main(["reproduce", str(saved), "--server", "file:///etc", f"--out={tmp_path / 'a.mp4'}"]) == 2
    assert "is no address" in capsys.readouterr().err
    own = next(host_server.base_dir.glob("output/wan_animate_kit/jobs/*/clip*.mp4"))
    assert reproduced(host_server, own, "--out", tmp_path / "a.mp4") == 2
    assert "holds no workflow" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
