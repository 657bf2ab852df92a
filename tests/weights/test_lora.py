"""Where a LoRA's tensors go, and which files are refused."""

import pytest
import torch
from safetensors.torch import save_file

from wan_animate.errors import InputError
from wan_animate.weights.lora import block_of, check_fit, fit_lora, in_blocks, parse_blocks
from wan_animate.weights.lora_file import read_lora
from wan_animate.weights.transformer import relighting_layers, transformer_shapes

from ..support.lora_files import BLOCKS, SHAPES, SPELLINGS, pairs, spelled
from ..support.weight_files import write_header


def shapes(tensors: dict) -> dict:
    return {name: tuple(one.shape) for name, one in tensors.items()}


def test_the_relighting_lora_changes_480_layers():
    """Upstream's rule over the real model's names."""
    full = transformer_shapes(5120, 13824, 40)
    by_rule = {
        name.removesuffix(".weight")
        for name, shape in full.items()
        if name.endswith(".weight") and len(shape) == 2 and "blocks" in name and "face" not in name
    }
    assert set(relighting_layers(40)) == by_rule and len(by_rule) == 480


def test_the_published_relighting_lora(tmp_path):
    """Its size (models_manifest.json) is that of 480 pairs of rank 128 without alpha, and a header."""
    full, tensors = transformer_shapes(5120, 13824, 40), {}
    for layer in relighting_layers(40):
        out, into = full[f"{layer}.weight"]
        tensors[f"diffusion_model.{layer}.lora_A.weight"] = ("F16", (128, into))
        tensors[f"diffusion_model.{layer}.lora_B.weight"] = ("F16", (out, 128))
    size = write_header(tmp_path / "relight.safetensors", tensors)
    assert abs(size - 1_436_672_440) < 10_000
    fit = fit_lora({name: shape for name, (_, shape) in tensors.items()}, full)
    check_fit(fit, "relight.safetensors", relighting_layers(40), "the relighting LoRA")
    assert (len(fit.layers), fit.layers_in_file, fit.rank, fit.left_out()) == (480, 480, 128, "")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("alpha", [None, 2.0])
def test_every_spelling_finds_every_layer(spelling, alpha):
    layers = [*relighting_layers(BLOCKS), "text_embedding.0", "time_projection.1", "img_emb.proj.1", "head.head"]
    tensors = spelled(pairs(layers, rank=4), spelling, alpha)
    fit = fit_lora(shapes(tensors), SHAPES)
    assert fit.layers == layers and not fit.left_out() and fit.rank == 4 and fit.layers_in_file == len(layers)
    assert len(fit.names) == len(tensors)
    endings = {name.removeprefix("blocks.1.ffn.0") for name in fit.names.values() if name.startswith("blocks.1.ffn.0")}
    assert endings == {".lora_down.weight", ".lora_up.weight"} | ({".alpha"} if alpha else set())
    check_fit(fit, "file", relighting_layers(BLOCKS), "the relighting LoRA")


def test_differences_of_distilled_loras():
    tensors = {
        "diffusion_model.blocks.0.diff_m": (1, 6, 256),
        "diffusion_model.blocks.0.self_attn.norm_q.diff": (256,),
        "diffusion_model.blocks.0.ffn.2.diff_b": (256,),
        "diffusion_model.patch_embedding.diff": (256, 16, 1, 2, 2),
        "diffusion_model.head.head.diff_b": (64,),
    }
    fit = fit_lora(tensors, SHAPES)
    assert sorted(fit.names.values()) == [
        "blocks.0.ffn.2.diff_b", "blocks.0.modulation.diff", "blocks.0.self_attn.norm_q.diff", "head.head.diff_b",
    ]  # fmt: skip
    assert fit.misfits == ["patch_embedding.diff is [256, 16, 1, 2, 2], the model's is [256, 36, 1, 2, 2]"]
    check_fit(fit, "file")


def refused(tensors: dict, *args) -> str:
    with pytest.raises(InputError) as found:
        check_fit(fit_lora(tensors, SHAPES), "file", *args)
    return str(found.value)


def test_a_lora_for_another_model_is_refused_with_the_counts():
    wide = {name: tuple(2 * size if size > 8 else size for size in shape) for name, shape in
            shapes(spelled(pairs(), "ComfyUI")).items()}  # fmt: skip
    assert refused(wide).startswith(
        "file is a LoRA for another model: 0 of its 60 layers fit this one; left are 60 of another shape "
        "(blocks.0.self_attn.q is 512x512, the model's is 256x256)"
    )
    flux = {f"lora_unet_double_blocks_{block}_img_attn_qkv.lora_{part}.weight": (4, 4) for block in range(3)
            for part in ("down", "up")}  # fmt: skip
    assert "0 of its 3 layers fit this one; left are 3 that the model does not have (for instance double" in refused(
        flux
    )
    deep = shapes(spelled(pairs(), "ComfyUI"))
    for block in range(5, 40):
        deep |= {
            name.replace("blocks.0.", f"blocks.{block}."): one for name, one in deep.items() if "blocks.0." in name
        }
    assert "60 of its 480 layers fit" in refused(deep)
    assert refused({}) == "file holds no LoRA tensors: choose a LoRA file."


def test_what_is_no_relighting_lora_is_refused_with_the_counts():
    layers = [layer for layer in relighting_layers(BLOCKS) if "_img" not in layer]  # a text-to-video LoRA
    sentence = refused(shapes(spelled(pairs(layers), "ComfyUI")), relighting_layers(BLOCKS), "the relighting LoRA")
    assert sentence.startswith(
        "file is not the relighting LoRA: it changes 50 of the 60 layers that one does (blocks.0.cross_attn.k_img is"
    )
    check_fit(fit_lora(shapes(spelled(pairs(layers), "ComfyUI")), SHAPES), "file")


def test_half_a_pair_is_left_out():
    tensors = shapes(spelled(pairs(), "peft"))
    del tensors["blocks.2.ffn.0.lora_B.weight"]
    fit = fit_lora(tensors, SHAPES)
    assert len(fit.layers) == 59 and fit.left_out() == "1 of another shape (blocks.2.ffn.0 has one half of a pair)"


# -- blocks


def test_blocks():
    assert parse_blocks("", 40) is None and parse_blocks(" all ", 40) is None
    assert parse_blocks("0-2, 5;7 - 8", 40) == {0, 1, 2, 5, 7, 8} and parse_blocks("39", 40) == {39}
    for text, sentence in (("0-40", "has blocks 0 to 39"), ("5-3", "names 5-3"), ("a", "write numbers")):
        with pytest.raises(InputError, match=sentence):
            parse_blocks(text, 40)
    for text in ("9" * 5000, "\u0661"):
        with pytest.raises(InputError, match="write numbers"):
            parse_blocks(text, 40)
    assert [block_of(one) for one in ("blocks.7.ffn.0", "face_adapter.fuser_blocks.2.linear2", "head.head")] == [
        7,
        10,
        None,
    ]
    assert in_blocks("head.head", None) and not in_blocks("head.head", {0}) and in_blocks("blocks.3.ffn.0", {3})


# -- files


def test_upstreams_pickle_and_safetensors_are_the_same(tmp_path):
    tensors = spelled(pairs(), "peft")
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "a.ckpt")
    torch.save(tensors, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.ckpt", "a.pt"):
        found = read_lora(str(tmp_path / name))
        assert found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)


class Evil:
    def __reduce__(self):
        return (open, ("evil.txt", "w"))


def test_a_pickle_that_would_run_code_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": spelled(pairs(), "peft"), "hook": Evil()}, "a.ckpt")
    with pytest.raises(InputError, match="^a.ckpt holds more than tensors, which could run code"):
        read_lora("a.ckpt")
    assert not (tmp_path / "evil.txt").exists()


def test_what_is_no_lora_is_named(tmp_path):
    write_header(tmp_path / "model.safetensors", {"blocks.0.ffn.0.weight": ("BF16", (13824, 5120))})
    with pytest.raises(
        InputError, match=r"^model.safetensors is no LoRA: none of its 1 tensors \(blocks.0.ffn.0.weight"
    ):
        read_lora(str(tmp_path / "model.safetensors"))
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(InputError, match="^list.ckpt holds a list, not named tensors"):
        read_lora(str(tmp_path / "list.ckpt"))
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match="^model.ckpt is no LoRA"):
        read_lora(str(tmp_path / "model.ckpt"))
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(InputError, match="^cut.ckpt (cannot be read|holds more than tensors)"):
        read_lora(str(tmp_path / "cut.ckpt"))
