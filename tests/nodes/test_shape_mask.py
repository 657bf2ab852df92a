"""Shape Mask in the host: old graphs, pixels of the file, and the check against the pose, shown below the node."""

import logging

import numpy as np
import pytest
import torch

from ..support.clips import write_clip
from ..support.figures import dancer_track

WIDTH, HEIGHT, COUNT = 160, 96, 12
OLD = dict(iterations=3, kernel=7, blocks_wide=10, blocks_high=20)


@pytest.fixture(scope="module")
def node(pack_nodes):
    return pack_nodes["WanAnimateKitShapeMask"]


@pytest.fixture(scope="module")
def pose(pack_module):
    return pack_module("wan_animate.pose.track").PoseTrack(dancer_track(COUNT, WIDTH, HEIGHT).keypoints, WIDTH, HEIGHT)


@pytest.fixture
def mask(pack_module, pose):
    """The dancer's silhouette as a MASK, the upper half left out of frames 4 to 6."""
    masks = pack_module("wan_animate.mask.from_pose").PoseMaskSource(pose).read(0, COUNT) / np.float32(255)
    masks[4:7, : HEIGHT // 2] = 0
    return torch.from_numpy(masks)


@pytest.fixture(scope="module")
def frames(pack_module, tmp_path_factory):
    """A video of twice the size, loaded at the mask's."""
    path = write_clip(tmp_path_factory.mktemp("shape") / "clip.mp4", count=COUNT, width=2 * WIDTH, height=2 * HEIGHT)
    return pack_module("wan_animate.video.source").VideoSource(path, size=(WIDTH, HEIGHT))


def test_graphs_from_before_the_new_inputs_give_the_same_masks(node, mask, pose, frames):
    old = node.execute(mask, **OLD)
    assert set(old.ui.as_dict()) == {"images", "animated"}, "moments of the mask, no warning"
    for more in ({}, {"pixels": "of the mask"}, {"frames": frames}, {"pose": pose, "frames": frames}):
        new = node.execute(mask, **OLD, **more).result[0]
        assert new.fingerprint() == old.result[0].fingerprint()
        assert np.array_equal(new.read(0, COUNT), old.result[0].read(0, COUNT))
    assert [one.id for one in node.define_schema().inputs][-3:] == ["pixels", "frames", "pose"], "at the end"


def test_pixels_of_the_file_are_those_of_the_video(node, frames):
    square = torch.zeros(1, HEIGHT, WIDTH)
    square[:, 40:60, 60:80] = 1
    sizes = dict(iterations=2, kernel=9, blocks_wide=1, blocks_high=1)

    def wide(**more):
        return int((node.execute(square, **sizes, **more).result[0].read(0, 1)[0] > 0).any(axis=0).sum())

    assert wide() == wide(frames=frames) == 20 + 2 * 8
    assert wide(frames=frames, pixels="of the video file") == 20 + 2 * 4
    with pytest.raises(ValueError, match="connect the driving video to frames, or choose 'of the mask'"):
        wide(pixels="of the video file")
    assert "connect the driving video to frames" in node.validate_inputs("of the video file"), "before anything runs"
    assert node.validate_inputs("of the video file", None) is True and node.validate_inputs() is True
    assert "it must be 'of the mask' or" in node.validate_inputs("of the screen")


def test_frames_in_which_the_old_person_shows_are_named_before_sampling(node, mask, pose, frames, caplog):
    given = OLD | {"iterations": 0}
    with caplog.at_level(logging.WARNING):
        shown = node.execute(mask, **given, pose=pose, frames=frames).ui
    assert "shape mask: the mask " in caplog.text and "of 12 frames" in caplog.text and "4-6" in caplog.text
    assert len(shown.as_dict()["images"]) == 1
    (own,) = shown.as_dict()["wan_animate_kit"]
    assert own["warnings"] and "4-6" in own["warnings"][0], "as text, beside the picture"
    caplog.clear()
    whole = mask.clone()
    whole[4:7] = mask[3]
    assert "wan_animate_kit" not in node.execute(whole, **OLD, pose=pose).ui.as_dict() and not caplog.text
    with pytest.raises(ValueError, match="character mask, pose: it has 12 frames and there are 7 pictures"):
        node.execute(mask[:7], **OLD, pose=pose)


def test_a_white_mask_is_named_before_sampling(node, mask, pose, frames, caplog):
    white = mask.clone()
    white[4:7] = 1
    for given in ({}, {"pose": pose, "frames": frames}):
        shown = node.execute(white, **OLD, **given).ui
        (said,) = shown.as_dict()["wan_animate_kit"][0]["warnings"]
        assert "white all over in 3 frames (4-6): nothing of the scene is kept" in said and said in caplog.text


def test_cancel_is_noticed_while_masks_are_checked(node, mask, pose, interrupt):
    import comfy.model_management as management

    interrupt()
    with pytest.raises(management.InterruptProcessingException):
        node.execute(mask, **OLD, pose=pose)
