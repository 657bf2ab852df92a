"""Nodes that take a pose and frames: a saved pose of the whole video with a part of it."""

import shutil

import numpy as np
import pytest
import torch

from ..support.clips import write_clip
from ..support.figures import dancer_track

WIDTH, HEIGHT, COUNT = 160, 96, 40


@pytest.fixture(scope="module")
def given(pack_module, pack_nodes, tmp_path_factory):
    """The saved track's name in the input folder, the track, and frames 12 to 19 of its video."""
    import folder_paths

    track_type = pack_module("wan_animate.pose.track").PoseTrack
    source = pack_module("wan_animate.video.source").VideoSource
    folder = tmp_path_factory.mktemp("fit")
    track = track_type(dancer_track(COUNT, WIDTH, HEIGHT).keypoints, WIDTH, HEIGHT)
    track.save(folder / "whole_track.npz")
    shutil.copy(folder / "whole_track.npz", folder_paths.get_input_directory())
    return track, source(write_clip(folder / "clip.mp4", count=COUNT), start=12, limit=8)


def test_every_node_cuts_the_track_as_the_frames_are(pack_nodes, given):
    track, frames = given
    loaded, count = pack_nodes["WanAnimateKitLoadPoseTrack"].execute("whole_track.npz", frames).result
    assert count == 8 and np.array_equal(loaded.keypoints, track.keypoints[12:20])
    assert pack_nodes["WanAnimateKitLoadPoseTrack"].execute("whole_track.npz").result[1] == COUNT
    part = track.slice(12, 20)
    face, found = pack_nodes["WanAnimateKitCropFace"].execute(frames, track, face_scale=1.3).result
    expected, _ = pack_nodes["WanAnimateKitCropFace"].execute(frames, part, face_scale=1.3).result
    assert len(face) == 8 and found == 8 and np.array_equal(face.read(0, 8), expected.read(0, 8))
    drawn = pack_nodes["WanAnimateKitDrawPose"]
    ours = drawn.execute(track, True, True, 0.5, 0, 0, frames=frames).result[0]
    assert np.array_equal(ours.read(0, 8), drawn.execute(part, True, True, 0.5, 0, 0).result[0].read(0, 8))
    assert len(drawn.execute(track, True, True, 0.5, 0, 0).result[0]) == COUNT
    mask = pack_nodes["WanAnimateKitMaskFromPose"]
    ours = mask.execute(track, 1.0, 0, 0, frames=frames).result[0]
    assert np.array_equal(ours.read(0, 8), mask.execute(part, 1.0, 0, 0).result[0].read(0, 8))
    still = track.slice(0, 1)
    settings = dict(proportions=1.0, travel="full", follow_depth=True, align="auto", width=0, height=0)
    retargeted = pack_nodes["WanAnimateKitRetargetPose"].execute(track, still, **settings, frames=frames)
    assert len(retargeted.result[0]) == 8
    prompts = pack_nodes["WanAnimateKitEditPrompts"].execute(track, still, frames).result
    assert 0 <= prompts[2] < 8 and prompts[3].shape == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["CropFace", "DrawPose", "MaskFromPose"])
def test_pictures_that_say_no_start_are_refused_in_words(pack_nodes, given, name):
    track, pictures = given[0], torch.zeros(17, HEIGHT, WIDTH, 3)
    arguments = {
        "CropFace": dict(frames=pictures, pose=track),
        "DrawPose": dict(pose=track, hands=True, head=True, threshold=0.5, width=0, height=0, frames=pictures),
        "MaskFromPose": dict(pose=track, grow=1.0, width=0, height=0, frames=pictures),
    }[name]
    with pytest.raises(Exception, match="pose: it has 40 frames and there are 17 pictures, which do not say where"):
        pack_nodes[f"WanAnimateKit{name}"].execute(**arguments)


def test_one_mask_stands_for_every_frame(pack_nodes, given):
    track, frames = given
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[0, 20:70, 40:90] = 1
    background = pack_nodes["WanAnimateKitMaskBackground"].execute(frames, mask).result[0].read(0, 8)
    assert np.array_equal(background, frames.read(0, 8) * (mask.numpy()[..., None] < 0.5))
    text = (
        pack_nodes["WanAnimateKitPoseReport"].execute(track.slice(0, 8), None, torch.zeros(1, HEIGHT, WIDTH)).result[1]
    )
    assert "Warning: the mask is empty in every frame" in text


def test_rare_sightings_show_in_the_previews(pack_nodes, given):
    keypoints = given[0].keypoints.copy()
    keypoints[6:] = 0
    node = pack_nodes["WanAnimateKitCleanPose"].execute(given[0].replaced(keypoints), 0.5)
    assert len(node.result[0]) == COUNT and node.ui.as_dict()["images"]
    keypoints[1:] = 0
    keypoints[20] = given[0].keypoints[20]
    keypoints[0] = 0
    with pytest.raises(Exception, match="only 1 of 40 frames"):
        pack_nodes["WanAnimateKitCleanPose"].execute(given[0].replaced(keypoints), 0.5)


def test_a_pose_is_drawn_at_the_size_of_the_frames_that_it_is_given(pack_module, pack_nodes, given):
    """A saved pose at the video's own size, with smaller frames: drawn at its own, it would fit no background."""
    track, frames = given
    smaller = pack_module("wan_animate.video.derived").ResizedSource(frames, 80, 48)
    drawn = pack_nodes["WanAnimateKitDrawPose"].execute(track, True, True, 0.5, 0, 0, frames=smaller).result[0]
    mask = pack_nodes["WanAnimateKitMaskFromPose"].execute(track, 1.0, 0, 0, frames=smaller).result[0]
    assert {(one.width, one.height, len(one)) for one in (drawn, mask)} == {(80, 48, 8)}
    shown = mask.read(0, 8) > 0
    at = np.round(track.keypoints[12:20, [5, 6, 11, 12], :2].mean(axis=1) / 2).astype(int)
    assert all(shown[frame, y, x] for frame, (x, y) in enumerate(at)), "the silhouette lies on the person"
