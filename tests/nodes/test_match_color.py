"""Match Color in the host: IMAGE and FRAMES, its picture, Cancel, and a whole graph on a server."""

import importlib
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from demo.server import PromptFailed, output_items
from wan_animate.color.match import match_color
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..support.clips import numbered_frame

WIDTH, HEIGHT, FRAMES = 160, 96, 12


@pytest.fixture(scope="module")
def node(pack_nodes):
    return pack_nodes["WanAnimateKitMatchColor"]


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.from_numpy(np.stack([numbered_frame(at, WIDTH, HEIGHT) for at in range(FRAMES)])).float() / 255


@pytest.fixture(scope="module")
def reference() -> torch.Tensor:
    """One RGBA picture of another size, all of it seen."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 70), torch.linspace(0, 1, 90), indexing="ij")
    return torch.stack([x, x * y, 1 - y, torch.ones_like(x)], dim=-1)[None]


def test_images_in_frames_out(node, frames, reference):
    for given, smooth in (({}, None), ({"smooth": 2}, None), ({"over": "window", "smooth": 2}, 2)):
        output = node.execute(frames, reference, "mkl", 1.0, **given)
        (result,) = output.result
        plain = match_color(TensorSource(frames), TensorSource(reference), smooth=smooth)
        assert np.abs(result.read(0, FRAMES) - plain.read(0, FRAMES)).max() < 1e-5
    (picture,) = output.ui.as_dict()["images"]
    assert picture["type"] == "temp"


def test_strength_0_passes_the_frames_on(node, frames, reference):
    output = node.execute(frames, reference, "mkl", 0.0)
    assert (output.result[0].read(0, FRAMES) == frames.numpy()).all() and output.ui is None
    again = node.execute(output.result[0], torch.full_like(reference, torch.nan), "mkl", 0.0)
    assert again.result[0] is output.result[0]


def test_every_option_of_the_node_is_one_of_the_engine(node):
    from wan_animate.color.match import REFERENCE_FRAMES
    from wan_animate.color.transfer import METHODS

    options = {one.id: one.options for one in node.define_schema().inputs if hasattr(one, "options")}
    assert options.pop("over") == ["shot", "window"]
    assert options == {"method": list(METHODS), "reference_frames": list(REFERENCE_FRAMES)}


def test_cancel_is_noticed_while_it_measures(node, frames, reference, interrupt):
    import comfy.model_management as management

    interrupt()
    with pytest.raises(management.InterruptProcessingException):
        node.execute(frames, reference, "histogram", 1.0)


def test_masks_where_pictures_belong(pack, node, frames, reference):
    refused = importlib.import_module(f"{pack.__name__}.wan_animate.errors").InputError
    with pytest.raises(refused, match="mask needs masks, but it carries pictures"):
        node.execute(frames, reference, "mkl", 1.0, mask=frames)
    with pytest.raises(refused, match="reference needs pictures, but it carries masks"):
        node.execute(frames, frames[..., 0], "mkl", 1.0)
    with pytest.raises(refused, match="reference carries no frames"):
        node.execute(frames, reference[:0], "mkl", 1.0)


@pytest.fixture(scope="module")
def uploaded(host_server, frames, reference, tmp_path_factory):
    """(the clip's path, the picture's path), both in the server's input folder."""
    folder = tmp_path_factory.mktemp("color")
    clip, picture = folder / "matched.mp4", folder / "colors.png"
    write_video(clip, TensorSource(frames, 30), None, Fraction(30), crf=1)
    cv2.imwrite(str(picture), (reference[0, ..., [2, 1, 0]].numpy() * 255).round().astype(np.uint8))
    for path in (clip, picture):
        host_server.upload(path)
    return clip, picture


def graph(uploaded, **given) -> dict:
    clip, picture = uploaded
    kit = "WanAnimateKit"
    nodes = {
        "1": (kit + "LoadVideo", {"file": clip.name, "fps": 30, "width": WIDTH, "height": HEIGHT}),
        "2": ("LoadImage", {"image": picture.name}),
        "3": ("SolidMask", {"value": 1.0, "width": WIDTH, "height": HEIGHT}),
        "4": (
            kit + "MatchColor",
            {"frames": ["1", 0], "reference": ["2", 0], "method": "reinhard_lab", "strength": 0.8, "mask": ["3", 0]}
            | given,
        ),
        "5": (kit + "FramesToImage", {"frames": ["4", 0], "start": 0, "limit": 0}),
        "6": ("SaveImage", {"images": ["5", 0], "filename_prefix": "color/matched"}),
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def test_a_graph_on_the_server(host_server, uploaded):
    entry = host_server.run(graph(uploaded))
    assert len(entry["outputs"]["4"]["images"]) == 1
    items = output_items({"outputs": {"6": entry["outputs"]["6"]}})
    found = [cv2.imdecode(np.frombuffer(host_server.fetch(item), np.uint8), cv2.IMREAD_COLOR) for item in items]
    clip, picture = uploaded
    video = VideoSource(clip, 30, WIDTH * HEIGHT)
    wanted = TensorSource(cv2.imread(str(picture))[None, ..., ::-1].copy())
    expected = match_color(video, wanted, "reinhard_lab", 0.8).read(0, FRAMES)
    assert np.abs(np.stack(found)[..., ::-1].astype(int) - expected).max() <= 2  # one where the host cuts off
    assert np.abs(expected.astype(int) - video.read(0, FRAMES)).mean() > 10


def test_a_sentence_on_the_server(host_server, uploaded):
    with pytest.raises(PromptFailed) as failed:
        host_server.run(graph(uploaded, mask=["7", 0]) | {
            "7": {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": WIDTH, "height": HEIGHT}}
        })  # fmt: skip
    assert failed.value.text == (
        "match color: the mask of the frames is empty in every frame, so there is nothing to measure: connect one that "
        "holds something there, or none."
    )
