"""A metadata field of a wrong type is one sentence, or ignored."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from wan_animate.errors import InputError
from wan_animate.mask.sam2_weights import METADATA as SAM2_METADATA
from wan_animate.mask.sam2_weights import check_declared_size
from wan_animate.weights.header import read_header, read_model_header
from wan_animate.weights.kinds import FIELDS
from wan_animate.weights.quantized import find_quantization, stored_formats
from wan_animate.weights.transformer import read_animate

from ..support.weight_files import animate_header, write_header
from .test_kinds import I2V, refusal, said

WRONG = ([5120], "5120", {"a": 1}, None, 1.5, True, -7, [], "")


RIGHT = {("causal_ar", "True"), ("flf_pos_embed_token_number", "None"), ("flf_pos_embed_token_number", "-7")}


@pytest.mark.parametrize(
    "name, value",
    [(name, value) for name in FIELDS for value in WRONG if (name, repr(value)) not in RIGHT],
    ids=lambda one: repr(one),
)
def test_a_field_of_another_type(tmp_path, name, value):
    """An Animate file is refused; another model is still named."""
    path = tmp_path / "w.safetensors"
    text = refusal(path, animate_header(), said(**{name: value}))
    assert text.startswith("w.safetensors says") and (f"that {name} is" in text or "says of itself that it is" in text)
    assert text.count("choose wan2.2_animate_14B_bf16.safetensors") == 1
    assert refusal(path, I2V, said(**{name: value})).startswith("w.safetensors is ")


def test_the_true_configuration_is_taken(tmp_path):
    true = said(model_type="animate", dim=256, ffn_dim=512, num_layers=5, num_heads=2, in_dim=36, out_dim=16,
                text_dim=4096, freq_dim=256, flf_pos_embed_token_number=None, eps=1e-6)  # fmt: skip
    write_header(tmp_path / "w.safetensors", animate_header(), true)
    assert read_animate(read_model_header(str(tmp_path / "w.safetensors"))).dim == 256
    assert "that dim is 5120, where its tensors say 256" in refusal(
        tmp_path / "w.safetensors", animate_header(), said(dim=5120)
    )


@pytest.mark.parametrize("config", ["{", "3", "[]", '{"transformer": 3}', '{"transformer": ["dim"]}', ""])
def test_a_configuration_that_the_host_could_not_read(tmp_path, config):
    text = refusal(tmp_path / "w.safetensors", animate_header(), {"config": config})
    assert text.startswith("the configuration in w.safetensors's metadata cannot be read: it")


@pytest.mark.parametrize("entry", [
    {"dtype": ["BF16"], "shape": [2], "data_offsets": [0, 4]},
    {"dtype": "BF16", "shape": "2", "data_offsets": [0, 4]},
    {"dtype": "BF16", "shape": [2.5], "data_offsets": [0, 4]},
    {"dtype": "BF16", "shape": [-2], "data_offsets": [0, 4]},
    {"dtype": "BF16", "shape": [2], "data_offsets": ["0", "4"]},
    {"dtype": "BF16", "shape": [2], "data_offsets": [0]},
    {"dtype": "BF16", "shape": [2], "data_offsets": {"1": 4}},
    {"dtype": "BF16", "shape": [2]},
    "BF16", 3, None, [],
], ids=repr)  # fmt: skip
def test_an_entry_of_the_header_of_another_type(tmp_path, entry):
    text = json.dumps({"head.modulation": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))
    with pytest.raises(InputError, match="w.safetensors has a damaged safetensors header .*: download the file again"):
        read_header(str(path))


def test_tensors_without_axes(tmp_path):
    for name in ("head.modulation", "head.head.weight", "patch_embedding.weight"):
        assert "w.safetensors is " in refusal(tmp_path / "w.safetensors", I2V | {name: ("BF16", ())}, {})
    for name in ("head.modulation", "blocks.0.ffn.0.bias"):
        assert "w.safetensors " in refusal(tmp_path / "w.safetensors", animate_header() | {name: ("BF16", ())}, {})


@pytest.mark.parametrize("layer", [{"format": ["float8_e4m3fn"]}, {"format": None}, {"format": 3}, {}], ids=repr)
def test_a_quantization_of_another_type(layer):
    with pytest.raises(InputError, match="gives blocks.0.self_attn.q the format .*, which is no name of one"):
        find_quantization({}, {"_quantization_metadata": json.dumps({"layers": {"blocks.0.self_attn.q": layer}})})


@pytest.mark.parametrize("content", [b"{", b"3", b"\xff\xfe", b""])
def test_a_mark_of_quantization_that_cannot_be_read(content):
    with pytest.raises(InputError, match="the file's tensor a.comfy_quant cannot be read"):
        stored_formats({"a.comfy_quant": torch.tensor(list(content), dtype=torch.uint8)})


@pytest.mark.parametrize("given", [
    [], [1], 3, {"heads": 2},
    {"heads": [2], "windows": "8", "global_blocks": [1]}, {"heads": [], "windows": [], "global_blocks": []},
    {"heads": [2], "windows": [8], "global_blocks": [1.5]},
    {"heads": [2], "windows": [8], "global_blocks": [], "image_size": "5"},
], ids=repr)  # fmt: skip
def test_sam2s_own_size_of_another_type(given):
    with pytest.raises(InputError, match=f"the size in m.safetensors's metadata .{SAM2_METADATA}. cannot be read: it"):
        check_declared_size(json.dumps(given), "m.safetensors")


def test_a_prompts_metadata_of_another_type(tmp_path):
    from wan_animate.weights.prompt_file import load_prompt

    save_file({"cond": torch.zeros(1, 2, 4)}, tmp_path / "p.safetensors", {"empty": "3"})
    with pytest.raises(InputError, match="list cannot be read: it is 3"):
        load_prompt(tmp_path / "p.safetensors")
