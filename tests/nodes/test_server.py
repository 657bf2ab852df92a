"""The whole job over HTTP on a real ComfyUI: both workflows as they are shipped, on the example clip (or our own),
three chained segments, then Cancel in the middle."""

import io
import os
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from demo import graphs
from demo.example import track_beside
from demo.server import PromptFailed, PromptInterrupted, PromptRejected

KIT = graphs.KIT
LENGTH, GUIDANCE, FRAMES, STEPS, FPS, SEED = 5, 1, 12, 2, 30, 5
SEGMENTS = 3
WIDTH, HEIGHT = 256, 144


@pytest.fixture(scope="module")
def inputs(host_server, driving):
    """(video, image, character's track, detectors, the video's path): names as the graph takes them."""
    video, image, detectors = driving
    character = track_beside(image)
    names = [host_server.upload(path) for path in (video, image)]
    return *names, character and host_server.upload(character), detectors, video


def graph_for(workflow: str, inputs, **animate) -> dict:
    """The shipped workflow with its inputs named."""
    video, image, character, detectors, _ = inputs
    graph = graphs.load_graph(workflow)
    graphs.use_small_models(graph, detectors, character)
    graphs.set_inputs(graph, "LoadImage", image=image)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file=video, fps=FPS, width=WIDTH, height=HEIGHT, start=0, limit=FRAMES)
    settings = dict(segment_length=LENGTH, guidance_frames=GUIDANCE, steps=STEPS, seed=SEED, sampler_name="euler")
    graphs.set_inputs(graph, f"{KIT}Animate", **(settings | animate))
    return graph


def saved_pictures(graph: dict, frames: list, name: str) -> str:
    return graphs.add(graph, "SaveImage", images=frames, filename_prefix=name)


def pictures(host_server, entry: dict, node: str) -> np.ndarray:
    from PIL import Image

    found = [
        np.asarray(Image.open(io.BytesIO(host_server.fetch(item))).convert("RGB"))
        for item in entry["outputs"][node]["images"]
    ]
    return np.stack(found)


def result_file(host_server, entry: dict, graph: dict) -> bytes:
    (item,) = entry["outputs"][graphs.node_of(graph, "SaveVideo")]["images"]
    return host_server.fetch(item)


@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_workflow(host_server, inputs, mode):
    graph = graph_for(mode, inputs)
    animate = graphs.node_of(graph, f"{KIT}Animate")
    frames = graphs.add(graph, f"{KIT}FramesToImage", frames=[animate, 1], start=0, limit=0)
    save = saved_pictures(graph, [frames, 0], mode)
    steps, previews = [], 0

    def watch(kind, data):
        nonlocal previews
        if kind == "progress_state" and data["nodes"].get(animate, {}).get("state") == "running":
            steps.append((data["nodes"][animate]["value"], data["nodes"][animate]["max"]))
        previews += kind == "preview"

    entry = host_server.run(graph, watch, timeout=1200)
    assert {total for _, total in steps if total > 1} == {SEGMENTS * STEPS}, "one bar over segments x steps"
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert max(done for done, _ in steps) == SEGMENTS * STEPS

    with av.open(io.BytesIO(result_file(host_server, entry, graph))) as clip:
        stream = clip.streams.video[0]
        shown = [frame for frame in clip.decode(stream)]
        assert len(shown) == FRAMES
        assert stream.average_rate == Fraction(FPS)
        assert (stream.width, stream.height) == (WIDTH, HEIGHT)
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
    source_has_sound = len(av.open(str(inputs[4])).streams.audio) > 0
    with av.open(io.BytesIO(result_file(host_server, entry, graph))) as clip:
        assert len(clip.streams.audio) == int(source_has_sound)
        if source_has_sound:
            seconds = sum(frame.samples for frame in clip.decode(audio=0)) / clip.streams.audio[0].rate
            assert seconds == pytest.approx(FRAMES / FPS, abs=0.05)

    lossless = pictures(host_server, entry, save)
    assert lossless.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert lossless.std() > 5, "the small weights show the reference, so the clip is no flat field"
    decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in shown])
    assert np.abs(decoded.astype(int) - lossless).mean() < 4, "the mp4 shows the lossless frames"
    leftovers = list(host_server.base_dir.rglob("*.part*"))
    assert not leftovers
    if sys.platform == "linux":
        assert not open_files(host_server), "an idle server holds no clip open"


def open_files(host_server) -> list[str]:
    """Videos and pictures in its folders that it holds open."""
    opened = [os.path.realpath(link) for link in Path(f"/proc/{host_server.pid}/fd").iterdir()]
    base = str(host_server.base_dir.resolve())
    return [file for file in opened if file.startswith(base) and file.endswith((".mp4", ".mkv", ".jpeg", ".png"))]


def test_second_segment_starts_from_the_firsts_last_frame(host_server, inputs):
    """The second segment made by the host's own nodes, continued from the last frame of our first: it starts with that
    frame, and what follows are the pictures of our second segment.

    (That another start would show is held in process, where no rounding is in the way: ``tests/host/test_ports.py``.)
    """
    steps = 1  # the host's own nodes run its slow face encoder in every step
    graph = graph_for("animate", inputs, steps=steps)
    wired = graph[graphs.node_of(graph, f"{KIT}Animate")]["inputs"]
    wired["color"] = "off"  # the host's nodes match no colours
    # The host crops a reference of another size where we fit it onto black: give both one of the clip's size.
    size = dict(width=WIDTH, height=HEIGHT)
    scaled = graphs.add(
        graph, "ImageScale", image=wired["reference_image"], upscale_method="area", crop="disabled", **size
    )
    wired["reference_image"] = [scaled, 0]
    frames = {"ours": [graphs.node_of(graph, f"{KIT}Animate"), 1], "pose": wired["pose"], "face": wired["face"]}
    frames = {
        name: [graphs.add(graph, f"{KIT}FramesToImage", frames=link, start=0, limit=0), 0]
        for name, link in frames.items()
    }
    before = graphs.add(graph, "ImageFromBatch", image=frames["ours"], batch_index=LENGTH - 1, length=1)
    conditioned = graphs.add(
        graph,
        "WanAnimateToVideo",
        **{name: wired[name] for name in ("positive", "negative", "vae", "reference_image")},
        **size,
        length=LENGTH,
        batch_size=1,
        continue_motion_max_frames=GUIDANCE,
        video_frame_offset=LENGTH,
        face_video=frames["face"],
        pose_video=frames["pose"],
        continue_motion=[before, 0],
    )
    sampled = graphs.add(
        graph,
        "KSampler",
        model=[graphs.add(graph, "ModelSamplingSD3", model=wired["model"], shift=5.0), 0],
        seed=SEED + 1,
        steps=steps,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        positive=[conditioned, 0],
        negative=[conditioned, 1],
        latent_image=[conditioned, 2],
        denoise=1.0,
    )
    trimmed = graphs.add(graph, "TrimVideoLatent", samples=[sampled, 0], trim_amount=[conditioned, 3])
    decoded = graphs.add(graph, "VAEDecode", samples=[trimmed, 0], vae=wired["vae"])
    saves = saved_pictures(graph, frames["ours"], "ours"), saved_pictures(graph, [decoded, 0], "host")
    entry = host_server.run(graph, timeout=1200)
    ours, theirs = (pictures(host_server, entry, save).astype(int) for save in saves)
    start = np.abs(theirs[0] - ours[LENGTH - 1])
    assert start.mean() < ours.std() / 4, (start.mean(), ours.std())
    new = np.abs(theirs[GUIDANCE:] - ours[LENGTH : 2 * LENGTH - GUIDANCE])
    # Ours rounds where Save Image cuts off (half a level on average), and theirs went on from a frame of 8 bits.
    # On a card both compute in half precision, and ours by other kernels: 6 and 1.7 were seen there.
    most, mean = (10, 2.5) if torch.cuda.is_available() else (2, 0.8)
    assert new.max() <= most and new.mean() < mean, (new.max(), new.mean())


@pytest.fixture(scope="module", autouse=True)
def log_before(host_server):
    """Characters of the log that the graphs of other files have caused."""
    return len(host_server.log())


def test_cancel_in_the_middle(host_server, inputs):
    """Cancel in the second segment: the server takes the next prompt, only whole segments are left, and the same prompt
    goes on from there."""
    graph = graph_for("animate", inputs, seed=77)
    animate = graphs.node_of(graph, f"{KIT}Animate")

    def cancel(kind, data):
        if kind == "progress_state" and data["nodes"].get(animate, {}).get("value", 0) >= STEPS + 1:
            host_server.interrupt()

    with pytest.raises(PromptInterrupted):
        host_server.run(graph, cancel, timeout=1200)
    deadline = time.monotonic() + 20
    while not host_server.is_idle() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert host_server.is_idle()
    jobs = [path for path in (host_server.base_dir / "output" / "wan_animate_kit" / "jobs").iterdir()]
    (job,) = [path for path in jobs if not list(path.glob("*.mp4"))]
    names = sorted(path.name for path in job.iterdir())
    assert names == ["segment_0000.json", "segment_0000.mkv", "segments.json", "tail_0000.safetensors"]
    assert not [path for path in (host_server.base_dir / "output").rglob("*77*.mp4") if "jobs" not in path.parts]

    values = []

    def watch(kind, data):
        state = data["nodes"].get(animate, {}) if kind == "progress_state" else {}
        if state.get("state") == "running" and state.get("max", 0) > 1:
            values.append(state["value"])

    entry = host_server.run(graph, watch, timeout=1200)
    assert min(values) >= STEPS, "the first segment is not made again"
    with av.open(io.BytesIO(result_file(host_server, entry, graph))) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == FRAMES
    assert list(job.glob("*.mp4")) and len(jobs) == len(list(job.parent.iterdir()))


def refused(host_server, graph) -> str:
    """What the host tells the user: at once for values it can see, from the node for the rest."""
    try:
        host_server.run(graph, timeout=300)
    except PromptRejected as error:
        return str(error)
    except PromptFailed as error:
        return str(error)
    raise AssertionError("the host took it")


BAD = [
    ("segment", dict(segment_length=10), ["segment length is 10", "9 or 13"]),
    ("guidance", dict(guidance_frames=5), ["previous frames (5)", "segment length (5)"]),
    ("mode", dict(mode="replace"), ["replace mode needs a background", "set mode to animate"]),
]


@pytest.mark.parametrize("changes, says", [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_settings_are_told_in_a_sentence(host_server, inputs, changes, says):
    message = refused(host_server, graph_for("animate", inputs, **changes))
    assert all(part in message for part in says), message


def test_wrong_vae_and_lengths_are_told_in_a_sentence(host_server, inputs):
    graph = graph_for("animate", inputs)
    animate = graph[graphs.node_of(graph, f"{KIT}Animate")]["inputs"]
    vae = graphs.add(graph, "VAELoader", vae_name="pixel_space")
    animate["vae"] = [vae, 0]
    message = refused(host_server, graph)
    assert "Wan 2.1 VAE" in message and "wan_2.1_vae.safetensors" in message

    graph = graph_for("animate", inputs)
    animate = graph[graphs.node_of(graph, f"{KIT}Animate")]["inputs"]
    short = graphs.add(graph, f"{KIT}FramesToImage", frames=animate["face"], start=0, limit=FRAMES - 3)
    animate["face"] = [short, 0]
    message = refused(host_server, graph)
    assert f"face video has {FRAMES - 3} frames" in message and f"pose video has {FRAMES}" in message


def test_log_has_no_complaint_about_the_pack(host_server, inputs, log_before):
    def about_us(text):
        return [line for line in text.splitlines() if "animate" in line.lower() or "WanAnimateKit" in line]

    lines = about_us(host_server.log())
    loud = [
        line
        for line in about_us(host_server.log()[log_before:])
        if any(word in line for word in ("WARNING", "Error", "Traceback", "IMPORT FAILED"))
    ]
    # what the graphs of this file are told by design: refused inputs, masks that the small segmenter cannot follow
    # or that leave parts of the person out, and boundaries between what untrained weights make
    told = ("InputError", "segment character: The segmenter lost", "boundaries between segments show", "the old person")
    assert not [line for line in loud if not any(words in line for words in told)], loud
    (timing,) = [line for line in lines if "seconds" in line and "custom_nodes" in line]
    assert float(timing.split("seconds")[0].split()[-1]) < 1.0, timing
