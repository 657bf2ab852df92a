"""Load Animate Model against the host's own loader."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.server import PromptRejected
from wan_animate.weights.transformer import is_linear

from ..support.sampling import sample
from ..support.weight_files import animate_header, in_blocks, scaled_weights, write_header

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


@pytest.fixture(scope="module")
def weights(small_models):
    """The small transformer, clamped to fp8 e4m3's range."""
    return {name: one.clamp(-400, 400) for name, one in load_file(small_models.transformer).items()}


@pytest.fixture(scope="module")
def folder(comfy):
    from pathlib import Path

    import folder_paths

    return next(Path(one) for one in folder_paths.get_folder_paths("diffusion_models") if Path(one).is_dir())


@pytest.fixture(scope="module")
def load(pack_nodes):
    return pack_nodes["WanAnimateKitLoadModel"]


def theirs(name: str, weight_dtype: str = "default"):
    import nodes

    return nodes.UNETLoader().load_unet(name, weight_dtype)[0]


def values(model) -> dict[str, torch.Tensor]:
    """Every weight as layers use it, dequantized."""
    from comfy.quant_ops import QuantizedTensor

    found = model.model.diffusion_model.named_parameters()
    return {key: (one.dequantize() if isinstance(one.data, QuantizedTensor) else one).float() for key, one in found}


def test_the_list_shows_a_sharded_model_once(load, folder):
    names = [f"upstream/diffusion_pytorch_model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    tensors = list(animate_header().items())
    for name, part in zip(names, (tensors[:300], tensors[300:])):
        write_header(folder / name, dict(part))
    options = next(one for one in load.define_schema().inputs if one.id == "model").options
    assert names[0] in options and names[1] not in options
    assert load.validate_inputs(names[1]) is True


PLAIN = {"fp16": torch.float16, "e4m3": E4M3, "e5m2": E5M2, "fp32": torch.float32}


@pytest.mark.parametrize("kind", ["bf16", *PLAIN, "prefixed", "shards", "scaled e4m3", "scaled v2", "metadata"])
def test_the_same_bits_as_the_hosts_loader(load, folder, weights, kind):
    """Every layout that the host reads rightly."""
    name, host_name = f"{kind}.safetensors", f"{kind}.safetensors"
    metadata = None
    if kind in PLAIN:
        stored = {key: one.to(PLAIN[kind]) if one.ndim == 2 else one for key, one in weights.items()}
    elif kind == "prefixed":
        stored = {f"model.diffusion_model.{key}": one for key, one in weights.items()}
    elif kind.startswith("scaled"):
        stored = scaled_weights(weights, E4M3, is_linear if kind.endswith("v2") else in_blocks)
    elif kind == "metadata":
        stored = scaled_weights(weights, E4M3, in_blocks, (".weight_scale", ""))
        layers = {key.removesuffix(".weight"): {"format": "float8_e4m3fn"} for key in weights if in_blocks(key)}
        metadata = {"_quantization_metadata": json.dumps({"layers": layers})}
    else:
        stored = weights
    save_file(stored, folder / name, metadata)
    if kind == "shards":
        items = list(stored.items())
        for part, some in ((1, items[:500]), (2, items[500:])):
            save_file(dict(some), folder / f"model-0000{part}-of-00002.safetensors")
        name = "model-00001-of-00002.safetensors"
    ours = load.execute(name).result[0]
    host = theirs(host_name)
    mine, other = values(ours), values(host)
    assert mine.keys() == other.keys() and ours.model_dtype() == host.model_dtype()
    assert not [key for key in mine if not torch.equal(mine[key], other[key])]
    raw, other = (model.model.diffusion_model.state_dict() for model in (ours, host))
    assert {key: one.dtype for key, one in raw.items()} == {key: one.dtype for key, one in other.items()}
    assert (sample(ours) == sample(host)).all()


@pytest.mark.parametrize("kind", ["scaled e5m2", "no marker", "marker of a later host", "rows", "motion encoder"])
def test_what_the_host_misreads_is_read_rightly(load, folder, weights, kind):
    """Scaled e5m2, scales without metadata, scales of rows and of the motion encoder: weights near the bf16 file's."""
    dtype = E5M2 if kind == "scaled e5m2" else E4M3
    names = {"no marker": (".scale_weight", ""), "marker of a later host": (".weight_scale", "")}
    which = in_blocks if kind != "motion encoder" else lambda key: key.endswith("weight") and weights[key].ndim > 1
    given = names.get(kind, (".scale_weight", "scaled_fp8"))
    save_file(scaled_weights(weights, dtype, which, given, kind == "rows"), folder / "misread.safetensors")
    model, report = load.execute("misread.safetensors").result
    assert "scaled layers" in report
    for key, weight in values(model).items():
        error = (weight - weights[key].float()).norm() / weights[key].float().norm().clamp(min=1e-9)
        assert error < (0.08 if dtype == E5M2 else 0.04), key
    latent = sample(model)
    assert latent.isfinite().all() and latent.std() > 0.1


def test_scaled_e5m2_is_still_misread_by_the_host(folder, weights):
    """When this fails, the conversion is no longer needed."""
    save_file(scaled_weights(weights, E5M2), folder / "e5m2.safetensors")
    assert not values(theirs("e5m2.safetensors"))["blocks.1.self_attn.q.weight"].isfinite().all()


@pytest.mark.parametrize(
    "precision, dtype", [("bf16", "bfloat16"), ("fp16", "float16"), ("fp8_e4m3fn", "float8_e4m3fn")]
)
def test_precision(load, folder, weights, precision, dtype):
    save_file(weights, folder / "bf16.safetensors")
    model = load.execute("bf16.safetensors", precision).result[0]
    assert str(model.model.diffusion_model.blocks[0].ffn[0].weight.dtype) == f"torch.{dtype}"
    if precision.startswith("fp8"):
        save_file(scaled_weights(weights, E4M3), folder / "scaled.safetensors")
        model = load.execute("scaled.safetensors", precision).result[0]
        assert model.model_dtype() == load.execute("scaled.safetensors").result[0].model_dtype()
        host = values(theirs("bf16.safetensors", precision))
        ours = values(load.execute("bf16.safetensors", precision).result[0])
        assert all(torch.equal(ours[key], host[key]) for key in host)


def test_products_in_full_precision(load, folder, weights):
    save_file(scaled_weights(weights, E4M3), folder / "scaled.safetensors")

    def config(matmul):
        layer = load.execute("scaled.safetensors", "auto", matmul).result[0].model.diffusion_model.blocks[0].ffn[0]
        return layer._full_precision_mm_config

    assert [config("auto"), config("full precision"), config("fp8")] == [False, True, False]


def test_the_host_can_load_it_again(load, folder, weights):
    """For another device, or without dynamic memory."""
    save_file(scaled_weights(weights, E4M3), folder / "scaled.safetensors")
    model = load.execute("scaled.safetensors").result[0]
    make, args = model.cached_patcher_init
    again = make(*args, disable_dynamic=True)
    first, second = values(model), values(again)
    assert again.model is not model.model and all(torch.equal(first[key], second[key]) for key in first)


def test_a_format_that_the_host_does_not_know(load, folder, weights):
    from wan_animate_kit_pack.wan_animate.errors import InputError

    layers = {"blocks.0.ffn.0": {"format": "int3_new"}}
    save_file(weights, folder / "new.safetensors", {"_quantization_metadata": json.dumps({"layers": layers})})
    with pytest.raises(InputError, match="new.safetensors is quantized as int3_new, which this ComfyUI does not know"):
        load.execute("new.safetensors")


def test_names(load, folder):
    assert "load it with a GGUF loader" in load.validate_inputs("Wan2.2-Animate-14B-Q4_K_M.gguf")
    assert "is not a safetensors file in models/diffusion_models" in load.validate_inputs("none.safetensors")
    for name in ("../vae/wan_2.1_vae-small.safetensors", "/etc/passwd", "model.pth"):
        assert "is not a safetensors file" in load.validate_inputs(name)


def write_gguf(path, architecture: str, names: list[str]) -> None:
    """A GGUF file as its writers make them: a few entries of each kind, and weights of zeros."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    entries = {
        "general.architecture": (8, text(architecture)),
        "general.quantization_version": (4, struct.pack("<I", 2)),
        "general.file_type": (4, struct.pack("<I", 15)),
        "general.tags": (9, struct.pack("<IQ", 8, 2) + text("video") + text("wan")),
        "some.numbers": (9, struct.pack("<IQ3i", 5, 3, 1, 2, 3)),
        "some.float": (6, struct.pack("<f", 0.5)),
    }
    data = b"GGUF" + struct.pack("<IQQ", 3, len(names), len(entries))
    data += b"".join(text(key) + struct.pack("<I", kind) + value for key, (kind, value) in entries.items())
    for at, name in enumerate(names):
        data += text(name) + struct.pack("<I2QIQ", 2, 32, 8, 2, at * 144)
    data += b"\0" * (-len(data) % 32) + b"\0" * 144 * len(names)
    path.write_bytes(data)


def test_a_gguf_file_is_listed_and_its_own_loader_named(load, folder, monkeypatch):
    """Users have such files: ComfyUI-GGUF's node loads them, ours say so instead of leaving them out."""
    import nodes

    animate = list(animate_header())
    write_gguf(folder / "Animate-Q4_K_M.gguf", "wan", animate)
    write_gguf(folder / "umt5-Q8_0.gguf", "t5encoder", ["enc.blk.0.attn_q.weight"])
    (folder / "cut.gguf").write_bytes((folder / "Animate-Q4_K_M.gguf").read_bytes()[:3000])
    (folder / "page.gguf").write_bytes(b"<html>")
    model = next(one for one in load.define_schema().inputs if one.id == "model")
    assert "Animate-Q4_K_M.gguf" in model.options and not str(model.default).endswith(".gguf")
    said = load.validate_inputs("Animate-Q4_K_M.gguf")
    assert "is Wan 2.2 Animate as a GGUF file" in said and "install ComfyUI-GGUF (ComfyUI-Manager), load it" in said
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "UnetLoaderGGUF", object)
    said = load.validate_inputs("Animate-Q4_K_M.gguf")
    assert ": load it with Unet Loader (GGUF) and connect its MODEL" in said and "install" not in said
    assert "a GGUF file of 't5encoder' without the pose and face parts" in load.validate_inputs("umt5-Q8_0.gguf")
    assert "cut.gguf has a damaged or unknown GGUF header" in load.validate_inputs("cut.gguf")
    assert "page.gguf is no GGUF file" in load.validate_inputs("page.gguf")


def test_wrong_files_on_the_server(host_server, small_models):
    folder = host_server.base_dir / "models" / "diffusion_models"
    (folder / "vae.safetensors").write_bytes(small_models.vae.read_bytes())
    (folder / "cut.safetensors").write_bytes(small_models.transformer.read_bytes()[:-1000])

    def run(name):
        load = {
            "class_type": "WanAnimateKitLoadModel",
            "inputs": {"model": name, "precision": "auto", "products": "auto"},
        }
        show = {"class_type": "PreviewAny", "inputs": {"source": ["1", 1]}}
        return host_server.run({"1": load, "2": show})

    with pytest.raises(PromptRejected, match="vae.safetensors is .* VAE, not Wan 2.2 Animate: it goes into Load VAE"):
        run("vae.safetensors")
    with pytest.raises(PromptRejected, match="cut.safetensors is incomplete"):
        run("cut.safetensors")
    with pytest.raises(PromptRejected, match="is not a safetensors file in models/diffusion_models"):
        run("../vae/" + small_models.vae.name)
    assert "Wan 2.2 Animate width 256, 5 blocks, bf16" in json.dumps(run(small_models.transformer.name))
