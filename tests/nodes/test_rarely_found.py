"""A person found in 1 or 2 of 18 frames is said by every node that makes or takes a pose, without Clean Pose too."""

import logging
import os

import cv2
import numpy as np
import pytest

from ..support.figures import dancer_keypoints

WIDTH, HEIGHT, COUNT = 160, 96, 18
WORDS = {1: "a body was found in 1 of 18 frames (9)", 2: "a body was found in 2 of 18 frames (8-9)"}
LOST = (220, 70, 70)


@pytest.fixture(params=[1, 2, COUNT // 2])
def found(request, pack_module):
    """The track, and in how many of its frames there is somebody; half of them is somebody who leaves."""
    keypoints = dancer_keypoints(np.arange(COUNT) / 30, WIDTH, HEIGHT)
    keypoints[np.setdiff1d(np.arange(COUNT), np.arange(10 - request.param, 10))] = 0
    kind = pack_module("wan_animate.pose.track").PoseTrack
    return kind(keypoints, WIDTH, HEIGHT), request.param


def picture(output) -> np.ndarray:
    import folder_paths

    (item,) = output.ui.as_dict()["images"]
    folder = os.path.join(folder_paths.get_directory_by_type(item["type"]), item["subfolder"])
    return cv2.imread(os.path.join(folder, item["filename"]))[..., ::-1]


def run(pack_nodes, name: str, track):
    import folder_paths

    node = pack_nodes[f"WanAnimateKit{name}"]
    if name == "KeypointsToPose":
        keypoints = pack_nodes["WanAnimateKitPoseToKeypoints"].execute(track).result[0]
        return node.execute(keypoints, 30.0, "largest", 1)
    if name == "DrawPose":
        return node.execute(track, True, True, 0.5, 0, 0)
    if name == "MaskFromPose":
        return node.execute(track, 1.0, 0, 0)
    if name == "LoadPoseTrack":
        track.save(os.path.join(folder_paths.get_input_directory(), "rarely.npz"))
        return node.execute("rarely.npz")
    settings = dict(proportions=1.0, travel="full", follow_depth=True, align="auto", width=0, height=0)
    return node.execute(track, track.slice(9, 10), **settings)


SAYS = {
    "KeypointsToPose": "keypoints to pose",
    "DrawPose": "draw pose",
    "MaskFromPose": "mask from pose",
    "LoadPoseTrack": "load pose track",
    "RetargetPose": "retarget pose",
}


@pytest.mark.parametrize("name", SAYS)
def test_said_on_the_node_and_in_the_log(pack_nodes, found, name, caplog):
    track, count = found
    with caplog.at_level(logging.WARNING):
        output = run(pack_nodes, name, track)
    band = 0 if output.ui is None else (np.abs(picture(output).astype(int) - LOST).max(axis=2) < 3).mean()
    own = {} if output.ui is None else output.ui.as_dict().get("wan_animate_kit", [{}])[0]
    if count == COUNT // 2:
        assert "a body was found" not in caplog.text and band == 0 and not own
        assert (output.ui is None) == (name == "KeypointsToPose"), "the others show what they made"
    else:
        assert f"{SAYS[name]}: {WORDS[count]}" in caplog.text and band > 0.02
        assert own["warnings"][0].startswith(WORDS[count])


def test_from_keypoints_to_the_drawing_without_cleaning(pack_nodes, found, caplog):
    track, count = found
    made = run(pack_nodes, "KeypointsToPose", track).result[0]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        drawn = run(pack_nodes, "DrawPose", made)
    warned = "wan_animate_kit" in drawn.ui.as_dict()
    assert warned == (WORDS.get(count, "nothing is said") in caplog.text) == (count < COUNT // 2)
    assert sum(frame.any() for frame in drawn.result[0].read(0, COUNT)) == count
