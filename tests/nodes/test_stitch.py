"""Crop to Character and Stitch Character on a running server: the shipped workflow from video to clip, and single
nodes."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from demo import graphs
from demo.example import track_beside
from demo.server import PromptFailed, output_items
from wan_animate import cli
from wan_animate.record.clip_record import read_record
from wan_animate.record.frame_hashes import FrameHashes
from wan_animate.video.source import VideoSource

KIT = graphs.KIT
FRAMES, LENGTH = 9, 5


@pytest.fixture(scope="module")
def inputs(host_server, driving):
    """(video, image, detectors, the video's path, its track if there is one)"""
    video, image, detectors = driving
    track = track_beside(video)
    names = [host_server.upload(path) for path in (video, image)]
    return *names, detectors, video, track and host_server.upload(track)


def pictures(server, entry: dict, node: str) -> np.ndarray:
    items = output_items({"outputs": {node: entry["outputs"][node]}})
    data = [np.frombuffer(server.fetch(item), np.uint8) for item in items]
    return np.stack([cv2.imdecode(one, cv2.IMREAD_COLOR)[..., ::-1] for one in data])


def saved(graph: dict, frames: list, limit: int = 0) -> str:
    image = graphs.add(graph, f"{KIT}FramesToImage", frames=frames, start=0, limit=limit)
    return graphs.add(graph, "SaveImage", images=[image, 0], filename_prefix="stitch/image")


def crop_graph(inputs, **crop) -> dict:
    """The shipped workflow on small weights, with a real track where there is one."""
    video, image, detectors, _, track = inputs
    graph = graphs.load_graph("replace_crop")
    graphs.use_small_models(graph, detectors, None)
    graphs.set_inputs(graph, "LoadImage", image=image)
    graphs.set_inputs(graph, f"{KIT}LoadVideo", file=video, width=320, height=180, limit=FRAMES)
    graphs.set_inputs(graph, f"{KIT}CropToCharacter", **(dict(width=160, height=112) | crop))
    graphs.set_inputs(graph, f"{KIT}Animate", segment_length=LENGTH, steps=1, sampler_name="euler", seed=3)
    if track:
        detect = graphs.driver_detect(graph)
        load = graphs.add(graph, f"{KIT}LoadPoseTrack", file=track, frames=graph[detect]["inputs"]["frames"])
        graphs.relink(graph, detect, {0: [load, 0]})
        graphs.drop_unused(graph, (f"{KIT}DetectPose", f"{KIT}LoadPoseDetector"))
    return graph


def saved_clip(server, entry: dict, graph: dict) -> bytes:
    """What Save Video wrote."""
    nodes = graphs.nodes_of(graph, "SaveVideo")
    (item,) = output_items({"outputs": {node: entry["outputs"][node] for node in nodes}})
    return server.fetch(item)


def test_the_workflow(host_server, inputs, tmp_path):
    graph = crop_graph(inputs)
    crop, stitch, animate = (
        graphs.node_of(graph, f"{KIT}{name}") for name in ("CropToCharacter", "StitchCharacter", "Animate")
    )
    load, shape = graphs.node_of(graph, f"{KIT}LoadVideo"), graphs.node_of(graph, f"{KIT}ShapeMask")
    report = graphs.add(graph, "PreviewAny", source=[crop, 4])
    frames, source = saved(graph, [stitch, 1]), saved(graph, [load, 6])
    masks = graphs.add(graph, f"{KIT}FramesToMask", frames=[shape, 0], channel="luma", start=0, limit=0)
    masks = graphs.add(graph, "SaveImage", images=[graphs.add(graph, "MaskToImage", mask=[masks, 0]), 0],
                       filename_prefix="stitch/mask")  # fmt: skip
    window, generated = saved(graph, [crop, 0]), saved(graph, [animate, 1])
    progress = []

    def watch(kind, data):
        if kind == "progress_state" and data["nodes"].get(stitch, {}).get("state") == "running":
            progress.append((data["nodes"][stitch]["value"], data["nodes"][stitch]["max"]))

    entry = host_server.run(graph, watch, timeout=1200)
    driver = VideoSource(inputs[3], fps=30, limit=FRAMES)
    assert max(progress) == (FRAMES, FRAMES)
    made = saved_clip(host_server, entry, graph)
    with av.open(io.BytesIO(made)) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (driver.width, driver.height, Fraction(30))
        assert sum(1 for _ in clip.decode(stream)) == FRAMES
        assert bool(clip.streams.audio) == bool(av.open(str(inputs[3])).streams.audio)

    stitched, before = pictures(host_server, entry, frames), pictures(host_server, entry, source)
    assert stitched.shape == before.shape == (FRAMES, driver.height, driver.width, 3)
    differs = (stitched != before).any(axis=(0, 3))
    cropped = pictures(host_server, entry, window)
    assert cropped.shape[1] % 16 == cropped.shape[2] % 16 == 0 and cropped.shape[1] * cropped.shape[2] <= 160 * 112
    text = entry["outputs"][report]["text"][0]
    assert f"of {driver.width}x{driver.height} pixels" in text
    assert f"sampled at {cropped.shape[2]}x{cropped.shape[1]}" in text
    # the mask's share of the window, feathered, is all that differs
    share = pictures(host_server, entry, masks).max(axis=(0, 3)) > 127
    part = float(text.split("(")[1].split(" %")[0]) / 100
    assert 0.5 * share.mean() * part < differs.mean() < 1.5 * share.mean() * part + 0.05
    columns = np.flatnonzero(differs.any(axis=0))
    assert columns[0] > 0 or columns[-1] < driver.width - 1
    (shown,) = entry["outputs"][crop]["images"]
    assert host_server.fetch(shown)

    # the mp4 says how the window was made
    (tmp_path / "a.mp4").write_bytes(made)
    record, hashes = read_record(tmp_path / "a.mp4"), FrameHashes()
    hashes.add(pictures(host_server, entry, generated))
    assert (record.host, record.frames) == ("ComfyUI", hashes.whole) and len(record.segments) == 2
    assert record.settings["mode"] == "replace" and record.clip["width"] == cropped.shape[2]

    # the first segment of another alone is put back where it was, and made again from its record
    options = graphs.add(
        graph, f"{KIT}ClipOptions", crossfade=0, share_noise=False, at_cuts="chain on", first_segment=1, last_segment=1,
        segment_seeds="", keep_rest=False,
    )  # fmt: skip
    graph[animate]["inputs"] |= {"options": [options, 0], "seed": 4}  # whose second segment is not finished
    entry = host_server.run(graph, timeout=1200)
    part = pictures(host_server, entry, frames)
    assert part.shape == before[:LENGTH].shape and (part != stitched[:LENGTH]).any()
    changed = (part != before[:LENGTH]).any(axis=(0, 3))
    assert changed.mean() > 0.5 * differs.mean() and (changed & ~differs).mean() < 0.02 * differs.mean()
    (tmp_path / "part.mp4").write_bytes(saved_clip(host_server, entry, graph))
    assert len(VideoSource(tmp_path / "part.mp4", fps=0)) == LENGTH
    assert cli.main(["reproduce", str(tmp_path / "part.mp4"), "--server", host_server.url]) == 0
    again = read_record(tmp_path / "part-again.mp4")
    assert again.frames == read_record(tmp_path / "part.mp4").frames and len(again.segments) == 1


def test_images_upscaled_or_not_and_no_mask(host_server, inputs):
    """The window's own pixels, upscaled by another node, are put back where they were."""
    graph = crop_graph(inputs, size="factor", factor=0.25)
    crop, load = graphs.node_of(graph, f"{KIT}CropToCharacter"), graphs.node_of(graph, f"{KIT}LoadVideo")
    graph[crop]["inputs"].pop("mask")
    images = graphs.add(graph, f"{KIT}FramesToImage", frames=[crop, 0], start=0, limit=0)
    larger = graphs.add(graph, "ImageScaleBy", image=[images, 0], upscale_method="lanczos", scale_by=2.0)
    stitch = graphs.add(
        graph, f"{KIT}StitchCharacter", generated=[larger, 0], frames=[load, 6], window=[crop, 3], feather=8.0, grow=0.0
    )
    kept = {crop, load, images, larger, stitch}
    frames, source, outline = saved(graph, [stitch, 1], 2), saved(graph, [load, 6], 2), saved_mask(graph, [crop, 2])
    wanted = reachable(graph, [frames, source, outline])
    entry = host_server.run({node: what for node, what in graph.items() if node in wanted | kept}, timeout=600)
    stitched, before = (pictures(host_server, entry, node).astype(int) for node in (frames, source))
    assert 0.02 < (stitched != before).any(axis=3).mean() < 0.95
    assert np.abs(stitched - before).mean() < 6
    silhouettes = pictures(host_server, entry, outline)
    assert 0.05 < (silhouettes > 127).mean() < 0.8, "without a mask it is the skeleton's"


def saved_mask(graph: dict, frames: list) -> str:
    mask = graphs.add(graph, f"{KIT}FramesToMask", frames=frames, channel="luma", start=0, limit=2)
    image = graphs.add(graph, "MaskToImage", mask=[mask, 0])
    return graphs.add(graph, "SaveImage", images=[image, 0], filename_prefix="stitch/mask")


def reachable(graph: dict, nodes: list[str]) -> set[str]:
    found, left = set(), list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += [value[0] for value in graph[node]["inputs"].values() if isinstance(value, list)]
    return found


def refused(server, graph: dict, node: str) -> str:
    wanted = reachable(graph, [node])
    with pytest.raises(PromptFailed) as failed:
        server.run({name: what for name, what in graph.items() if name in wanted}, timeout=600)
    assert failed.value.exception_type.endswith("InputError") and "\n" not in failed.value.text
    return failed.value.text


def test_what_does_not_go_together_is_said(host_server, inputs):
    graph = crop_graph(inputs)
    crop, load = graphs.node_of(graph, f"{KIT}CropToCharacter"), graphs.node_of(graph, f"{KIT}LoadVideo")
    graph[crop]["inputs"].pop("mask")
    wrong = graphs.add(
        graph, f"{KIT}StitchCharacter", generated=[crop, 0], frames=[load, 0], window=[crop, 3], feather=8.0, grow=0.0
    )
    said = refused(host_server, graph, saved(graph, [wrong, 1]))
    assert said.startswith("the window was made for frames of ") and "that Crop to Character was given" in said
    mask = graphs.add(graph, f"{KIT}MaskFromPose", pose=graph[crop]["inputs"]["pose"], grow=1.0, width=0, height=0)
    wrong = graphs.add(
        graph, f"{KIT}StitchCharacter", generated=[crop, 0], frames=[load, 6], window=[crop, 3], mask=[mask, 0],
        feather=8.0, grow=0.0,
    )  # fmt: skip
    said = refused(host_server, graph, saved(graph, [wrong, 1]))
    assert "connect the mask that Animate Character was given" in said
