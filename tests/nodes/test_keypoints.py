"""POSE_KEYPOINT held against the host's own nodes."""

import numpy as np
import pytest

from demo.figure import figure_keypoints
from wan_animate.pose.openpose import from_openpose, to_openpose
from wan_animate.pose.track import PoseTrack

SIZE = (640, 480)


@pytest.fixture(scope="module")
def track():
    return PoseTrack(np.stack([figure_keypoints(at / 10, *SIZE) for at in range(4)]), *SIZE)


@pytest.fixture(scope="module")
def sdpose(comfy):
    import comfy_extras.nodes_sdpose as nodes_sdpose

    return nodes_sdpose


def test_what_the_hosts_extractor_writes_is_read(sdpose, track):
    """Its converter takes COCO-WholeBody points, which is what went in."""
    points, scores = track.keypoints[:, None, :, :2], track.keypoints[:, None, :, 2]
    frames = sdpose._to_openpose_frames(list(points), list(scores), SIZE[1], SIZE[0])
    assert np.abs(from_openpose(frames).keypoints - track.keypoints).max() < 1e-4


def test_the_host_draws_what_we_write(sdpose, track, pack_nodes):
    (frames,) = pack_nodes["WanAnimateKitPoseToKeypoints"].execute(track).result
    assert frames == to_openpose(track)
    images = sdpose.SDPoseDrawKeypoints.execute(
        frames, draw_body=True, draw_hands=True, draw_face=True, draw_feet=True, stick_width=4, face_point_size=3,
        score_threshold=0.3, draw_head=True,
    ).result[0]  # fmt: skip
    assert images.shape == (4, SIZE[1], SIZE[0], 3)
    inked = images.amax(dim=-1).numpy() > 0.1
    for points, picture in zip(track.keypoints, inked, strict=True):
        x, y = points[points[:, 2] > 0.5, :2].round().astype(int).T
        inside = (x >= 2) & (y >= 2) & (x < SIZE[0] - 2) & (y < SIZE[1] - 2)
        hit = [picture[b - 2 : b + 3, a - 2 : a + 3].any() for a, b in zip(x[inside], y[inside], strict=True)]
        assert inside.sum() > 100 and np.mean(hit) == 1
    boxes = sdpose.SDPoseFaceBBoxes.execute(frames, scale=1.0, force_square=False).result[0]
    assert len(boxes) == 4


def test_the_nodes_there_and_back(pack_nodes, track):
    (frames,) = pack_nodes["WanAnimateKitPoseToKeypoints"].execute(track).result
    back, found = pack_nodes["WanAnimateKitKeypointsToPose"].execute(frames, 25.0, "largest", 1).result
    assert found == 4 and back.fps == 25
    assert np.abs(back.keypoints - track.keypoints)[track.keypoints[..., 2] > 0].max() < 1e-3


def test_another_unit_is_said_below_the_node(pack_nodes, track, caplog):
    frames = to_openpose(track)
    for person in frames[2]["people"]:
        for key, given in person.items():
            points = np.array(given).reshape(-1, 3) * (100 / SIZE[0], 100 / SIZE[1], 1)
            person[key] = points.ravel().tolist()
    made = pack_nodes["WanAnimateKitKeypointsToPose"].execute(frames, 25.0, "largest", 1)
    assert np.abs(made.result[0].keypoints - track.keypoints)[track.keypoints[..., 2] > 0].max() < 1e-3
    (said,) = made.ui["wan_animate_kit"][0]["warnings"]
    assert "of frames 2: in per cent of the canvas, where pixels" in said and said in caplog.text
    assert pack_nodes["WanAnimateKitKeypointsToPose"].execute(to_openpose(track), 25.0, "largest", 1).ui is None
