"""One step with fused blocks and fp8 linear layers."""

import dataclasses
import gc
import itertools
import logging
import weakref

import pytest
import torch
import torch.nn.functional as F

from ...support.steps import STEPS, conditioning, relative, sample

FP8 = "fp8 (row-wise)"
LAYERS = 5 * 8 + 2  # q k v o, q o, up and down in each block; two in the face block
# Two e4m3 roundings of 1/16 at most, in opposite directions half the time: 3.7% of a product of random numbers.
OFF = 0.05


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.accelerate")


@pytest.fixture(scope="module")
def fused_ops(pack_module):
    return pack_module("wan_animate.kernels.fused")


@pytest.fixture(scope="module")
def fp8(pack_module):
    return pack_module("nodes.host.accelerate.fp8_linears")


def load(small_models, **options):
    import comfy.sd
    import comfy.utils

    weights = comfy.utils.load_torch_file(str(small_models.transformer))
    for name in [name for name in weights if name.startswith("blocks.0.")]:
        # The first block's are drawn so that sums cancel, which says nothing of a product's rounding.
        weights[name] = weights[name.replace("blocks.0.", "blocks.1.")].clone()
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options=options)


@pytest.fixture(scope="module")
def model(comfy, small_models):
    return load(small_models)


def step_of(kit, clone):
    import comfy.patcher_extension

    (wrapper,) = clone.get_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, kit.STEP)
    return wrapper.__self__


def own_attributes(model):
    return {name: set(vars(part)) for name, part in model.model.named_modules()}


def settings(kit, **switches):
    return dataclasses.replace(kit.Settings(face_motion=False, reuse="off"), **switches)


@pytest.mark.parametrize("more", [{}, {"reuse": "all"}, {"attention": "sdpa flash"}], ids=str)
def test_joined_blocks_make_the_same(kit, model, faceless, plain, more):
    before = own_attributes(model)
    theirs = sample(kit.accelerate(model, settings(kit, **more)), faceless) if more else plain
    clone = kit.accelerate(model, settings(kit, fused=True, **more))
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), theirs)
    assert len(step_of(kit, clone).fused_blocks._blocks) == 5 and own_attributes(model) == before


@pytest.mark.parametrize("clip_vision", [False, True])
def test_joined_blocks_are_taken_with_and_without_clip_tokens(
    kit, model, fused_ops, monkeypatch, clip_vision, pack_module
):
    """Without CLIP Vision too."""
    blocks, asked = pack_module("nodes.host.accelerate.blocks"), []

    def counted(*args, **kwargs):
        asked.append(args[0].shape)
        return fused_ops.norm_modulate_quantize(*args, **kwargs)

    monkeypatch.setattr(blocks, "norm_modulate_quantize", counted)
    given = conditioning(face=False, clip_vision=clip_vision)
    ours = sample(kit.accelerate(model, settings(kit, fused=True)), given)
    assert len(asked) >= 5 * 5 * STEPS, "five passes a block and step"
    assert torch.equal(ours, sample(model, given))


def test_joined_blocks_in_bf16_and_with_the_face(kit, comfy, small_models):
    model, faces = load(small_models, dtype=torch.bfloat16), conditioning()
    theirs = sample(model, faces)
    ours = sample(kit.accelerate(model, settings(kit, fused=True, face_motion=True)), faces)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("more", [{}, {"fused": True}, {"reuse": "all"}, {"attention": "sdpa flash"}], ids=str)
def test_linear_layers_in_fp8(kit, model, faceless, plain, caplog, more):
    before = own_attributes(model)
    clone = kit.accelerate(model, settings(kit, matmul=FP8, **more))
    with caplog.at_level(logging.INFO):
        ours = sample(clone, faceless)
        assert torch.equal(sample(clone, faceless), ours)
    assert 0.001 < relative(ours, plain) < OFF
    found = step_of(kit, clone).linears
    assert len(found.errors) == 8 and not found.skipped  # those of the block in the middle
    assert all(0.01 < error < OFF for error in found.errors.values())
    assert caplog.text.count(f"{LAYERS} linear layers in fp8; output of a layer 3.") == 1
    assert own_attributes(model) == before
    assert torch.equal(sample(kit.accelerate(model, settings(kit)), faceless), plain)


def test_joined_blocks_quantize_once_and_change_nothing(kit, model, faceless):
    alone = sample(kit.accelerate(model, settings(kit, matmul=FP8)), faceless)
    joined = sample(kit.accelerate(model, settings(kit, matmul=FP8, fused=True)), faceless)
    assert relative(joined, alone) < 0.002


def test_two_clones_take_turns(kit, model, faceless, plain):
    fused = kit.accelerate(model, settings(kit, fused=True))
    both = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
    first = sample(both, faceless)
    for _ in range(2):
        assert torch.equal(sample(fused, faceless), plain)
        assert torch.equal(sample(both, faceless), first)
    off = kit.without(both.clone())
    assert not any(off.wrappers[kind] for kind in off.wrappers) and torch.equal(sample(off, faceless), plain)
    assert torch.equal(sample(kit.accelerate(off, settings(kit, matmul=FP8, fused=True)), faceless), first)


def test_a_product_is_that_of_the_rounded_numbers(fused_ops, fp8, comfy):
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(3, 50, 64, generator=generator), torch.randn(48, 64, generator=generator)
    x[0, 7], weight[5], bias = 0, weight[5] * 1000, torch.randn(48, generator=generator)
    given, (values, scales) = fused_ops.quantize(x), fp8.as_rows(weight)
    assert given.values.dtype == values.dtype == torch.float8_e4m3fn
    assert given.scales.shape == (150, 1) and scales.shape == (48, 1)
    assert relative(given.dequantize(), x) < 0.03 and relative(values.float() * scales, weight) < 0.03
    out = fp8.multiply(given, values, scales, bias)
    assert out.shape == (3, 50, 48)
    assert relative(out, F.linear(given.dequantize(), values.float() * scales, bias)) < 1e-5


def test_rows_in_pieces_are_the_same(fused_ops, monkeypatch, comfy):
    x = torch.randn(70, 33, generator=torch.Generator().manual_seed(2))
    whole = fused_ops.quantize(x)
    monkeypatch.setattr(fused_ops, "_CHUNK", 33 * 9)
    pieces = fused_ops.quantize(x)
    assert torch.equal(whole.values.view(torch.uint8), pieces.values.view(torch.uint8))
    assert torch.equal(whole.scales, pieces.scales)


@pytest.fixture(scope="module")
def lora():
    generator, tensors = torch.Generator().manual_seed(4), {}
    for name, out, into in (("blocks.1.self_attn.o", 256, 256), ("blocks.2.ffn.0", 512, 256)):
        tensors[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(4, into, generator=generator) / 6
        tensors[f"diffusion_model.{name}.lora_B.weight"] = torch.randn(out, 4, generator=generator)
    return tensors


@pytest.mark.parametrize("form", ["merged", "the host's bypass", "ours beside"])
def test_a_lora_counts_in_every_form(kit, pack_module, comfy, small_models, faceless, lora, form):
    import comfy.lora
    import comfy.sd

    model = load(small_models)
    without = sample(model, faceless)
    before = own_attributes(model)
    if form == "merged":
        changed = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0]
    elif form == "ours beside":
        changed = model.clone()
        patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}))
        beside = pack_module("nodes.host.lora.branch")
        assert not beside.add_branches(changed, patches, 1.0, 0.0, 1.0, "a LoRA")
    else:
        changed = comfy.sd.load_bypass_lora_for_models(model, None, lora, 1.0, 0)[0]
    theirs = sample(changed, faceless)
    assert relative(theirs, without) > 10 * OFF
    for fused in (False, True):
        clone = kit.accelerate(changed, settings(kit, matmul=FP8, fused=fused))
        ours = sample(clone, faceless)
        assert relative(ours, theirs) < 2 * OFF
        found = step_of(kit, clone).linears
        assert len(found.errors) == 8 and max(found.errors.values()) < OFF
        assert torch.equal(sample(clone, faceless), ours)
    joined = sample(kit.accelerate(changed, settings(kit, fused=True)), faceless)
    assert torch.equal(joined, theirs)
    bare = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
    assert relative(sample(bare, faceless), without) < OFF, "and without it again"
    if form == "ours beside":
        assert own_attributes(model) == before


def test_weights_in_fp8_are_multiplied_as_they_are(kit, fp8, comfy, small_models, faceless):
    import comfy.ops
    import comfy.quant_ops

    model = load(small_models, dtype=torch.float8_e4m3fn)
    layer = model.model.diffusion_model.blocks[0].self_attn.q
    assert layer.weight.dtype == torch.float8_e4m3fn
    values, scales = fp8.as_rows(layer.weight)
    assert values.data_ptr() == layer.weight.data_ptr() and bool((scales == 1).all())
    theirs = sample(model, faceless)
    clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
    assert 0 < relative(sample(clone, faceless), theirs) < OFF
    assert not step_of(kit, clone).linears.skipped

    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(3))
    scaled = comfy.quant_ops.QuantizedTensor.from_float(weight, "TensorCoreFP8E4M3Layout", scale="recalculate")
    values, scales = fp8.as_rows(scaled)
    assert values.data_ptr() == scaled._qdata.data_ptr() and scales.shape == (32, 1)
    assert torch.allclose(values.float() * scales, scaled.dequantize(), rtol=1e-6)
    wide = weight.to(torch.float8_e5m2)
    assert relative(torch.mul(*(part.float() for part in fp8.as_rows(wide))), wide.float()) < 0.03


@pytest.mark.parametrize("form", ["e4m3", "e5m2", "e4m3 with a LoRA"])
def test_a_file_with_scaled_weights(kit, pack_module, fp8, comfy, small_models, faceless, lora, tmp_path, form):
    import comfy.sd
    import comfy.utils
    from safetensors.torch import save_file

    from ...support.weight_files import scaled_weights

    weights = comfy.utils.load_torch_file(str(small_models.transformer))
    for name in [name for name in weights if name.startswith("blocks.0.")]:
        weights[name] = weights[name.replace("blocks.0.", "blocks.1.")].clone()
    dtype = torch.float8_e5m2 if "e5m2" in form else torch.float8_e4m3fn
    save_file(scaled_weights(weights, dtype), tmp_path / "scaled.safetensors")
    loading = pack_module("nodes.host.model")
    model = loading.load_animate(str(tmp_path / "scaled.safetensors"), matmul="full precision")[0]
    weight = model.model.diffusion_model.blocks[2].ffn[0].weight
    values, scales = fp8.as_rows(weight.data)
    assert (values.data_ptr() == weight.data._qdata.data_ptr()) == (dtype == torch.float8_e4m3fn)
    assert relative(values.float() * scales, weight.data.dequantize().float()) < 0.03
    if "LoRA" in form:
        model = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0)[0]
    theirs = sample(model, faceless)
    for fused in (False, True):
        clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=fused))
        assert 0 < relative(sample(clone, faceless), theirs) < 2 * OFF
        assert not step_of(kit, clone).linears.skipped
        assert max(step_of(kit, clone).linears.errors.values()) < OFF


def in_fp8() -> set[int]:
    """Addresses of living fp8 tensors (by type: proxies of dead objects raise)."""
    gc.collect()
    alive = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    return {id(one) for one in alive if one.dtype == torch.float8_e4m3fn}


@pytest.mark.parametrize("at", [4, 5 + 2], ids=["the first step", "the second step"])
def test_cancel_in_the_middle_of_a_step_leaves_nothing(kit, model, faceless, plain, at):
    before, held = own_attributes(model), in_fp8()
    clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
    step, calls = weakref.ref(step_of(kit, clone)), itertools.count()

    class Cancelled(BaseException):
        pass

    def cancel(args):
        if next(calls) == at:
            raise Cancelled
        return args

    clone.set_model_patch(cancel, "double_block")
    with pytest.raises(Cancelled):
        sample(clone, faceless)
    assert own_attributes(model) == before
    assert in_fp8() <= held, "no weights in fp8 are kept"
    assert not any(one.error for one in step().linears._layers.values())
    del clone
    gc.collect()
    assert step() is None
    assert torch.equal(sample(model, faceless), plain)


def test_what_stands_in_front_of_a_part_is_called(kit, model, faceless, plain):
    """A part's forward replaced through the MODEL's patches, as by other packs."""
    seen = []

    def wrapped(path):
        part = model.get_model_object(path)

        def forward(x, *args, **kwargs):
            assert torch.is_tensor(x)
            seen.append(path)
            return type(part).forward(part, x, *args, **kwargs)

        return forward

    patched = model.clone()
    paths = [f"diffusion_model.blocks.1.{part}" for part in ("self_attn", "cross_attn", "ffn")]
    for path in paths:
        patched.add_object_patch(f"{path}.forward", wrapped(path))
    assert torch.equal(sample(kit.accelerate(patched, settings(kit, fused=True)), faceless), plain)
    assert seen == 2 * paths
    ours = sample(kit.accelerate(patched, settings(kit, fused=True, matmul=FP8)), faceless)
    assert relative(ours, plain) < OFF and seen == 4 * paths


def test_patches_inside_a_block_are_called(kit, model, faceless):
    def attention(args):
        assert args["q"].shape == args["k"].shape == (1, 3 * 3 * 4, 2, 128)
        return args["x"] * 1.5

    def text(args):
        return args["x"] * 0.5

    patched = model.clone()
    patched.set_model_attn1_patch(attention)
    patched.set_model_attn2_patch(text)
    theirs = sample(patched, faceless)
    assert torch.equal(sample(kit.accelerate(patched, settings(kit, fused=True)), faceless), theirs)
    both = kit.accelerate(patched, settings(kit, fused=True, matmul=FP8))
    assert relative(sample(both, faceless), theirs) < OFF


def test_a_layer_that_cannot_stays_as_loaded(kit, fp8, model, faceless, plain, caplog, monkeypatch):
    class Foreign(type(model.model.diffusion_model.blocks[0].self_attn.q)):
        pass

    layer = model.model.diffusion_model.blocks[3].ffn[0]
    kind = type(layer)
    Foreign.__module__ = "another_pack.ops"
    try:
        layer.__class__ = Foreign
        with caplog.at_level(logging.INFO):
            clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
            ours = sample(clone, faceless)
    finally:
        layer.__class__ = kind
    assert relative(ours, plain) < OFF
    assert list(step_of(kit, clone).linears.skipped) == ["blocks.3.ffn.0"]
    assert "1 layers are multiplied as loaded, for instance blocks.3.ffn.0: a layer of another_pack.ops" in caplog.text

    def refused(*args, **kwargs):
        raise RuntimeError("no kernel for this shape")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "_scaled_mm", refused)
        clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
        assert relative(sample(clone, faceless), plain) < OFF
        assert len(step_of(kit, clone).linears.skipped) == LAYERS - 2, "without a face its block is not run"
        fp8.refusal.cache_clear()
        caplog.clear()
        with caplog.at_level(logging.INFO):
            clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True))
            assert torch.equal(sample(clone, faceless), plain)
        assert caplog.text.count("linear layers stay as loaded: torch") == 1
    fp8.refusal.cache_clear()


def test_compiled_blocks_or_linear_layers_in_fp8(kit, model, faceless, caplog):
    import comfy.patcher_extension

    torch._dynamo.reset()
    alone = sample(kit.accelerate(model, settings(kit, matmul=FP8, fused=True)), faceless)
    with caplog.at_level(logging.INFO):
        clone = kit.accelerate(model, settings(kit, matmul=FP8, fused=True, compile_blocks=True, backend="eager"))
    assert "with matrix multiplications in fp8, blocks are not compiled" in caplog.text
    assert not clone.get_wrappers(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "torch.compile")
    assert torch.equal(sample(clone, faceless), alone)
    joined = settings(kit, attention="sdpa flash", fused=True)
    theirs = sample(kit.accelerate(model, joined), faceless)
    compiled = kit.accelerate(model, dataclasses.replace(joined, compile_blocks=True, backend="eager"))
    assert torch.equal(sample(compiled, faceless), theirs)
    (wrapper,) = compiled.get_wrappers(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "torch.compile")
    assert wrapper.__self__.failed is None and wrapper.__self__.breaks == 0 and 0 < wrapper.__self__.graphs < 5


def test_another_choice_is_refused(kit, model):
    with pytest.raises(Exception, match=r"linear layers \(products\) is 'int2', but it must be one of: as loaded, fp8"):
        kit.accelerate(model, settings(kit, matmul="int2"))
