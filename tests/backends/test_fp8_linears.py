"""Large linear layers of diffusers' transformer in fp8: small, near, and beside LoRAs, offload and fused blocks."""

import gc
import logging

import pytest
import torch

pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
from wan_animate.backends import fused_blocks  # noqa: E402
from wan_animate.backends.diffusers import load  # noqa: E402
from wan_animate.backends.fp8_linears import BLOCK, FACE, Fp8Linear, quantize_linears, takes_quantized  # noqa: E402
from wan_animate.backends.fused_blocks import fuse, unfuse  # noqa: E402
from wan_animate.backends.lora import add_lora  # noqa: E402
from wan_animate.backends.placement import weight_bytes  # noqa: E402
from wan_animate.kernels import fused  # noqa: E402

from ..support.embedded import lora_file, sample, segment  # noqa: E402

STEPS = 2
# Relative L2, of a latent after two steps: 0.088 was seen with the small weights, which are random.
OFF = 0.12
# And of a layer's output: 0.041 was seen at most.
LAYER_OFF = 0.05


@pytest.fixture
def exact(small_models):
    return load(small_models.diffusers, dtype=torch.float32)


@pytest.fixture
def parts(small_models):
    return load(small_models.diffusers, dtype=torch.float32, linears="fp8")


@pytest.fixture
def forced(monkeypatch):
    """The fused way on this device, by PyTorch's operations; of each pass, whether it quantizes and has GELU."""
    calls, rows = [], fused.norm_modulate_quantize
    monkeypatch.setattr(fused, "works_on", lambda x: True)

    def counted(*given, quantize=False, gelu=False, float32=False, **more):
        if float32 or gelu:  # of a block, not of a layer by itself
            calls.append((quantize, gelu))
        return rows(*given, quantize=quantize, gelu=gelu, float32=float32, **more)

    monkeypatch.setattr(fused, "norm_modulate_quantize", counted)
    return calls


def off(found, expected):
    return float((found - expected).detach().norm() / expected.detach().norm())


def layers_of(transformer):
    return {name: layer for name, layer in transformer.named_modules() if isinstance(layer, Fp8Linear)}


def test_large_layers_have_half_the_weights_and_nearly_the_same_outputs(small_models, exact, caplog):
    transformer, blocks = exact[0], len(exact[0].blocks)
    plain, before = sample(exact, STEPS), weight_bytes(transformer.blocks)
    weights = {name: layer.weight for name, layer in transformer.named_modules() if isinstance(layer, torch.nn.Linear)}
    kept = {name: one for name, one in transformer.state_dict().items()}
    with caplog.at_level(logging.INFO):
        found = quantize_linears(transformer, "cpu")
        near = sample(exact, STEPS)
    layers = layers_of(transformer)
    assert list(layers) == sorted(found.quantized, key=list(layers).index) and not found.skipped
    assert len(layers) == blocks * len(BLOCK) + len(transformer.face_adapter) * len(FACE)
    assert 0.01 < off(near, plain) < OFF
    assert caplog.text.count(f"{len(layers)} linear layers in fp8; output of a layer 3.") == 1
    assert 0.01 < min(found.errors.values()) and max(found.errors.values()) < LAYER_OFF
    assert set(found.errors) == {f"blocks.2.{name}" for name in BLOCK if "add_" not in name}, "no picture is given"
    for name, layer in layers.items():
        assert layer.weight.dtype == torch.float8_e4m3fn and layer.scales.shape == (layer.out_features, 1)
        assert off(layer.weight.float() * layer.scales, weights[name]) < 0.03
        assert layer.sample is None and takes_quantized(layer)
    for name, one in transformer.state_dict().items():
        if name.removesuffix(".weight") not in layers and not name.endswith(".scales"):
            assert torch.equal(one, kept[name])
    assert weight_bytes(transformer.blocks) < 0.27 * before, "float32 before"
    assert transformer.dtype == torch.float32
    assert not quantize_linears(transformer, "cpu").quantized and torch.equal(sample(exact, STEPS), near), (
        "twice is once"
    )


def test_loaded_weights_are_freed(exact):
    gone = set(map(id, (exact[0].get_submodule(f"blocks.{at}.{name}").weight for at in (0, 2) for name in BLOCK)))
    quantize_linears(exact[0], "cpu")
    gc.collect()
    living = [one for one in gc.get_objects() if isinstance(one, torch.nn.Parameter) and id(one) in gone]
    assert not [one for one in living if one.dtype == torch.float32 and one.ndim == 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_blocks_hand_quantized_rows_over(small_models, forced, dtype):
    """The same numbers as diffusers' own blocks with these layers, of which each quantizes its input."""
    parts = load(small_models.diffusers, dtype=dtype, linears="fp8")
    found = sample(parts, STEPS)
    shared, blocks = parts[0].blocks[0].attn1.processor.shared, len(parts[0].blocks)
    assert shared.agrees
    # a block: three passes for quantized input, GELU with quantization, the sum at the end; once more for the check
    assert forced.count((True, False)) == 3 * (STEPS * blocks + 1) - 3, "not of the measured block in the first step"
    assert forced.count((True, True)) == STEPS * blocks + 1 - 1 and forced.count((False, False)) == STEPS * blocks + 4
    unfuse(parts[0])
    assert off(found, sample(parts, STEPS)) < (1e-5 if dtype == torch.float32 else 0.05)


def test_what_does_not_agree_is_found_in_fp8_too(parts, forced, monkeypatch, caplog):
    unfuse(parts[0])
    plain = sample(parts, STEPS)
    fuse(parts[0])
    rows = fused.norm_modulate_quantize

    def broken(*given, gelu=False, **more):
        out, kept = rows(*given, gelu=gelu, **more)
        return (fused.Quantized(out.values, out.scales * 2, out.dtype) if gelu else out), kept

    monkeypatch.setattr(fused, "norm_modulate_quantize", broken)
    assert torch.equal(sample(parts, STEPS), plain) and "Fused blocks do not work here (" in caplog.text
    assert fused_blocks._allowed(parts[0].blocks[0]) > fused_blocks.ERROR


def test_a_lora_before_and_after(small_models, exact, forced, tmp_path):
    path = lora_file(exact[0], tmp_path)
    parts = load(small_models.diffusers, dtype=torch.float32, linears="fp8")
    without = sample(parts, STEPS)
    add_lora(parts[0], path)
    after = sample(parts, STEPS)
    add_lora(exact[0], path)
    unrounded = sample(exact, STEPS)
    assert off(after, unrounded) < OFF < 0.5 * off(without, unrounded)
    quantize_linears(exact[0], "cpu")
    assert torch.equal(sample(exact, STEPS), after)
    assert not takes_quantized(parts[0].blocks[1].attn1.to_q) and takes_quantized(parts[0].blocks[1].attn2.to_q)


@torch.no_grad()
def test_a_lora_is_added_in_the_dtype_of_the_inputs(small_models, tmp_path):
    parts = load(small_models.diffusers, dtype=torch.bfloat16, linears="fp8")
    layer, x = parts[0].blocks[1].attn1.to_q, torch.randn(5, 256, dtype=torch.bfloat16)
    plain = layer(x)
    add_lora(parts[0], lora_file(parts[0], tmp_path))
    assert layer(x).dtype == torch.bfloat16 and (layer(x) - plain).abs().max() > 0.01


def test_blocks_in_host_memory(small_models, parts, forced, tmp_path):
    offloaded = load(small_models.diffusers, dtype=torch.float32, offload="on", linears="fp8")
    for given in (parts, offloaded):
        add_lora(given[0], lora_file(given[0], tmp_path))
    found = sample(parts, STEPS, cfg=2.0)
    assert torch.equal(sample(offloaded, STEPS, cfg=2.0), found) and (True, True) in forced


def test_a_picture_and_no_face(parts, exact):
    given = segment(parts[0])
    object.__setattr__(given, "face", None)
    assert 0.001 < off(sample(parts, STEPS, given), sample(exact, STEPS, given)) < OFF
    image = torch.randn(1, 257, parts[0].config.image_dim)
    from wan_animate.backends.diffusers import DiffusersDenoiser, flow_scheduler

    def shown(transformer):
        prompt = torch.randn(1, 512, transformer.config.text_dim, generator=torch.Generator().manual_seed(1))
        denoiser = DiffusersDenoiser(transformer, flow_scheduler("unipc", 5.0), prompt, image=image, steps=1)
        noise = torch.randn(given.concat_latent.shape, generator=torch.Generator().manual_seed(2))
        return denoiser.denoise(given, noise, lambda *_: None)

    assert 0.001 < off(shown(parts[0]), shown(exact[0])) < OFF


def test_layers_that_do_not_fit_stay_as_loaded(caplog):
    from diffusers.models.transformers.transformer_wan_animate import WanTransformerBlock

    class Another(torch.nn.Linear):
        pass

    block = WanTransformerBlock(64, 72, 4, cross_attn_norm=True).eval()
    block.attn2.to_v = Another(64, 64)
    model = torch.nn.Module()
    model.blocks, model.face_adapter = torch.nn.ModuleList([block]), torch.nn.ModuleList()
    with caplog.at_level(logging.INFO):
        found = quantize_linears(model, "cpu")
    assert found.skipped == {
        "blocks.0.attn2.to_v": "a Another multiplies in its own way",
        "blocks.0.attn2.add_k_proj": "there is none", "blocks.0.attn2.add_v_proj": "there is none",
        "blocks.0.ffn.net.0.proj": "its size is no multiple of 16",
        "blocks.0.ffn.net.2": "its size is no multiple of 16",
    }  # fmt: skip
    assert len(found.quantized) == 12 - 5 == len(layers_of(model)) and type(block.ffn.net[2]) is torch.nn.Linear
    assert "5 linear layers stay as loaded, for instance blocks.0.attn2.to_v: a Another" in caplog.text


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_says_how_far_the_layers_are_off(small_models, caplog, first):
    parts = load(small_models.diffusers, dtype=torch.float32)
    found = quantize_linears(parts[0], "cpu", measured=first)
    with caplog.at_level(logging.INFO):
        sample(parts, STEPS)
    assert ("linear layers in fp8; output of a layer" in caplog.text) == bool(found.errors) == first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card: run it on one")
def test_on_the_card(small_models):
    exact = load(small_models.diffusers, dtype=torch.bfloat16, device="cuda")
    given = segment(exact[0], size=128, length=13)
    plain = sample(exact, STEPS, given)
    parts = load(small_models.diffusers, dtype=torch.bfloat16, device="cuda", linears="fp8")
    assert 0.01 < off(sample(parts, STEPS, given), plain) < OFF
    assert parts[0].blocks[0].attn1.processor.shared.agrees is not False
