"""Retarget Pose and Edit Prompts on a running server."""

import cv2
import numpy as np
import pytest

from demo.server import PromptFailed, output_items
from wan_animate.pose.draw import DrawnPoseSource
from wan_animate.retarget.edit_prompts import edit_prompts
from wan_animate.retarget.placement import sized
from wan_animate.retarget.retarget import best_frame, retarget

from ..support.motion import dance, picture_of, seen


@pytest.fixture(scope="module")
def tracks(host_server, tmp_path_factory):
    """A driver and a reference on the server, and the driver's video and the picture."""
    folder = tmp_path_factory.mktemp("retarget")
    driver, reference = seen(dance(frames=40)[15:], 320, 192, 75.0), picture_of("child")
    driver.save(folder / "retarget_driver.npz")
    reference.save(folder / "retarget_reference.npz")
    cv2.imwrite(str(folder / "retarget_picture.png"), np.full((832, 480, 3), (200, 120, 60), np.uint8))
    for path in folder.iterdir():
        host_server.upload(path)
    return driver, reference


def node(kind: str, **inputs) -> dict:
    return {"class_type": f"WanAnimateKit{kind}", "inputs": inputs}


def host_node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def graph_of(**options) -> dict:
    return {
        "driver": node("LoadPoseTrack", file="retarget_driver.npz"),
        "reference": node("LoadPoseTrack", file="retarget_reference.npz"),
        "picture": host_node("LoadImage", image="retarget_picture.png"),
        "retarget": node(
            "RetargetPose",
            pose=["driver", 0],
            reference_pose=["reference", 0],
            **{
                "proportions": 1.0, "travel": "in picture", "follow_depth": True, "align": "auto", "width": 0,
                "height": 0, **options,
            },
        ),
    }  # fmt: skip


def fetched(server, entry: dict, name: str) -> np.ndarray:
    items = output_items({"outputs": {name: entry["outputs"][name]}})
    data = [np.frombuffer(server.fetch(item), np.uint8) for item in items]
    return np.stack([cv2.imdecode(one, cv2.IMREAD_COLOR)[..., ::-1] for one in data])


def test_the_retargeted_pose_is_drawn_at_the_references_shape(host_server, tracks):
    driver, reference = tracks
    graph = graph_of()
    graph["retarget"]["inputs"]["reference_image"] = ["picture", 0]
    graph["draw"] = node("DrawPose", pose=["retarget", 0], hands=True, head=True, threshold=0.5, width=0, height=0)
    graph["image"] = node("FramesToImage", frames=["draw", 0], start=0, limit=0)
    graph["save"] = host_node("SaveImage", images=["image", 0], filename_prefix="retarget/pose")
    graph["width"] = host_node("PreviewAny", source=["retarget", 1])
    entry = host_server.run(graph)

    small = sized(reference, 320 * 192)
    assert entry["outputs"]["width"]["text"] == [str(small.width)]
    expected = DrawnPoseSource(retarget(driver, small)).read(0, len(driver))
    found = fetched(host_server, entry, "save")
    assert found.shape == expected.shape and small.width % 16 == small.height % 16 == 0
    assert np.abs(found.astype(int) - expected).max() <= 1
    preview = fetched(host_server, entry, "retarget")[0]
    dimmed = np.array([60, 120, 200]) * 0.35
    assert (np.abs(preview - dimmed) < 2).all(axis=2).mean() > 0.1, "the reference picture lies behind the result"


def test_the_prompts_and_the_frame_to_edit(host_server, tracks):
    driver, reference = tracks
    graph = {key: value for key, value in graph_of().items() if key != "retarget"}
    graph["all"] = node("DrawPose", pose=["driver", 0], hands=True, head=True, threshold=0.5, width=0, height=0)
    graph["edit"] = node("EditPrompts", pose=["driver", 0], reference_pose=["reference", 0], frames=["all", 0])
    graph["driver_prompt"] = host_node("PreviewAny", source=["edit", 0])
    graph["reference_prompt"] = host_node("PreviewAny", source=["edit", 1])
    graph["frame"] = host_node("PreviewAny", source=["edit", 2])
    graph["save"] = host_node("SaveImage", images=["edit", 3], filename_prefix="retarget/edit")
    del graph["picture"]
    entry = host_server.run(graph)
    prompts = edit_prompts(driver, reference)
    assert entry["outputs"]["driver_prompt"]["text"] == [prompts.driver]
    assert entry["outputs"]["reference_prompt"]["text"] == [prompts.reference]
    assert entry["outputs"]["frame"]["text"] == [str(best_frame(driver))]
    expected = DrawnPoseSource(driver).read(prompts.frame, prompts.frame + 1)
    assert np.abs(fetched(host_server, entry, "save").astype(int) - expected).max() <= 1


def test_the_prompts_need_no_video(host_server, tracks):
    graph = {key: value for key, value in graph_of().items() if key in ("driver", "reference")}
    graph["edit"] = node("EditPrompts", pose=["driver", 0], reference_pose=["reference", 0])
    graph["frame"] = host_node("PreviewAny", source=["edit", 2])
    entry = host_server.run(graph)
    assert entry["outputs"]["frame"]["text"] == [str(best_frame(tracks[0]))]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"reference_pose": ["driver", 0]}, "reference_pose: it has 25 frames"),
        ({"width": 832}, "width is 832 and height 0"),
        ({"driver_edit_pose": ["driver", 0]}, "driver_edit_pose: it has 25 frames"),
    ],
)
def test_bad_input_is_said_in_one_sentence(host_server, tracks, change, words):
    graph = graph_of()
    graph["retarget"]["inputs"].update(change)
    graph["show"] = host_node("PreviewAny", source=["retarget", 1])
    with pytest.raises(PromptFailed) as failed:
        host_server.run(graph)
    assert failed.value.exception_type.endswith("InputError")
    assert words in failed.value.text and "\n" not in failed.value.text
