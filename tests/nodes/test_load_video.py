"""Load Driving Video on a running server: HDR, and the clip's own shape in sides divisible by 16."""

import numpy as np
import pytest

from demo.server import PromptRejected
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip
from ..video.test_video_hdr import HLG, hdr_clip
from .test_nodes import Graph, assert_same, pictures


@pytest.fixture(scope="module")
def clips(host_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    bright = hdr_clip(folder / "bright.mp4", HLG, paint=lambda i, w, h: np.full((h, w, 3), 255, np.uint8))
    wide = write_clip(
        folder / "wide.mp4", 4, width=640, height=360, frame=lambda i, w, h: np.full((h, w, 3), 180, np.uint8)
    )
    for path in (bright, wide):
        host_server.upload(path)
    return bright, wide


def load(graph: Graph, clip, **options):
    return graph.images(graph.kit("LoadVideo", file=clip.name, fps=30, start=0, limit=1, **options))


SAYS = "bright.mp4' is HDR (HLG, BT.2020): it is brought to SDR"


def test_an_hdr_clip_is_mapped_and_said_below_the_node_and_in_the_log(host_server, clips):
    graph = Graph()
    images = load(graph, clips[0], width=160, height=96)
    entry = host_server.run(graph)
    got = pictures(host_server, entry, images)
    assert np.abs(got.astype(int) - 247).max() <= 2
    (said,) = entry["outputs"]["1"]["wan_animate_kit"][0]["warnings"]
    assert SAYS in said and said in host_server.log()


def test_an_ordinary_clip_says_nothing(host_server, clips):
    graph = Graph()
    load(graph, clips[1], width=832, height=480)
    assert "1" not in host_server.run(graph)["outputs"]


def test_the_plan_says_it_too(host_server, clips):
    graph = Graph()
    frames = graph.kit("LoadVideo", file=clips[0].name, fps=30, start=0, limit=1, width=160, height=96)
    settings = dict(mode="animate", steps=4, cfg=1.0, segment_length=77, previous_frames=1)
    node = graph.kit("PlanClip", frames=frames, **settings).node
    below = host_server.run(graph)["outputs"][node]
    assert SAYS in below["wan_animate_kit"][0]["warnings"][0] and SAYS in below["text"][0]


def test_the_route_of_the_line_says_it_before_anything_runs(host_server, clips):
    for clip, count in zip(clips, (1, 0), strict=True):
        found = host_server.get(
            f"/wan_animate_kit/video?file={clip.name}&fps=30&width=160&height=96&start=0&limit=0&fit=pad"
        )
        assert len(found["notes"]) == count and all(SAYS in note for note in found["notes"])


def test_fit_fills_by_default_and_pads_on_request(host_server, clips):
    graph = Graph()
    nodes = [
        load(graph, clips[1], width=416, height=240, **options) for options in ({}, {"fit": "fill"}, {"fit": "pad"})
    ]
    entry = host_server.run(graph)
    default, filled, padded = (pictures(host_server, entry, node) for node in nodes)
    assert np.array_equal(default, filled) and filled.min() > 170
    assert padded.min() < 16
    assert_same(padded, VideoSource(clips[1], max_area=416 * 240, fit="pad", limit=1).read(0, 1))


def test_a_graph_saved_before_there_was_a_fit_fills(host_server, clips):
    """The upload button's value, saved last, then stands in the place of fit."""
    graph = Graph()
    node = load(graph, clips[1], width=416, height=240, fit="image")
    assert pictures(host_server, host_server.run(graph), node).min() > 170
    graph = Graph()
    load(graph, clips[1], width=416, height=240, fit="stretch")
    with pytest.raises(PromptRejected, match="fit is 'stretch', but it must be fill or pad"):
        host_server.run(graph)
