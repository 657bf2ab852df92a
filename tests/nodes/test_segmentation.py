"""Load Segmenter and Segment Character in the host."""

import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from demo.figure import draw_figure
from demo.server import PromptRejected, output_items
from demo.small_models import DETECTION, SEGMENTER_NAME
from demo.small_sam2 import dancer_mask
from wan_animate.video.frames import TensorSource
from wan_animate.video.write import write_video

from ..support.figures import dancer_track

WIDTH, HEIGHT, FRAMES = 320, 240, 8


@pytest.fixture(scope="module")
def track():
    return dancer_track(FRAMES, WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def pictures(track):
    return np.stack([draw_figure(points, WIDTH, HEIGHT) for points in track.keypoints])


@pytest.fixture(scope="module")
def segmenter(pack_nodes):
    return pack_nodes["WanAnimateKitLoadSegmenter"].execute(SEGMENTER_NAME, "auto").result[0]


def overlap(mask: np.ndarray, picture: np.ndarray) -> float:
    true = dancer_mask(picture)
    return (mask & true).sum() / (mask | true).sum()


def test_the_folder_is_listed_and_the_file_checked(pack_nodes):
    load = pack_nodes["WanAnimateKitLoadSegmenter"]
    model = next(one for one in load.define_schema().inputs if one.id == "model")
    assert model.options == [SEGMENTER_NAME]
    assert load.validate_inputs(SEGMENTER_NAME) is True
    assert "is not in models/sam2" in load.validate_inputs("none.safetensors")


@pytest.mark.parametrize("given", ["pose", "points", "box"])
def test_the_dancer_is_found(pack_nodes, segmenter, track, pictures, given):
    images = torch.from_numpy(pictures).float() / 255
    left, top = track.keypoints[2, :, :2].min(axis=0).tolist()
    right, bottom = track.keypoints[2, :, :2].max(axis=0).tolist()
    points = json.dumps([{"x": float(x), "y": float(y)} for x, y in track.keypoints[2, [0, 5, 6], :2]])
    inputs = {
        "pose": {"pose": track},
        "points": {"points_positive": points, "points_negative": '[{"x": 3, "y": 3}]', "point_frame": 2},
        "box": {"bbox": [(left, top, right, bottom)], "point_frame": 2},
    }[given]
    node = pack_nodes["WanAnimateKitSegmentCharacter"].execute(segmenter, images, **inputs)
    mask, lost, report = node.result
    assert lost == 0 and f"all {FRAMES} frames" in report
    assert min(overlap(one > 0, picture) for one, picture in zip(mask.read(0, FRAMES), pictures)) > 0.85
    assert not segmenter.loaded  # the card is free again
    assert node.ui["images"] and node.ui["wan_animate_kit_view"][0]["layers"] == ["frame", "mask"]


def test_it_runs_on_the_card_with_room_where_the_host_makes_some(
    pack_nodes, pack_module, segmenter, track, pictures, monkeypatch
):
    import comfy.model_management as management

    before, other, asked = segmenter.device, torch.device("cpu", 0), []
    monkeypatch.setattr(pack_module("nodes.host.device"), "card_with_room", lambda work: other)
    monkeypatch.setattr(management, "free_memory", lambda size, card: asked.append(card))
    real = type(segmenter).load
    monkeypatch.setattr(type(segmenter), "load", lambda self: asked.append(self.device) or real(self))
    node = pack_nodes["WanAnimateKitSegmentCharacter"]
    lost = node.execute(segmenter, torch.from_numpy(pictures) / 255.0, pose=track).result[1]
    assert lost == 0 and asked == [other, other] and before != other
    segmenter.move(before)


def test_cancel_frees_the_card(pack_nodes, segmenter, track, pictures, interrupt):
    import comfy.model_management as management

    interrupt()
    with pytest.raises(management.InterruptProcessingException):
        pack_nodes["WanAnimateKitSegmentCharacter"].execute(segmenter, torch.from_numpy(pictures) / 255.0, pose=track)
    assert not segmenter.loaded


def test_a_graph_on_the_server(host_server, pictures, tmp_path):
    clip = tmp_path / "segmented.mp4"
    write_video(clip, TensorSource(pictures, 30), None, Fraction(30), crf=1)
    host_server.upload(clip)
    kit, names = "WanAnimateKit", DETECTION["dancer"]
    graph = {
        "1": (kit + "LoadVideo", {"file": clip.name, "fps": 30, "width": WIDTH, "height": HEIGHT}),
        "2": (kit + "LoadPoseDetector", {"detector": names[0], "pose_model": names[1], "provider": "cpu"}),
        "3": (kit + "DetectPose", {"detector": ["2", 0], "frames": ["1", 0], "batch_size": 4, "face_scale": 1.3,
                                   "missing_face": "hold"}),
        "4": (kit + "LoadSegmenter", {"model": SEGMENTER_NAME, "precision": "auto"}),
        "5": (kit + "SegmentCharacter", {"segmenter": ["4", 0], "frames": ["1", 0], "pose": ["3", 0], "point_frame": 0,
                                         "points_do": "add to the pose", "fill_lost": "pose outline"}),
        "6": (kit + "FramesToMask", {"frames": ["5", 0], "channel": "luma", "start": 0, "limit": 0}),
        "7": ("MaskToImage", {"mask": ["6", 0]}),
        "8": ("SaveImage", {"images": ["7", 0], "filename_prefix": "segment/mask"}),
        "9": ("PreviewAny", {"source": ["5", 2]}),
    }  # fmt: skip
    prompt = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in graph.items()}
    entry = host_server.run(prompt)
    assert entry["outputs"]["9"]["text"] == [f"The person was followed through all {FRAMES} frames."]
    assert len(entry["outputs"]["5"]["images"]) == 1 and "wan_animate_kit" not in entry["outputs"]["5"]
    items = output_items({"outputs": {"8": entry["outputs"]["8"]}})
    assert len(items) == FRAMES
    import cv2

    for item, picture in zip(items, pictures, strict=True):
        mask = cv2.imdecode(np.frombuffer(host_server.fetch(item), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert overlap(mask > 127, picture) > 0.85

    prompt["4"]["inputs"]["model"] = "none.safetensors"
    with pytest.raises(PromptRejected, match="model 'none.safetensors' is not in models/sam2"):
        host_server.run(prompt)
