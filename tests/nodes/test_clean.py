"""Clean Pose, Pose Report and the steady Crop Face as the host runs them."""

import numpy as np
import pytest

from demo.figure import figure_keypoints
from demo.server import PromptRejected
from wan_animate.face.boxes import face_boxes
from wan_animate.face.crop import FaceCropSource
from wan_animate.pose.clean import clean_track
from wan_animate.pose.track import PoseTrack
from wan_animate.preview.report import pose_report
from wan_animate.preview.report_plot import draw_report
from wan_animate.video.frames import read_uint8
from wan_animate.video.source import VideoSource

from .test_nodes import FRAMES, HEIGHT, WIDTH, Graph, assert_same, clip, pictures, server  # noqa: F401  fixtures


@pytest.fixture(scope="module")
def track():
    keypoints = np.stack([figure_keypoints(at / 30, WIDTH, HEIGHT) for at in range(40)])
    keypoints[..., :2] += np.random.default_rng(0).normal(size=keypoints[..., :2].shape)
    keypoints[15:18, 91:112] = 0
    return PoseTrack(keypoints, WIDTH, HEIGHT)


def test_nodes_do_what_the_engine_does(pack_nodes, track):
    clean, raw = pack_nodes["WanAnimateKitCleanPose"].execute(track, 0.5).result
    assert raw is track and np.array_equal(clean.keypoints, clean_track(track).keypoints)
    plot, text = pack_nodes["WanAnimateKitPoseReport"].execute(clean, raw).result
    expected = pose_report(clean_track(track), track)
    assert text == expected.text() and "before cleaning" in text
    assert np.array_equal((plot[0].numpy() * 255).round().astype(np.uint8), draw_report(expected))


def test_in_a_graph(server, clip):  # noqa: F811
    """Old graphs know no face_steady; missing_face may be any of three."""
    graph = Graph()
    video = graph.kit("LoadVideo", file=clip.name, width=WIDTH, height=HEIGHT)
    pose = graph.detect(video)
    clean = graph.kit("CleanPose", pose=pose, strength=0.5)
    mask = graph.kit("MaskFromPose", pose=clean, grow=1.0, width=0, height=0)
    report = graph.kit("PoseReport", pose=clean, raw=clean[1], mask=mask)
    bare = graph.kit("PoseReport", pose=pose)
    steady = graph.images(graph.kit("CropFace", frames=video, pose=pose, face_scale=1.3, missing_face="hold"))
    plain = graph.images(
        graph.kit("CropFace", frames=video, pose=pose, face_scale=1.3, missing_face="blend", face_steady=0.0)
    )
    shown = graph.show(report[1])
    saved = graph.kit("SavePoseTrack", pose=pose, filename_prefix="pose_tracks/clean")
    entry = server.run(graph)
    text = "".join(entry["outputs"][shown]["text"])
    assert f"{FRAMES} frames of {WIDTH}x{HEIGHT}" in text and "mask:" in text
    for node, shape in ((clean, (560, 960, 3)), (report, (700, 1200, 3)), (bare, (700, 1200, 3))):
        assert pictures(server, entry, node.node)[0].shape == shape
    raw = PoseTrack.load(next((server.base_dir / "output" / "pose_tracks").glob("clean*.npz")))
    assert saved and len(raw) == FRAMES
    source = VideoSource(clip)
    for node, steadiness, missing in ((steady, 1, "hold"), (plain, 0, "blend")):
        boxes, found = face_boxes(raw, steady=steadiness, missing=missing)
        crops = FaceCropSource(source, boxes, found, missing=missing)
        assert_same(pictures(server, entry, node), read_uint8(crops, 0, FRAMES))


def test_bad_values_are_refused_before_the_graph_runs(server, clip):  # noqa: F811
    graph = Graph()
    video = graph.kit("LoadVideo", file=clip.name, width=WIDTH, height=HEIGHT)
    clean = graph.kit("CleanPose", pose=graph.detect(video), strength=1.5)
    graph.kit("PoseReport", pose=clean)
    with pytest.raises(PromptRejected, match="strength"):
        server.run(graph)
