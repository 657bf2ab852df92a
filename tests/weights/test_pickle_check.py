"""Pickles are looked through before they are opened: what would take hours is refused, what trainers write is not."""

from collections import Counter, OrderedDict

import pytest
import torch

from wan_animate.errors import InputError
from wan_animate.weights.lora_file import read_lora

from ..support.hostile_pickles import PICKLES, STORED, opcodes

WHY = {
    "a key of 2^120 items": "tuples in tuples",
    "a set of 2^120 items": "tuples in tuples",
    "a key of 100,000 nested tuples": "tuples in tuples",
    "60,000 keys of one hash": "keys that are no names",
    "a set of 60,000 numbers of one hash": "keys that are no names",
    "a Counter of 60,000 numbers of one hash": "keys that are no names",
    "an array of 100 GB": "asks for memory",
    "an array of 2 GB by another call": "makes tensors by something else",
    "an array of 2 GB by a list": "holds more than tensors",
    "a tensor of 400 GB": "asks for memory",
    "50,000 pairs copied 10,000 times": "copies more than",
    "a state of 50,000 names set 10,000 times": "copies more than",
    "a text of 60,000 letters as punycode": "encodes a text",
    "400,000 lists": "more than 300,000 parts",
}
PAIR = {
    "blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 8),
    "blocks.0.self_attn.q.lora_B.weight": torch.ones(8, 4).bfloat16(),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("name", PICKLES)
def test_nothing_is_built_of(tmp_path, monkeypatch, name, zipped):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it is opened"))
    with pytest.raises(InputError, match=rf"^lora.ckpt .*{WHY[name]}.*: take the safetensors form"):
        read_lora(str(opcodes(PICKLES[name], zipped)(tmp_path)))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_a_claim_of_stored_numbers(tmp_path, zipped):
    with pytest.raises(InputError, match="claims more numbers than its"):
        read_lora(str(opcodes(STORED + (b"tQ" if zipped else b"NtQ"), zipped)(tmp_path)))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "content",
    [
        PAIR,
        {"state_dict": OrderedDict(PAIR), "epoch": 3, "loss": 0.25, "step": 10**12, "name": "ä" * 1000},
        {"state_dict": {name: torch.nn.Parameter(value) for name, value in PAIR.items()}},
        {"module": PAIR, "seen": {1, 2, 3}, "count": Counter("abc"), "raw": b"\x00\xff", "array": bytearray(b"ab")},
        {"lora": PAIR, "betas": (0.9, 0.999), "shape": torch.Size([1, 2]), "dtype": torch.bfloat16, "none": None},
        {"lora": PAIR, 5: [1, [2, [3]]], (1, "a"): True, "size": {"a": {"b": {"c": 1}}}, "number": 3 + 4j},
        {"lora": {name: value[:2] for name, value in PAIR.items()}, "device": torch.device("cpu")},
    ],
)
def test_what_trainers_write_is_opened(tmp_path, content, zipped):
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_lora(str(tmp_path / "a.ckpt"))
    assert found.keys() == PAIR.keys()
    wanted = content
    for name in ("state_dict", "module", "lora"):
        wanted = wanted.get(name, wanted)
    assert all(torch.equal(found[name].float(), wanted[name].float()) for name in PAIR)


def test_float8_is_opened(tmp_path):
    torch.save({name: value.to(torch.float8_e4m3fn) for name, value in PAIR.items()}, tmp_path / "a.ckpt")
    assert {value.dtype for value in read_lora(str(tmp_path / "a.ckpt")).values()} == {torch.float8_e4m3fn}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_a_lora_on_every_layer_with_alphas_is_opened(tmp_path, zipped):
    names = [f"blocks.{block}.{layer}.{part}.lora_{half}.weight"
             for block in range(40) for layer in ("self_attn", "cross_attn", "ffn", "face") for part in "qkvo"
             for half in "AB"]  # fmt: skip
    content = OrderedDict((name, torch.ones(2, 2)) for name in names)
    content |= {name.replace("lora_A.weight", "alpha"): torch.tensor(2.0) for name in names[::2]}
    torch.save({"state_dict": content}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    assert read_lora(str(tmp_path / "a.ckpt")).keys() == content.keys() and len(content) == 1920
