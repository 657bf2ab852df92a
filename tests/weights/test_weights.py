"""Weight files by their headers: every published layout, and other files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo import small_transformer
from wan_animate.errors import InputError
from wan_animate.weights.header import TensorInfo, is_later_shard, read_header, read_model_header
from wan_animate.weights.quantized import convert_weights, find_quantization, stored_formats
from wan_animate.weights.transformer import is_linear, read_animate, transformer_shapes, unexpected_keys

from ..support.weight_files import animate_header, in_blocks, scaled_weights, write_header

FULL = {"dim": 5120, "ffn": 13824, "blocks": 40}


def read(path):
    return read_animate(read_model_header(str(path)))


def test_names_and_shapes_are_those_the_host_loads():
    assert transformer_shapes(256, 512, 5) == small_transformer.transformer_shapes()


@pytest.mark.parametrize(
    "scaled, published, scales",
    [(None, None, 0), (in_blocks, 18_401_760_586, 480), (is_linear, 17_317_143_060, 513)],
    ids=["bf16", "fp8_e4m3fn_scaled_KJ", "fp8_scaled_e4m3fn_KJ_v2"],
)
def test_the_published_14b_files(tmp_path, scaled, published, scales):
    """Their sizes (models_manifest.json) fit these layouts and a header."""
    size = write_header(tmp_path / "model.safetensors", animate_header(scaled=scaled, **FULL))
    file = read(tmp_path / "model.safetensors")
    assert (file.dim, file.ffn, file.blocks) == (5120, 13824, 40)
    assert len(file.quantization.layers) == scales and not unexpected_keys(file) and not file.blur_kernels
    assert abs(size - (published or 34.55e9)) < 100_000 if published else abs(size - 34.55e9) < 1e7
    assert file.summary().startswith("Wan 2.2 Animate 14B, " + ("fp8 e4m3" if scaled else "bf16"))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model.", "model."])
def test_precisions_and_prefixes(tmp_path, dtype, prefix):
    write_header(tmp_path / "a.safetensors", animate_header(dtype, prefix=prefix))
    file = read(tmp_path / "a.safetensors")
    assert (file.precision, file.prefix, file.dim, file.blocks) == (dtype, prefix, 256, 5)
    assert file.quantization.form == "none"


def test_shards_are_one_model(tmp_path):
    tensors = list(animate_header().items())
    parts = [dict(tensors[:300]), dict(tensors[300:])]
    names = [f"diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    for name, part in zip(names, parts):
        write_header(tmp_path / name, part)
    for name in names:
        file = read(tmp_path / name)
        assert [one.rsplit("/", 1)[-1] for one in file.header.paths] == names and file.blocks == 5
    assert (
        not is_later_shard("a/" + names[0]) and is_later_shard("a/" + names[1]) and not is_later_shard("a.safetensors")
    )
    write_header(tmp_path / names[1], parts[1] | dict(tensors[:1]))
    with pytest.raises(InputError, match="which another shard beside it holds too"):
        read(tmp_path / names[0])
    (tmp_path / names[1]).rename(tmp_path / "renamed.safetensors")
    with pytest.raises(InputError, match="is one of 2 files .* 1 of them are not beside it"):
        read(tmp_path / names[0])
    write_header(tmp_path / "renamed.safetensors", {name: one for name, one in parts[0].items() if "head" not in name})
    with pytest.raises(InputError, match="is a part of a Wan model"):
        read(tmp_path / "renamed.safetensors")


def wan(channels: int, dim: int = 5120, image: bool = False, **more) -> dict:
    tensors = {
        "patch_embedding.weight": ("BF16", (dim, channels, 1, 2, 2)),
        "head.modulation": ("F32", (1, 2, dim)),
        "head.head.weight": ("BF16", (64, dim)),
        "blocks.0.self_attn.q.weight": ("BF16", (dim, dim)),
    }
    if image:
        tensors["img_emb.proj.0.bias"] = ("BF16", (1280,))
    return tensors | {name: ("BF16", (4, 4)) for name in more.get("names", ())}


@pytest.mark.parametrize(
    "tensors, sentence",
    [
        (wan(16), "is Wan 2.1 or 2.2 T2V 14B, which has no face adapter: choose wan2.2_animate_14B"),
        (wan(16, 1536), "is Wan 2.1 or 2.2 T2V 1.3B"),
        (wan(36), "is Wan 2.2 I2V 14B"),
        (wan(36, image=True), "is Wan 2.1 I2V 14B"),
        (wan(48, image=True), "is Wan 2.1 Fun Control 14B"),
        (wan(48, 3072), "is Wan 2.2 TI2V 5B"),
        (wan(16, names=["vace_patch_embedding.weight"]), "is Wan VACE"),
        (wan(16, names=["casual_audio_encoder.encoder.final_linear.weight"]), "is Wan 2.2 S2V"),
        ({"model.diffusion_model." + name: one for name, one in wan(36).items()}, "is Wan 2.2 I2V 14B"),
        ({"diffusion_model.blocks.0.ffn.0.lora_A.weight": ("BF16", (4, 8))}, "is a LoRA, not a model: put it into"),
        ({"lora_unet_blocks_0_ffn_0.lora_down.weight": ("BF16", (4, 8))}, "is a LoRA"),
        ({"decoder.middle.0.residual.0.gamma": ("F32", (8,))}, "is the Wan VAE, .* goes into Load VAE"),
        ({"decoder.conv_in.weight": ("F32", (8,))}, "is a VAE, "),
        ({"vision_model.embeddings.patch_embedding.weight": ("F16", (8,))}, "is a CLIP vision model"),
        ({"encoder.block.0.layer.0.SelfAttention.k.weight": ("F16", (8,))}, "is a T5 text encoder"),
        ({"condition_embedder.text_embedder.linear_1.weight": ("F16", (8,))}, "is a Wan model in diffusers' layout"),
        ({"double_blocks.0.img_attn.qkv.weight": ("F16", (8,))}, "is a Flux or Hunyuan model"),
        ({"a": ("F16", (8,)), "b": ("F16", (8,))}, r"is not Wan 2.2 Animate \(its 2 tensors are a, b"),
        ({}, "holds no tensors"),
    ],
)  # fmt: skip
def test_another_model_is_named(tmp_path, tensors, sentence):
    write_header(tmp_path / "other.safetensors", tensors)
    with pytest.raises(InputError, match=f"^other.safetensors {sentence}") as found:
        read(tmp_path / "other.safetensors")
    assert "\n" not in str(found.value) and str(found.value).endswith(".")


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "is empty"),
        (b"GGUF\x03\x00\x00\x00" + bytes(100), "is a GGUF file: load it with a GGUF loader"),
        (b"PK\x03\x04" + bytes(100), "is a PyTorch pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is only a git-lfs pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07 something else", "is no safetensors file"),
        ((40).to_bytes(8, "little") + b'{"a": {"dtype": "F32"}}' + bytes(60), "has a damaged safetensors header"),
        ((4000).to_bytes(8, "little") + b'{"a": {"dtype"', "is incomplete: 22 of 4,008 bytes"),
    ],
)
def test_what_is_no_safetensors_file_is_named(tmp_path, content, sentence):
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^file.safetensors {sentence}"):
        read(path)


def test_a_broken_download_is_found_without_reading_it(tmp_path):
    path = tmp_path / "half.safetensors"
    size = write_header(path, animate_header(**FULL))
    with open(path, "r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(InputError, match=f"is incomplete: {size // 2:,} of {size:,} bytes are there"):
        read(path)


def test_missing_and_changed_tensors(tmp_path):
    tensors = animate_header()
    count = len(tensors)
    del tensors["blocks.3.ffn.0.weight"], tensors["motion_encoder.enc.fc.1.bias"]
    write_header(tmp_path / "a.safetensors", tensors)
    with pytest.raises(InputError, match=rf"with {count - 2} of {count} tensors \(for instance blocks.3.ffn.0.weight"):
        read(tmp_path / "a.safetensors")
    tensors = animate_header()
    tensors["patch_embedding.weight"] = ("BF16", (256, 52, 1, 2, 2))
    write_header(tmp_path / "a.safetensors", tensors)
    with pytest.raises(
        InputError, match=r"another shape .*patch_embedding.weight is \[256, 52, 1, 2, 2\], not \[256, 36"
    ):
        read(tmp_path / "a.safetensors")
    tensors = {name: one for name, one in animate_header().items() if not name.endswith(".kernel")}
    write_header(tmp_path / "a.safetensors", tensors | {"ema.decay": ("F32", (1,))})
    file = read(tmp_path / "a.safetensors")
    assert len(file.blur_kernels) == 14 and unexpected_keys(file) == ["ema.decay"]


# -- scales


def test_metadata_of_the_host(tmp_path):
    layers = {f"model.diffusion_model.blocks.{block}.ffn.0": {"format": "nvfp4"} for block in range(5)}
    tensors = animate_header(prefix="model.diffusion_model.")
    for layer in layers:
        tensors[layer + ".weight"] = ("U8", (512, 128))
        tensors[layer + ".weight_scale"] = ("F8_E4M3", (512, 16))
        tensors[layer + ".weight_scale_2"] = ("F32", ())
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    write_header(tmp_path / "a.safetensors", tensors, metadata)
    file = read(tmp_path / "a.safetensors")
    assert file.quantization.form == "metadata" and file.quantization.formats == {"nvfp4": 5}
    assert set(file.quantization.layers) == {f"blocks.{block}.ffn.0" for block in range(5)}
    assert not unexpected_keys(file)
    write_header(tmp_path / "a.safetensors", tensors, {"_quantization_metadata": "{"})
    with pytest.raises(InputError, match="quantization metadata cannot be read"):
        read(tmp_path / "a.safetensors")


def test_scales_nobody_can_read_are_refused(tmp_path):
    tensors = animate_header(scaled=in_blocks)
    write_header(tmp_path / "a.safetensors", tensors | {"blocks.0.ffn.0.weight": ("I8", (512, 256))})
    with pytest.raises(InputError, match="scales blocks.0.ffn.0, but stores it as I8"):
        read(tmp_path / "a.safetensors")
    write_header(tmp_path / "a.safetensors", tensors | {"blocks.0.ffn.0.scale_weight": ("F32", (4, 2))})
    with pytest.raises(InputError, match=r"scales blocks.0.ffn.0 in blocks \(a scale of \[4, 2\]\)"):
        read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("names", [(".scale_weight", "scaled_fp8"), (".scale_weight", ""), (".weight_scale", "")])
@pytest.mark.parametrize("rows", [False, True])
def test_scaled_weights_keep_their_values(tmp_path, dtype, names, rows):
    """Each layer's dtype and scale are kept; others are dequantized."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        "blocks.0.ffn.0.weight": torch.randn(32, 16, generator=generator) * 3,
        "motion_encoder.enc.fc.0.weight": torch.randn(8, 8, generator=generator),
        "blocks.0.norm3.weight": torch.ones(16),
    }
    stored = scaled_weights(weights, dtype, lambda name: "norm" not in name, names, rows)
    save_file(stored, tmp_path / "a.safetensors")
    quantization = find_quantization(read_header(str(tmp_path / "a.safetensors")).tensors, {})
    assert len(quantization.layers) == 2 and quantization.form == "scales"
    found = convert_weights(load_file(tmp_path / "a.safetensors"), quantization, {"blocks.0.ffn.0.weight"})
    assert "scaled_fp8" not in found and torch.equal(found["blocks.0.norm3.weight"], weights["blocks.0.norm3.weight"])

    def value(name):
        weight = found[f"{name}.weight"].float()
        return weight * found[f"{name}.weight_scale"] if f"{name}.weight_scale" in found else weight

    for name, most in (("blocks.0.ffn.0", 0.08), ("motion_encoder.enc.fc.0", 0.08)):
        error = (value(name) - weights[f"{name}.weight"]).norm() / weights[f"{name}.weight"].norm()
        assert 0 < error < most
    assert found["motion_encoder.enc.fc.0.weight"].dtype == torch.bfloat16
    if rows:
        assert found["blocks.0.ffn.0.weight"].dtype == torch.bfloat16 and not stored_formats(found)
    else:
        assert found["blocks.0.ffn.0.weight"].dtype == dtype
        assert stored_formats(found) == {str(dtype).removeprefix("torch.")}


def test_products_in_full_precision_are_a_mark_of_each_layer():
    def config(marker: int, full_precision):
        tensors = scaled_weights({"blocks.0.ffn.0.weight": torch.ones(4, 4)}, torch.float8_e4m3fn)
        tensors["scaled_fp8"] = torch.zeros(marker, dtype=torch.float8_e4m3fn)
        tensors["blocks.0.ffn.0.scale_input"] = torch.ones(1)
        infos = {name: TensorInfo("F8_E4M3", tuple(one.shape)) for name, one in tensors.items()}
        found = convert_weights(tensors, find_quantization(infos, {}), {"blocks.0.ffn.0.weight"}, full_precision)
        assert "blocks.0.ffn.0.input_scale" not in found and not tensors
        return json.loads(bytes(found["blocks.0.ffn.0.comfy_quant"].tolist()))

    plain, full = {"format": "float8_e4m3fn"}, {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}
    assert [config(0, None), config(2, None), config(2, False), config(0, True)] == [plain, full, plain, full]
