"""Cached Prompt and Load Saved Prompt on a running server, with a small text encoder of the host's own classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.server import HostServer, PromptFailed, PromptRejected
from wan_animate.errors import InputError
from wan_animate.weights.prompt_file import load_prompt, prompt_file_name, save_prompt, storable

TEXT = "A dancer turns, in the rain."


@pytest.fixture(scope="module")
def server(host, small_models, tmp_path_factory):
    base = tmp_path_factory.mktemp("prompts")
    small_models.copy_to(base / "models")
    (base / "custom_nodes").mkdir()
    shutil.copy(Path(__file__).with_name("tiny_text_encoder.py"), base / "custom_nodes")
    (base / "models" / "text_encoders").mkdir()
    (base / "models" / "text_encoders" / "tiny.safetensors").write_bytes(b"first encoder")
    # on a card ComfyUI would read the encoder's weights from its file, as dynamic VRAM does, and this one has none
    with HostServer(host, base, extra_args=("--cpu",)) as running:
        yield running


def graph(node: str, **inputs) -> dict:
    return {
        "1": {"class_type": "TestTinyTextEncoder", "inputs": {"file": "tiny.safetensors"}},
        "2": {"class_type": node, "inputs": inputs},
        "3": {"class_type": "TestConditioningDigest", "inputs": {"conditioning": ["2", 0]}},
    }


def cached(text: str) -> dict:
    return graph("WanAnimateKitCachedPrompt", text=text, clip=["1", 0])


def run(server, prompt: dict) -> tuple[str, bool]:
    """What the conditioning is, and whether the text encoder was loaded for it."""
    # The host's own cache of node outputs would hide what is loaded and what is not.
    server.forget()
    ran: list[str] = []
    entry = server.run(prompt, lambda kind, data: ran.append(data["node"]) if kind == "executing" else None)
    return entry["outputs"]["3"]["text"][0], "1" in ran


def prompt_files(server) -> list[Path]:
    return sorted((server.base_dir / "models" / "wan_animate_prompts").glob("*dancer*"))


def test_a_prompt_is_encoded_once_and_is_what_the_host_encodes(server):
    direct, loaded = run(server, graph("CLIPTextEncode", text=TEXT, clip=["1", 0]))
    assert loaded and "cond: [1, 77, 64]" in direct and "pooled_output: [1, 64]" in direct

    first, loaded = run(server, cached(TEXT))
    assert loaded and first == direct
    (file,) = prompt_files(server)
    assert file.name.startswith("a-dancer-turns-in-the-rain-")

    again, loaded = run(server, cached(TEXT))
    assert not loaded, "the text encoder was loaded although the prompt is on disk"
    assert again == direct

    # Another place in another graph is no other encoder.
    moved = {"7": cached(TEXT)["1"], "2": cached(TEXT)["2"], "3": cached(TEXT)["3"]}
    moved["2"]["inputs"]["clip"] = ["7", 0]
    ran: list[str] = []
    server.run(moved, lambda kind, data: ran.append(data["node"]) if kind == "executing" else None)
    assert "7" not in ran

    other, loaded = run(server, cached(TEXT + " Slowly."))
    assert loaded and other != direct
    assert len(prompt_files(server)) == 2


def test_a_damaged_file_is_encoded_anew(server):
    direct, _ = run(server, graph("CLIPTextEncode", text=TEXT, clip=["1", 0]))
    run(server, cached(TEXT))
    file = next(file for file in prompt_files(server) if "slowly" not in file.name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    again, loaded = run(server, cached(TEXT))
    assert loaded and again == direct
    assert file.stat().st_size == len(whole) and run(server, cached(TEXT)) == (direct, False)
    assert f"{file.name} is damaged" in server.log()
    assert not list(file.parent.glob("*.part"))


def test_another_encoder_of_the_same_name_and_size_is_noticed(server):
    run(server, cached(TEXT))
    before, loaded = run(server, cached(TEXT))
    assert not loaded
    encoder = server.base_dir / "models" / "text_encoders" / "tiny.safetensors"
    content = encoder.read_bytes()
    try:
        encoder.write_bytes(b"other encoder")
        after, loaded = run(server, cached(TEXT))
    finally:
        encoder.write_bytes(content)
    assert loaded and after != before
    assert run(server, cached(TEXT)) == (before, False), "the first encoder's result is still there"


def test_where_nothing_can_be_written_the_run_goes_on(server):
    folder = server.base_dir / "models" / "wan_animate_prompts"
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_bytes(b"")  # a file in the folder's place: not even root can write into it
    try:
        text, loaded = run(server, cached(TEXT + " Unwritten."))
    finally:
        folder.unlink()
        away.rename(folder)
    assert loaded and "cond: [1, 77, 64]" in text
    assert "the encoded prompt cannot be written to" in server.log()


def test_a_saved_prompt_needs_no_encoder(server):
    load = {
        "2": {"class_type": "WanAnimateKitLoadPrompt", "inputs": {"file": "small.safetensors"}},
        "3": {"class_type": "TestConditioningDigest", "inputs": {"conditioning": ["2", 0]}},
    }
    assert "cond: [1, 512, 4096]" in server.run(load)["outputs"]["3"]["text"][0]
    save_file({"cond": torch.zeros(1, 77, 768)}, server.base_dir / "models" / "wan_animate_prompts" / "sd.safetensors")
    load["2"]["inputs"]["file"] = "sd.safetensors"
    with pytest.raises(PromptFailed) as failure:
        server.run(load)
    assert "[1, 77, 768] where [1, tokens, 4096] is needed: encode the prompt with the umT5-XXL" in failure.value.text
    for name in ("none.safetensors", "../vae/wan_2.1_vae-small.safetensors"):
        load["2"]["inputs"]["file"] = name
        with pytest.raises(PromptRejected, match="there is no saved prompt"):
            server.run(load)


def test_file_round_trip(tmp_path):
    conditioning = [
        [torch.randn(1, 5, 8, dtype=torch.float16), {"pooled_output": None, "attention_mask": torch.ones(1, 5)}]
    ]
    path = tmp_path / "new folder" / prompt_file_name("Ein Tänzer – 你好", "encoder")
    save_prompt(path, conditioning, "Ein Tänzer – 你好", "encoder")
    ((embedding, values),) = load_prompt(path)
    assert torch.equal(embedding, conditioning[0][0]) and embedding.dtype == torch.float16
    assert values["pooled_output"] is None and torch.equal(values["attention_mask"], torch.ones(1, 5))
    assert sorted(load_file(path)) == ["attention_mask", "cond"]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert not storable([*conditioning, *conditioning]) and not storable([[embedding, {"hooks": object()}]])


def test_names_differ_by_text_and_encoder():
    names = {prompt_file_name(text, encoder) for text in ("", "a", "A", "a ") for encoder in ("1", "2")}
    assert len(names) == 8 and all(len(name) < 80 and name == Path(name).name for name in names)
    assert len(prompt_file_name("word " * 500, "1")) < 80


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"embedding": torch.zeros(1)}, "holds no tensor named cond (it has embedding)"),
        ({"cond": torch.zeros(2, 5, 8)}, "shape [2, 5, 8] where [1, tokens, channels]"),
        ({"cond": torch.zeros(1, 5, 8, dtype=torch.int64)}, "shape [1, 5, 8]"),
    ],
)
def test_files_that_hold_no_prompt(tmp_path, tensors, sentence):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(InputError) as failure:
        load_prompt(tmp_path / "x.safetensors")
    assert sentence in str(failure.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="does not exist: encode it with Cached Prompt"):
        load_prompt(tmp_path / "x.safetensors")
