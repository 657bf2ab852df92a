"""The text encoder on another card leaves a worker's model where it is."""

import os

import pytest
import torch

from wan_animate.backends import diffusers
from wan_animate.cli import shared
from wan_animate.parallel import roomiest


def test_it_must_fit_there_whole(tmp_path, monkeypatch):
    (tmp_path / "text_encoder").mkdir()
    for number, size in enumerate((5 << 30, 6 << 30)):
        path = tmp_path / "text_encoder" / f"model-0000{number}.safetensors"
        path.touch()
        os.truncate(path, size)
    asked = []
    monkeypatch.setattr(
        roomiest, "card_with_room", lambda *given, needed: asked.append((given[0], needed)) or torch.device("cuda", 1)
    )
    assert shared.text_device(str(tmp_path), "cuda") == "cuda:1" and asked == [("cuda", 12 << 30)]
    shared.text_device(str(tmp_path / "none"), "cuda")  # which is refused when it is loaded
    assert asked[1] == ("cuda", 1 << 30)
    (tmp_path / "pickled" / "text_encoder").mkdir(parents=True)
    path = tmp_path / "pickled" / "text_encoder" / "pytorch_model.bin"
    path.touch()
    os.truncate(path, 5 << 30)
    shared.text_device(str(tmp_path / "pickled"), "cuda")
    assert asked[2] == ("cuda", 6 << 30)


@pytest.mark.parametrize("kind", [shared.Weights, shared.KeptWeights])
def test_where_memory_runs_out_elsewhere_the_own_card_does_it(monkeypatch, caplog, kind):
    placed = []

    def encode(folder, text, device):
        placed.append((device, getattr(weights, "_model", None)))
        if device != "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "embedding"

    monkeypatch.setattr(shared, "text_device", lambda folder, device: "cuda:1" if device == "cuda" else device)
    monkeypatch.setattr(diffusers, "encode_prompt", encode)
    weights = kind()
    model = None
    if kind is shared.KeptWeights:
        weights._model = model = object(), object()
    assert weights.prompt("models", "a robot", "cuda") == "embedding"
    assert placed == [("cuda:1", model), ("cuda", None)], "the kept model makes room"
    assert "The text encoder runs on cuda: memory ran out on cuda:1." in caplog.text
    with pytest.raises(torch.cuda.OutOfMemoryError):
        weights.prompt("models", "a robot", "cuda:0")


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:1"])
@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="with several cards it depends on their memory")
def test_with_one_card_or_none_nothing_changes(tmp_path, device):
    assert shared.text_device(str(tmp_path), device) == device


@pytest.mark.parametrize("elsewhere, kept", [("cuda:1", True), ("cuda", False)])
def test_the_model_is_let_go_only_for_room_on_its_own_card(monkeypatch, elsewhere, kept):
    placed = []
    monkeypatch.setattr(shared, "text_device", lambda folder, device: elsewhere if device == "cuda" else device)
    monkeypatch.setattr(diffusers, "encode_prompt", lambda folder, text, device: placed.append(device) or "embedding")
    weights = shared.KeptWeights()
    weights._model = model = object(), object()
    assert weights.prompt("models", "a robot", "cuda") == weights.prompt("models", "a robot", "cuda") == "embedding"
    assert placed == [elsewhere]
    assert (weights._model is model) is kept
