"""What the HTTP API may send in place of a name or number: a sentence, before anything runs or when the node does."""

import math

import pytest

KIT = "WanAnimateKit"
NAMES = [
    5,
    1.5,
    True,
    [],
    ["a"],
    {},
    {"a": 1},
    "",
    "\0",
    "a\0b",
    "\ud800",
    "x" * 5000,
    "../../etc/passwd",
    "/etc/passwd",
    "CON",
]
LOADERS = {  # node -> (the input that is validated, the other inputs)
    "LoadVideo": ("file", {}),
    "LoadModel": ("model", {"precision": "auto", "products": "auto"}),
    "ApplyLora": ("lora", {"model": None}),
    "LoadPoseTrack": ("file", {}),
    "LoadPrompt": ("file", {}),
    "LoadSegmenter": ("model", {"precision": "auto"}),
    "LoadPoseDetector": ("pose_model", {"detector": "a.onnx", "provider": "cpu"}),
}


@pytest.fixture(scope="module")
def nodes(pack_nodes):
    return {name.removeprefix(KIT): node for name, node in pack_nodes.items()}


def test_every_loader_is_asked(nodes):
    assert set(LOADERS) <= set(nodes), sorted(nodes)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_name_of_any_kind_is_a_sentence(nodes, pack_module, loader):
    """Linked inputs and null come as None, which only the run can tell."""
    name, others = LOADERS[loader]
    sentence = pack_module("wan_animate.errors").InputError
    for value in NAMES:
        said = nodes[loader].validate_inputs(**{name: value})
        assert isinstance(said, str) and len(said) < 400 and said.endswith("."), (value, said)
    for value in (None, *NAMES):
        with pytest.raises(sentence) as error:
            nodes[loader].execute(**{name: value}, **others)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        if loader != "LoadVideo":
            nodes[loader].fingerprint_inputs(**{name: value}, **others)


@pytest.mark.parametrize(
    "node, good, bad",
    [
        ("PlanClip", {"segment_length": 77, "previous_frames": 1}, {"segment_length": 1_000_001}),
        ("PlanClip", {"segment_length": 77, "previous_frames": None}, {"segment_length": 1_000_001}),
        ("PlanClip", {"segment_length": 77, "previous_frames": 5}, {"previous_frames": -3}),
        ("PromptForFrames", {"first_frame": 0, "last_frame": 5}, {"last_frame": 10**12}),
        ("Strength", {"pose_start_percent": 0.0, "pose_end_percent": 1.0}, {"pose_end_percent": math.nan}),
        ("SaveClip", {"filename_prefix": "a", "codec": "h264", "color_range": "limited"}, {"color_range": "wide"}),
    ],
)
def test_an_input_that_is_taken_for_a_check_keeps_its_limits(nodes, node, good, bad):
    """The host leaves the limits of these to the node."""
    found = nodes[node]
    assert found.validate_inputs(**good) is True
    said = found.validate_inputs(**{**good, **bad})
    assert isinstance(said, str) and next(iter(bad)) in said, said
