"""What a job's key says of files that were replaced after ComfyUI loaded them."""

from types import SimpleNamespace

import pytest


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


def test_the_key_is_of_what_is_in_memory(signature, tmp_path, caplog):
    file, held = tmp_path / "a.safetensors", Weights()
    file.write_bytes(b"first")
    first = signature(held)
    assert first == signature(None) == signature(Weights())
    file.write_bytes(b"other")
    assert signature(held) == first, "a clip made with it is the same clip"
    assert signature(held) == first and caplog.text.count("a.safetensors has changed since ComfyUI loaded it") == 1
    other = signature(Weights())
    assert other != first and other == signature(None), "loaded again"
    assert signature(held, "WanAnimateKitApplyLora") == signature(None, "WanAnimateKitApplyLora"), "read in each run"


def test_every_part_of_a_model_counts(signature, tmp_path):
    names = [f"m-0000{at}-of-00002.safetensors" for at in (1, 2)]
    for name in names:
        (tmp_path / name).write_bytes(b"weights")
    before = signature(None, name=names[0])
    (tmp_path / names[1]).write_bytes(b"WEIGHTS")
    assert signature(None, name=names[0]) != before
