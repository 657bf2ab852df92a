"""Which card the host's work goes to, where it has several: the cards stand for real ones, the choice is real."""

import os

import pytest
import torch

GB = 1 << 30
FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture(scope="module")
def device(pack_module):
    return pack_module("nodes.host.device")


@pytest.fixture(scope="module")
def default_prompt(pack_module):
    return pack_module("nodes.host.default_prompt")


@pytest.fixture
def cards(comfy, monkeypatch):
    """``cards({card: free bytes})`` gives the host these, the first of them its own."""
    import comfy.model_management as management

    def have(free):
        monkeypatch.setattr(management, "get_torch_device", lambda: next(iter(free)))
        monkeypatch.setattr(management, "get_all_torch_devices", lambda: list(free))
        monkeypatch.setattr(management, "get_free_memory", free.__getitem__)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: "card")

    return have


def test_the_card_with_room(device, cards):
    cards({FIRST: 5 * GB, SECOND: 20 * GB})
    assert device.card_with_room("SAM 2") == SECOND
    assert device.card_with_room("SAM 2", needed=21 * GB) == FIRST
    cards({FIRST: 20 * GB, SECOND: 5 * GB})
    assert device.card_with_room("SAM 2") == FIRST
    cards({FIRST: 5 * GB})
    assert device.card_with_room("SAM 2") == FIRST


def test_without_a_card(device, comfy):
    """The host as it is here: nothing is asked, nothing moves."""
    import comfy.model_management as management

    assert device.card_with_room("SAM 2") == management.get_torch_device()


def test_the_host_makes_room_where_the_work_goes(device, cards, monkeypatch):
    import comfy.model_management as management

    asked = []
    monkeypatch.setattr(management, "free_memory", lambda size, card: asked.append((size, card)))
    cards({FIRST: 5 * GB, SECOND: 20 * GB})
    device.make_room(3)
    device.make_room(3, SECOND)
    assert asked == [(3, FIRST), (3, SECOND)]


def test_the_text_encoder_goes_where_it_fits_whole(default_prompt, cards, tmp_path, monkeypatch):
    import comfy.model_management as management

    path = tmp_path / "umt5.safetensors"
    path.touch()
    os.truncate(path, 6 * GB)
    monkeypatch.setattr(management, "text_encoder_device", lambda: FIRST)
    monkeypatch.setattr(management, "text_encoder_offload_device", lambda: torch.device("cpu"))
    for free, options in (
        ({FIRST: 3 * GB, SECOND: 8 * GB}, {"load_device": SECOND}),
        ({FIRST: 3 * GB, SECOND: 6 * GB}, {}),
        ({FIRST: 8 * GB, SECOND: 8 * GB}, {}),
        ({FIRST: 3 * GB}, {}),
    ):
        cards(free)
        assert default_prompt.load_options(str(path)) == options
    cards({FIRST: 3 * GB, SECOND: 8 * GB})
    monkeypatch.setattr(management, "text_encoder_offload_device", lambda: FIRST)  # --gpu-only
    assert default_prompt.load_options(str(path)) == {}
    monkeypatch.setattr(management, "text_encoder_device", lambda: torch.device("cpu"))  # --lowvram
    assert default_prompt.load_options(str(path)) == {}


def test_the_host_loads_a_text_encoder_where_it_is_told(comfy):
    """On what :func:`load_options` builds: the load device of the host's model options."""
    import comfy.sd
    from comfy import sd1_clip

    class Target:
        params, clip, tokenizer = {}, sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer

    small = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2,
             "projection_dim": 64}  # fmt: skip
    other = torch.device("cpu", 0)
    clip = comfy.sd.CLIP(Target, model_options={"clip_l_model_config": small, "load_device": other})
    assert (
        clip.patcher.load_device
        == other
        != comfy.sd.CLIP(Target, model_options={"clip_l_model_config": small}).patcher.load_device
    )
