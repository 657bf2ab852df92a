"""Save Clip, Interpolate Frames and Upscale Frames on a running server, from a video to files."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from demo import graphs
from demo.server import PromptRejected
from demo.small_frame_models import write_interpolation, write_upscaling
from wan_animate.record.clip_record import TAG
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..support.clips import numbered_frame, numbers

KIT = graphs.KIT
WIDTH, HEIGHT, FRAMES, RATE = 160, 96, 9, 24


@pytest.fixture(scope="module")
def models(start_server, host_server):
    """The names of the interpolation and the upscaling model in the server's folders."""
    folder = host_server.base_dir / "models"
    return write_interpolation(folder / "frame_interpolation").name, write_upscaling(folder / "upscale_models").name


@pytest.fixture(scope="module")
def video(host_server, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "numbers.mp4"
    tone = 0.5 * torch.sin(torch.arange(48000) / 10)
    frames = np.stack([numbered_frame(at, WIDTH, HEIGHT) for at in range(FRAMES)])
    sound = {"waveform": tone.expand(1, 2, -1), "sample_rate": 48000}
    write_video(path, TensorSource(frames, RATE), sound, crf=1)
    return host_server.upload(path)


def graph_of(video: str, **save) -> tuple[dict, str, str]:
    """(graph, the loader, the node that saves)"""
    graph: dict = {}
    load = graphs.add(graph, f"{KIT}LoadVideo", file=video, fps=0.0, width=WIDTH, height=HEIGHT, start=0, limit=0)
    settings = {"filename_prefix": "export/clip", "codec": "h264", "quality": "high", "fps": 0.0, "encoder": "auto"}
    settings |= {"color_range": "limited", "audio_start": 0.0, "audio_seconds": 0.0, "compare": "off"}
    saved = graphs.add(graph, f"{KIT}SaveClip", frames=[load, 0], audio=[load, 1], **settings | save)
    return graph, load, saved


def written(server, entry: dict, node: str) -> tuple[Path, dict]:
    """(What was saved, what is shown below the node.)"""
    out = entry["outputs"][node]
    (item,) = out.get("files", out["images"])
    assert item["type"] == "output"
    return server.base_dir / "output" / item["subfolder"] / item["filename"], out


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "prores_422", "prores_4444", "ffv1", "png", "gif", "webp"])
def test_every_format_from_a_graph(host_server, video, codec):
    graph, _, node = graph_of(video, codec=codec)
    seen = []
    entry = host_server.run(graph, lambda kind, data: seen.append(data["value"]) if kind == "progress" else None)
    path, out = written(host_server, entry, node)
    assert path.exists() and path.parent.name == "export" and not list(path.parent.glob(".*"))
    assert seen and max(seen) == FRAMES
    (shown,), text = out["images"], out["text"][0]
    assert text.startswith(f"{path.name}: ") and f"{FRAMES} frames at 24 fps" in text and "software" in text
    assert out["animated"] == [True]
    data = host_server.fetch(shown)
    if codec in ("gif", "webp"):
        assert shown["filename"] == path.name
        return
    with av.open(io.BytesIO(data)) as preview:  # of the kinds that a browser plays
        assert preview.streams.video[0].codec_context.name in ("h264", "libdav1d", "av1") and preview.streams.audio
        assert sum(1 for _ in preview.decode(video=0)) == FRAMES
    assert (shown["type"] == "temp") == (codec not in ("h264", "av1"))
    if codec == "png":
        assert len(list(path.glob("*.png"))) == FRAMES and (path / "sound.wav").exists()
        return
    back = VideoSource(path, fps=0)
    assert back.fps == RATE and numbers(back.read(0, FRAMES)) == list(range(FRAMES))
    with av.open(str(path)) as container:
        tags = {key.lower(): text for key, text in container.metadata.items()}
    prompt = json.loads(tags["prompt"])
    assert prompt.keys() == graph.keys() and all(prompt[name]["inputs"] == graph[name]["inputs"] for name in graph)
    assert TAG not in tags, "nothing made these frames"


def test_larger_and_smoother(host_server, video, models):
    """24 to 60 frames a second and twice the size, in either order, beside the driver."""
    graph, load, node = graph_of(video, codec="ffv1")
    network = graphs.add(graph, "FrameInterpolationModelLoader", model_name=models[0])
    larger = graphs.add(graph, "UpscaleModelLoader", model_name=models[1])
    smooth = graphs.add(graph, f"{KIT}InterpolateFrames", interp_model=[network, 0], frames=[load, 0], fps=60.0)
    large = graphs.add(
        graph, f"{KIT}UpscaleFrames", upscale_model=[larger, 0], frames=[smooth, 0], short_side=2 * HEIGHT
    )
    graph[node]["inputs"] |= {"frames": [large, 0]}
    beside = graphs.add(
        graph, f"{KIT}SaveClip", **graph[node]["inputs"] | {"compare": "side by side", "driver": [load, 0]}
    )
    entry = host_server.run(graph, timeout=600)
    path, out = written(host_server, entry, node)
    clip = VideoSource(path, fps=0)
    assert (clip.width, clip.height, clip.fps, len(clip)) == (2 * WIDTH, 2 * HEIGHT, 60, 21)
    assert "21 frames at 60 fps" in out["text"][0] and "with sound" in out["text"][0]
    with av.open(str(path)) as container:
        assert abs(container.duration / av.time_base - float(Fraction(21, 60))) < 0.03
    both = VideoSource(written(host_server, entry, beside)[0], fps=0)
    assert (both.width, both.height, len(both)) == (4 * WIDTH, 2 * HEIGHT, 21)
    assert np.abs(both.read(5, 6)[:, :, 2 * WIDTH :].astype(int) - clip.read(5, 6)).max() == 0


def test_what_cannot_be_saved_is_said_before_the_run(host_server, video):
    for sentence, change in [
        ("leads out of the output folder", {"filename_prefix": "../clip"}),
        ("names no file", {"filename_prefix": "export/"}),
        ("ProRes 422 is read as limited", {"codec": "prores_422", "color_range": "full"}),
    ]:
        with pytest.raises(PromptRejected, match=sentence):
            host_server.run(graph_of(video, **change)[0])


def test_choices_are_the_engines(pack_nodes):
    from wan_animate.export.codecs import CODECS, QUALITIES, RANGES
    from wan_animate.export.compare import COMPARISONS
    from wan_animate.export.encoder import ENCODERS

    inputs = {one.id: one for one in pack_nodes[f"{KIT}SaveClip"].define_schema().inputs}
    engine = {"codec": CODECS, "quality": QUALITIES, "encoder": ENCODERS, "color_range": RANGES, "compare": COMPARISONS}
    for name, choices in engine.items():
        assert inputs[name].options == list(choices), name


def test_cancel_leaves_nothing(pack_nodes, interrupt):
    import comfy.model_management as management
    import folder_paths

    folder = Path(folder_paths.get_output_directory()) / "cancelled"
    interrupt()
    for codec in ("h265", "png"):
        interrupt()
        with pytest.raises(management.InterruptProcessingException):
            pack_nodes[f"{KIT}SaveClip"].execute(torch.rand(30, 64, 64, 3), "cancelled/clip", codec, "high", 0.0)
    assert not list(folder.iterdir())


def test_the_record_of_animate_character_goes_into_the_file(pack_nodes, pack_module, tmp_path):
    import folder_paths

    source = pack_module("wan_animate.video.frames").TensorSource(torch.rand(5, 32, 32, 3), 30)
    source.tags = {TAG: '{"form": 1}'}
    for codec, ending in [("h264", "mp4"), ("prores_422", "mov"), ("ffv1", "mkv")]:
        path = pack_nodes[f"{KIT}SaveClip"].execute(source, "record/clip", codec, "high", 0.0).result[0]
        assert path.endswith(ending) and path.startswith(folder_paths.get_output_directory())
        with av.open(path) as container:
            assert {key.lower(): text for key, text in container.metadata.items()}[TAG] == source.tags[TAG]
