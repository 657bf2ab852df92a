"""What a job's key says of files that were replaced after ComfyUI loaded them."""

import os
from types import SimpleNamespace

import pytest
import torch


class Weights:
    """What ComfyUI's MODEL and VAE hold, as far as it is asked for here: a clone has the same."""


@pytest.fixture
def signature(pack_module, comfy, tmp_path, monkeypatch):
    """``signature(weights, node)`` of a graph whose only file, ``a.safetensors``, is loaded by such a node."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae", ([str(tmp_path)], {".safetensors"}))
    jobs = pack_module("nodes.host.jobs")

    def of(weights, node="VAELoader", name="a.safetensors"):
        graph = {
            "1": {"class_type": node, "inputs": {"file": name}},
            "2": {"class_type": "WanAnimateKitAnimate", "inputs": {"vae": ["1", 0]}},
        }
        hidden = SimpleNamespace(prompt=graph, dynprompt=None, unique_id="2")
        held = None if weights is None else SimpleNamespace(first_stage_model=weights)
        return jobs.model_signature(hidden, {"vae": held})

    return of


def replace(file, data: bytes) -> None:
    """By another file of that name; the former's pages stay in memory."""
    file.with_name("new").write_bytes(data)
    os.replace(file.with_name("new"), file)


def test_the_key_is_of_what_is_in_memory(signature, tmp_path, caplog):
    file, held = tmp_path / "a.safetensors", Weights()
    file.write_bytes(b"first")
    first = signature(held)
    assert first == signature(None) == signature(Weights())
    replace(file, b"other")
    assert signature(held) == first, "a clip made with it is the same clip"
    assert signature(held) == first and caplog.text.count("a.safetensors has changed since ComfyUI loaded it") == 1
    other = signature(Weights())
    assert other != first and other == signature(None), "loaded again"
    assert signature(held, "WanAnimateKitApplyLora") == signature(None, "WanAnimateKitApplyLora"), "read in each run"


def test_a_file_that_was_overwritten_in_its_place_is_loaded_again(signature, tmp_path):
    """What is in memory may be its pages, some of before and some of now."""
    file, held = tmp_path / "a.safetensors", Weights()
    file.write_bytes(b"first")
    first = signature(held)
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match=r"a\.safetensors was overwritten .* unload models and the execution cache"):
        signature(held)
    assert signature(Weights()) != first, "loaded again"
    file.write_bytes(b"first")
    assert signature(held) == first


@pytest.fixture
def words(pack_module, monkeypatch):
    """``words(prompts, features)`` of a job, under one graph whose encoders' files never change."""
    jobs = pack_module("nodes.host.jobs")
    monkeypatch.setattr(jobs, "model_signature", lambda hidden, inputs: " ".join(inputs))
    digest = pack_module("nodes.host.prompts").prompt_digest

    def of(prompt, features):
        output = None if features is None else SimpleNamespace(penultimate_hidden_states=features)
        linked = dict.fromkeys(("model", "positive", "negative", "vae"), object()) | {"clip_vision_output": output}
        word = digest([[prompt, {}]])
        return jobs.job_words(None, linked, "4 euler", None if word is None else [word])

    return of


def test_what_was_encoded_counts_as_it_is(words):
    prompt, features = torch.zeros(1, 4, 8), torch.zeros(1, 3, 8)
    one = words(prompt, features)
    assert one == words(prompt.clone(), features.clone()), "the same from another encoder is the same"
    other = words(prompt + 1e-6, features)
    assert other[0] != one[0] and other[1] == one[1], "segments have their own prompts"
    assert not set(words(prompt, features + 1e-6)) & set(one)
    assert "model vae " in one[0] and "positive" not in one[0]
    assert "positive negative" in words(object(), features)[1], "what cannot be compared: the graph counts"
    assert "clip_vision_output" in words(prompt, None)[1]


def test_every_part_of_a_model_counts(signature, tmp_path):
    names = [f"m-0000{at}-of-00002.safetensors" for at in (1, 2)]
    for name in names:
        (tmp_path / name).write_bytes(b"weights")
    before = signature(None, name=names[0])
    (tmp_path / names[1]).write_bytes(b"WEIGHTS")
    assert signature(None, name=names[0]) != before
