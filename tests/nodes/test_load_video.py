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


def test_an_hdr_clip_is_mapped_and_said_in_the_log(host_server, clips):
    graph = Graph()
    images = load(graph, clips[0], width=160, height=96)
    got = pictures(host_server, host_server.run(graph), images)
    assert np.abs(got.astype(int) - 247).max() <= 2
    assert "bright.mp4' is HDR (HLG, BT.2020): it is brought to SDR" in host_server.log()


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
