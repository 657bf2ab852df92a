"""LoRAs on the host against merging by hand."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_animate.weights.transformer import relighting_layers

from ...support.lora_files import BLOCKS, merged, pairs, spelled
from ...support.sampling import sample
from ...support.weight_files import in_blocks, scaled_weights

LAYERS = [*relighting_layers(BLOCKS), "text_embedding.0", "head.head"]


@pytest.fixture(scope="module")
def weights(small_models):
    """The small transformer, clamped to fp8 e4m3's range."""
    return {name: one.clamp(-400, 400) for name, one in load_file(small_models.transformer).items()}


@pytest.fixture(scope="module")
def folders(comfy):
    from pathlib import Path

    import folder_paths

    loras = Path(folder_paths.get_folder_paths("loras")[0])
    loras.mkdir(parents=True, exist_ok=True)
    models = next(one for one in folder_paths.get_folder_paths("diffusion_models") if Path(one).is_dir())
    return Path(models), loras


@pytest.fixture(scope="module")
def load(pack_nodes, folders):
    """A MODEL from weights, by our loader."""

    def loaded(tensors, name="lora_base.safetensors"):
        save_file({key: one.contiguous() for key, one in tensors.items()}, folders[0] / name)
        return pack_nodes["WanAnimateKitLoadModel"].execute(name).result[0]

    return loaded


@pytest.fixture(scope="module")
def model(load, weights):
    return load(weights)


@pytest.fixture(scope="module")
def plain(model):
    return sample(model, 2)


@pytest.fixture(scope="module")
def apply(pack_nodes, folders):
    """(MODEL, report) of our node for the tensors of a LoRA."""

    def applied(model, tensors, name="lora.safetensors", node="WanAnimateKitApplyLora", **inputs):
        if name.endswith(".ckpt"):
            torch.save({"state_dict": tensors}, folders[1] / name)
        else:
            save_file(tensors, folders[1] / name)
        return pack_nodes[node].execute(model, name, **inputs).result

    return applied


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def touched(model) -> list[str]:
    """Modules with anything put on them."""
    return [name for name, module in model.model.named_modules() if "forward" in module.__dict__]


@pytest.mark.parametrize("mode", ["merge", "beside"])
@pytest.mark.parametrize("spelling, alpha, strength", [("peft", None, 1.0), ("kohya", 2.0, 0.7)])
def test_the_same_as_merging_by_hand(load, apply, model, weights, plain, mode, spelling, alpha, strength):
    layers = pairs(LAYERS)
    hand = sample(load(merged(weights, layers, strength, alpha), "by_hand.safetensors"), 2)
    ours, report = apply(model, spelled(layers, spelling, alpha), strength=strength, apply=mode)
    found = sample(ours, 2)
    assert error(plain, hand) > 0.01, "the LoRA should be seen"
    assert error(found, hand) < 2e-5, f"{error(found, hand):.2e}"
    how = {"merge": "merged into the weights", "beside": "beside the weights"}[mode]
    assert report == f"lora.safetensors: 62 of 62 layers, rank 4, strength {strength:g}, {how}."
    assert torch.equal(sample(model, 2), plain), "the model that came in stays as it was"
    assert not touched(ours)


def test_upstreams_pickle(apply, model, plain):
    ours, report = apply(model, spelled(pairs(), "peft wrapped"), "relighting_lora.ckpt", "WanAnimateKitRelightLora")
    other, _ = apply(model, spelled(pairs(), "ComfyUI"), "relight.safetensors", "WanAnimateKitRelightLora")
    assert report == "relighting_lora.ckpt: 60 of 60 layers, rank 4, strength 1, merged into the weights."
    found = sample(ours, 2)
    assert torch.equal(found, sample(other, 2)) and not torch.equal(found, plain)


def test_the_host_maps_none_of_upstreams_names(model):
    """Why the names are mapped here ("lora key not loaded")."""
    import comfy.lora

    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    assert not comfy.lora.load_lora(spelled(pairs(), "peft"), keys, log_missing=False)


@pytest.mark.parametrize("mode", ["auto", "merge", "beside"])
def test_strength_0_changes_no_bit(apply, model, plain, mode):
    ours, report = apply(model, spelled(pairs(), "peft"), strength=0.0, apply=mode)
    assert torch.equal(sample(ours, 2), plain) and "not applied, as the strength is 0" in report
    assert not ours.patches and not ours.get_additional_models()


@pytest.mark.parametrize("mode", ["merge", "beside"])
def test_blocks(load, apply, model, weights, plain, mode):
    """A LoRA on blocks 1-2 is the LoRA of the layers of these blocks."""
    layers = pairs(LAYERS)
    ours, report = apply(model, spelled(layers, "ComfyUI"), blocks="1-2", apply=mode)
    there = {layer: one for layer, one in layers.items() if layer.startswith(("blocks.1.", "blocks.2."))}
    hand = sample(load(merged(weights, there), "by_hand.safetensors"), 2)
    assert error(sample(ours, 2), hand) < 2e-5 < error(plain, hand)
    assert report.startswith("lora.safetensors: 24 of 62 layers") and report.endswith("; blocks 1-2.")


@pytest.mark.parametrize("shift", [None, 5.0])
def test_a_part_of_the_sampling(apply, pack_module, model, shift):
    """On in the second and third of four steps: the bits of steps sampled one by one."""
    ports = pack_module("nodes.host.ports")
    tensors = spelled(pairs(), "peft")
    part, report = apply(model, tensors, start=0.25, end=0.75)
    always, _ = apply(model, tensors, apply="beside")
    shifted = [one if shift is None else ports.with_shift(one, shift) for one in (part, model, always)]
    assert "on from 25% to 75% of the sampling" in report and "beside" in report
    found = sample(shifted[0], 4)

    latent = torch.zeros(1, 16, 3, 8, 8)
    for step, one in enumerate((shifted[1], shifted[2], shifted[2], shifted[1])):
        latent = sample(
            one,
            4,
            latent=latent,
            start_step=step,
            last_step=step + 1,
            disable_noise=step > 0,
            force_full_denoise=step == 3,
        )
    assert torch.allclose(found, latent, rtol=0, atol=1e-5)
    assert not torch.allclose(found, sample(shifted[2], 4), atol=1e-3)
    assert not torch.allclose(found, sample(shifted[1], 4), atol=1e-3)


def test_loras_stack(load, apply, model, weights, plain):
    first, second = pairs(LAYERS, seed=1), pairs(relighting_layers(BLOCKS)[:30], seed=2)
    hand = sample(load(merged(merged(weights, first), second, 0.5), "by_hand.safetensors"), 2)
    results = []
    for modes in (("merge", "merge"), ("beside", "beside"), ("merge", "beside"), ("beside", "merge")):
        one, _ = apply(model, spelled(first, "peft"), apply=modes[0])
        both, _ = apply(one, spelled(second, "kohya"), strength=0.5, apply=modes[1])
        results.append(error(sample(both, 2), hand))
        assert not touched(both)
    assert max(results) < 2e-5 < error(plain, hand), results


def test_quantized_weights_are_not_rounded_again(load, apply, weights):
    """Nearer to the LoRA on the same fp8 values than merging gives."""
    stored = scaled_weights(weights, torch.float8_e4m3fn)
    fp8, layers = load(stored, "fp8.safetensors"), pairs()
    spread = dict(weights)
    for key in weights:
        if in_blocks(key):
            scale = stored[key.removesuffix(".weight") + ".scale_weight"]
            spread[key] = stored[key].float() * scale
    hand = sample(load(merged(spread, layers), "by_hand.safetensors"), 2)
    before = {key: one.clone() for key, one in fp8.model.state_dict().items()}
    ours, report = apply(fp8, spelled(layers, "peft"))
    found = sample(ours, 2)
    assert "beside the weights" in report
    after = fp8.model.state_dict()
    assert all(
        torch.equal(before[key].view(torch.uint8), after[key].view(torch.uint8)) for key in before if before[key].ndim
    )
    beside = error(found, hand)
    merging = error(sample(apply(fp8, spelled(layers, "peft"), apply="merge")[0], 2), hand)
    assert beside < 1e-5 and merging > 50 * beside, (beside, merging)


def test_differences_of_distilled_loras(load, apply, model, weights, plain):
    """Differences of norms, biases and modulation, and a low-rank pair on the patch embedding."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape, size=0.2):
        return torch.randn(*shape, generator=generator) * size

    layers = pairs([*relighting_layers(BLOCKS), "patch_embedding"])
    tensors = spelled(layers, "ComfyUI") | {
        "diffusion_model.blocks.1.diff_m": random(1, 6, 256),
        "diffusion_model.blocks.1.self_attn.norm_q.diff": random(256),
        "diffusion_model.blocks.1.norm3.diff": random(256),
        "diffusion_model.blocks.2.norm3.diff_b": random(256),
        "diffusion_model.blocks.2.ffn.0.diff_b": random(512),
        "diffusion_model.patch_embedding.diff_b": random(256),
    }
    hand = merged(weights, layers)
    for name, one in tensors.items():
        key = name.removeprefix("diffusion_model.").replace("diff_m", "modulation.diff")
        if key.endswith((".diff", ".diff_b")):
            layer, _, kind = key.rpartition(".")
            key = layer + (".bias" if kind == "diff_b" else "" if layer.endswith("modulation") else ".weight")
            hand[key] = hand[key].float() + one
    hand = sample(load(hand, "by_hand.safetensors"), 2)
    found = {mode: apply(model, tensors, apply=mode) for mode in ("merge", "beside")}
    errors = {mode: error(sample(one, 2), hand) for mode, (one, _) in found.items()}
    assert max(errors.values()) < 5e-5 < error(plain, hand), errors
    assert all("65 of 65 layers" in report and "Left out" not in report for _, report in found.values())
    assert "merged)" not in found["beside"][1] and "(1 tensors beside them)" in found["merge"][1]
    assert not touched(model)
    modulation = model.model.diffusion_model.blocks[1].modulation
    with torch.inference_mode():  # as the host runs nodes
        part, _ = apply(model, tensors, end=0.5)
        assert not torch.equal(sample(part, 2), plain) and torch.equal(sample(model, 2), plain)
    assert model.model.diffusion_model.blocks[1].modulation is modulation and not touched(model)


def test_other_adapters_merge_and_cannot_be_switched(apply, model, plain):
    generator = torch.Generator().manual_seed(6)
    loha = {
        f"diffusion_model.blocks.0.ffn.0.hada_{part}": torch.randn(*shape, generator=generator) * 0.3
        for part, shape in (("w1_a", (512, 4)), ("w1_b", (4, 256)), ("w2_a", (512, 4)), ("w2_b", (4, 256)))
    }
    ours, report = apply(model, loha, apply="beside")
    assert "1 tensors merged" in report and not torch.equal(sample(ours, 2), plain)
    with pytest.raises(ValueError, match="holds 1 tensors that cannot be switched while sampling"):
        apply(model, loha, end=0.5)


def test_a_cancelled_step_leaves_nothing_on_the_model(apply, model, plain):
    import comfy.model_management
    import comfy.patcher_extension

    ours, _ = apply(model, spelled(pairs(LAYERS), "peft"), apply="beside")
    ours, _ = apply(ours, spelled(pairs(seed=4), "peft"), apply="beside")
    seen = []

    def cancel(executor, *args, **kwargs):
        seen.append(len(touched(ours)))
        raise comfy.model_management.InterruptProcessingException

    stopped = ours.clone()
    stopped.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(stopped)
    assert seen == [62] and not touched(ours)
    assert torch.equal(sample(model, 2), plain)


def test_its_weights_belong_to_the_hosts_memory_management(apply, model):
    import comfy.model_management

    ours, _ = apply(model, spelled(pairs(LAYERS), "peft"), apply="beside")
    (patcher,) = ours.get_additional_models()
    sample(ours)
    loaded = [one.model.model for one in comfy.model_management.current_loaded_models]
    assert patcher.model in loaded and patcher.model_size() == sum(
        one.numel() * 4 for pair in pairs(LAYERS).values() for one in pair
    )


def test_the_forwards_are_the_same_objects_in_every_step(apply, model):
    """Compiled code is bound to them."""
    import comfy.patcher_extension

    ours, _ = apply(model, spelled(pairs(), "peft"), apply="beside")
    seen = []

    def look(executor, *args, **kwargs):
        seen.append(ours.model.diffusion_model.blocks[1].ffn[0].forward)
        return executor(*args, **kwargs)

    ours.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, look)
    sample(ours, 3)
    assert len(seen) == 3 and seen[0] is seen[1] is seen[2]


def test_compiled_blocks_with_a_lora_that_comes_and_goes(apply, model):
    """The same bits, compiled once with the LoRA and once without. The LoRA finds blocks that are compiled already."""
    import torch._dynamo
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    tensors = spelled(pairs(), "peft") | {"blocks.1.diff_m": torch.full((1, 6, 256), 0.1)}
    wanted = sample(apply(model, tensors, start=0.3, end=0.7)[0], 3)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = model.clone()
    set_torch_compile_wrapper(model=compiled, backend="eager", keys=["diffusion_model.blocks.1"])
    ours, _ = apply(compiled, tensors, start=0.3, end=0.7)
    graphs = []
    for _ in range(3):
        assert torch.equal(sample(ours, 3), wanted)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert 0 < graphs[1] == graphs[2]
    torch._dynamo.reset()


@pytest.mark.parametrize("mode", ["merge", "beside"])
def test_with_acceleration(apply, pack_nodes, model, mode):
    """Before or after Accelerate Animate Model: the same bits."""
    accelerate = pack_nodes["WanAnimateKitAccelerate"]
    inputs = {"apply": mode} if mode == "merge" else {"start": 0.3, "end": 0.7}

    def faster(one):
        return accelerate.execute(one, "host default", True, "all").result[0]

    tensors = spelled(pairs(LAYERS), "peft")
    wanted = sample(apply(model, tensors, **inputs)[0], 3)
    assert torch.equal(sample(faster(apply(model, tensors, **inputs)[0]), 3), wanted)
    assert torch.equal(sample(apply(faster(model), tensors, **inputs)[0], 3), wanted)


def test_weights_of_another_packs_loader(apply, weights, plain):
    """Packed weights, as GGUF loaders have: unmerged."""
    import comfy.ops
    import comfy.sd

    class Operations(comfy.ops.manual_cast):
        class Linear(torch.nn.Module):
            def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
                super().__init__()
                self.in_features, self.out_features = in_features, out_features
                self.bias = None

            def _load_from_state_dict(self, state_dict, prefix, *_):
                weight = state_dict[prefix + "weight"].float()
                scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) / 127
                self.scale = torch.nn.Parameter(scale, requires_grad=False)
                self.weight = torch.nn.Parameter((weight / scale).round().to(torch.int8).flatten(), requires_grad=False)
                self.bias = torch.nn.Parameter(state_dict[prefix + "bias"].float(), requires_grad=False)

            def forward(self, x):
                weight = self.weight.view(self.out_features, -1).to(x.dtype) * self.scale.to(x.dtype)
                return torch.nn.functional.linear(x, weight, self.bias.to(x.dtype))

    packed = comfy.sd.load_diffusion_model_state_dict(dict(weights), {"custom_operations": Operations})
    without = sample(packed, 2)
    assert 0 < error(without, plain) < 0.05
    ours, report = apply(packed, spelled(pairs(), "peft"))
    assert "60 of 60 layers" in report and "beside the weights" in report
    assert error(sample(ours, 2), without) > 0.01
    assert torch.equal(sample(packed, 2), without)


def refusal(call) -> str:
    with pytest.raises(ValueError) as found:
        call()
    assert type(found.value).__name__ == "InputError" and "\n" not in str(found.value)
    return str(found.value)


def test_refusals(apply, model, pack_nodes):
    node = pack_nodes["WanAnimateKitApplyLora"]
    good = spelled(pairs(), "peft")
    video = {name: one for name, one in good.items() if "_img" not in name}
    other = {name: torch.ones(3, 3) for name in good}
    assert "0 of its 60 layers fit this one" in refusal(lambda: apply(model, other))
    assert "changes 50 of the 60 layers" in refusal(lambda: apply(model, video, node="WanAnimateKitRelightLora"))
    assert "start 0.5 to end 0.5" in refusal(lambda: apply(model, good, start=0.5, end=0.5))
    assert "has blocks 0 to 4" in refusal(lambda: apply(model, good, blocks="0-39"))
    only = {name: one for name, one in good.items() if "blocks.0." in name}
    assert "changes nothing in blocks 3" in refusal(lambda: apply(model, only, blocks="3"))
    assert "a merged LoRA is always on" in refusal(lambda: apply(model, good, end=0.5, apply="merge"))
    assert "is no LoRA" in refusal(lambda: apply(model, {"a": torch.ones(1)}))
    for name in ("none.safetensors", "../vae/wan_2.1_vae-small.safetensors", "/etc/passwd"):
        assert "is not in models/loras" in node.validate_inputs(name)
