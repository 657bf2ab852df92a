"""Offload Animate Blocks on the host's own sampler."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_animate.weights.transformer import relighting_layers

from ...support import steps
from ...support.lora_files import BLOCKS, pairs, spelled
from ...support.steps import sample
from ...support.weight_files import in_blocks, scaled_weights

PROMPT = [[torch.zeros(1, 512, 4096), {}]]


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.offload")


@pytest.fixture(scope="module")
def fast(pack_module):
    return pack_module("nodes.host.accelerate")


@pytest.fixture(scope="module")
def all_of_it(kit):
    return kit.Settings("blocks", BLOCKS)


def state(model):
    """Attributes of a model's modules, but for the host's own."""
    return {
        name: (
            {key for key in vars(part) if not key.startswith(("comfy_", "prev_comfy"))},
            len(part._forward_hooks),
            len(part._forward_pre_hooks),
        )
        for name, part in model.model.named_modules()
    }


def weights_of(model):
    return {name: one.detach().clone() for name, one in model.model.diffusion_model.named_parameters()}


@pytest.mark.parametrize("count", range(BLOCKS + 1))
def test_any_number_of_blocks_gives_the_same_bits(kit, model, faceless, plain, count):
    before, weights = state(model), weights_of(model)
    clone = kit.offload(model, kit.Settings("blocks", count))
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), plain)
        assert len(clone.offloader.resident) == BLOCKS - count
        assert not clone.offloader.slots and clone.offloader.copies is None
    assert state(model) == before
    assert all(torch.equal(one, weights[name]) for name, one in weights_of(model).items())


def test_with_a_face(kit, model):
    conditioning = steps.conditioning()
    clone = kit.offload(model, kit.Settings("blocks", 4))
    assert torch.equal(sample(clone, conditioning, 1), sample(model, conditioning, 1))


def test_with_guidance(kit, model, faceless):
    clone = kit.offload(model, kit.Settings("blocks", 4))
    assert torch.equal(sample(clone, faceless, cfg=2.0), sample(model, faceless, cfg=2.0))


def test_the_next_block_is_on_its_way_while_one_computes(kit, model, faceless, all_of_it, monkeypatch, pack_module):
    """The order of copies and computations, and the slots used."""
    copy_queue = pack_module("nodes.host.offload.copy_queue")
    happened, slots = [], []
    start, done = copy_queue.CopyStream.start, copy_queue.CopyStream.done

    def started(copies, module, slot):
        happened.append(("copy", module.keys[1].split(".")[1], module.index))
        slots.append(slot)
        start(copies, module, slot)

    def finished(copies, slot):
        happened.append(("done", slot.module.keys[1].split(".")[1], slot.module.index))
        done(copies, slot)

    monkeypatch.setattr(copy_queue.CopyStream, "start", started)
    monkeypatch.setattr(copy_queue.CopyStream, "done", finished)
    clone = kit.offload(model, all_of_it)
    seen = []
    clone.set_model_patch(lambda args: seen.append(len(clone.offloader.slots)) or args, "double_block")
    sample(clone, faceless, 1)
    blocks = [(what, index) for what, kind, index in happened if kind == "blocks"]
    expected = [("copy", 0)]
    for index in range(BLOCKS):
        expected += [("done", index)] + [("copy", index + 1)] * (index + 1 < BLOCKS)
    assert blocks == expected
    assert seen == [2] * BLOCKS, "two slots for blocks; without a face none for a face block"
    used = [slot for slot, one in zip(slots, [one for one in happened if one[0] == "copy"]) if one[1] == "blocks"]
    assert all(one is not other for one, other in zip(used, used[1:])), "never the one that is in use"


def test_a_block_finds_its_weights_on_the_card_and_puts_its_own_back(kit, model, faceless, all_of_it):
    clone = kit.offload(model, all_of_it)
    sample(clone, faceless, 1)  # into mappings
    block = model.model.diffusion_model.blocks[2]
    own, inside = block.self_attn.q.weight, []

    def look(module, args):
        weight = block.self_attn.q.weight
        inside.append((weight is own, weight.data_ptr() == own.data_ptr(), torch.equal(weight, own)))

    handle = block.self_attn.register_forward_pre_hook(look)
    try:
        sample(clone, faceless, 1)
    finally:
        handle.remove()
    assert inside == [(False, False, True)]
    assert block.self_attn.q.weight is own


def test_two_clones_with_different_numbers_take_turns(kit, model, faceless, plain):
    few, many = kit.offload(model, kit.Settings("blocks", 2)), kit.offload(model, kit.Settings("blocks", 5))
    for _ in range(2):
        for one in (few, model, many):
            assert torch.equal(sample(one, faceless), plain)
    assert not few.offloader.resident and not many.offloader.resident, "the one that was loaded last has none"
    assert torch.equal(sample(few, faceless), plain) and few.offloader.resident


def test_patched_unpatched_and_patched_again(kit, model, faceless, plain, all_of_it):
    first = kit.offload(model, kit.Settings("blocks", 3))
    off = kit.without(first.clone())
    assert type(off) is type(model) and kit.settings_of(off) is None and kit.settings_of(first).blocks == 3
    assert not any(off.wrappers[kind] for kind in off.wrappers) and off.model_size() == model.model_size()
    again = kit.offload(kit.offload(off, kit.Settings("fit")), all_of_it)
    assert kit.settings_of(again) == all_of_it and len(again.wrappers["diffusion_model"]) == 1
    for one in (first, off, again, first):
        assert torch.equal(sample(one, faceless), plain)


@pytest.mark.parametrize("accelerated_first", [True, False])
@pytest.mark.parametrize(
    "switches",
    [
        {"reuse": "all"},
        {"attention": "sdpa flash", "fused": True},
        {"matmul": "fp8 (row-wise)", "fused": True},
        {"compile_blocks": True, "backend": "eager"},
    ],
    ids=lambda one: ", ".join(one),
)
def test_with_acceleration(kit, fast, model, faceless, plain, accelerated_first, switches):
    torch._dynamo.reset()
    settings, some = fast.Settings(**switches), kit.Settings("blocks", 4)
    theirs = sample(fast.accelerate(model, settings), faceless)
    clone = fast.accelerate(model, settings) if accelerated_first else kit.offload(model, some)
    clone = kit.offload(clone, some) if accelerated_first else fast.accelerate(clone, settings)
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), theirs)
    assert clone.offloader.settings == some and fast.settings_of(clone) == settings


def test_with_the_hosts_compile_node(kit, model, faceless, plain):
    """Hooks are not compiled."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()
    clone = kit.offload(model, kit.Settings("blocks", 4))
    set_torch_compile_wrapper(clone, backend="eager")
    assert torch.equal(sample(clone, faceless, 1), sample(model, faceless, 1))


@pytest.fixture(scope="module")
def lora():
    """Blocks, the face blocks, and what is loaded by the host."""
    layers = [*relighting_layers(BLOCKS)[::7], "face_adapter.fuser_blocks.0.linear1_q", "head.head"]
    return spelled(pairs(layers), "ComfyUI")


def with_lora(model, lora, strength=1.0):
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora, strength, 0)[0]


@pytest.mark.parametrize("offloaded_first", [True, False])
def test_with_a_merged_lora(kit, model, faceless, plain, lora, offloaded_first):
    theirs, some = sample(with_lora(model, lora), faceless), kit.Settings("blocks", 3)
    assert not torch.equal(theirs, plain)
    clone = with_lora(kit.offload(model, some), lora) if offloaded_first else kit.offload(with_lora(model, lora), some)
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), theirs)
    assert torch.equal(sample(kit.offload(model, some), faceless), plain), "and without it again"


@pytest.mark.parametrize("count", [3, 5])
def test_with_a_lora_beside_the_weights_for_a_part_of_the_run(pack_module, kit, model, faceless, plain, lora, count):
    import comfy.lora

    branch = pack_module("nodes.host.lora.branch")
    lora = lora | {"diffusion_model.blocks.1.modulation.diff": torch.full((1, 6, 256), 0.1)}
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    keys["diffusion_model.blocks.1.modulation"] = "diffusion_model.blocks.1.modulation"
    patches = comfy.lora.load_lora(lora, keys)
    assert "diffusion_model.blocks.1.modulation" in patches
    partly = model.clone()
    branch.add_branches(partly, patches, 1.0, 0.5, 1.0, "a LoRA")
    theirs = sample(partly, faceless)
    assert not torch.equal(theirs, plain)
    clone = kit.offload(partly, kit.Settings("blocks", count))
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), theirs)
    assert torch.equal(sample(kit.offload(model, kit.Settings("blocks", count)), faceless), plain)


def test_with_a_lora_in_the_hosts_bypass_form(kit, comfy, small_models, faceless, lora):
    import comfy.sd

    import nodes

    own = nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]
    bypassed = comfy.sd.load_bypass_lora_for_models(own, None, lora, 1.0, 0)[0]
    theirs = sample(bypassed, faceless)
    assert torch.equal(sample(kit.offload(bypassed, kit.Settings("blocks", 4)), faceless), theirs)


@pytest.mark.parametrize("count", [2, 5])
def test_with_a_lora_that_comes_on_by_a_hook(kit, model, faceless, plain, lora, count):
    """A hook changes weights during a run: resident blocks are dropped."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)
    hooked = [comfy.hooks.set_hooks_for_conditioning(part, hooks) for part in faceless]
    theirs = sample(model, hooked)
    assert not torch.equal(theirs, plain)
    clone = kit.offload(model, kit.Settings("blocks", count))
    for _ in range(2):
        assert torch.equal(sample(clone, hooked), theirs)
    assert torch.equal(sample(clone, faceless), plain)


@pytest.fixture(scope="module")
def fp8_file(comfy, small_models):
    """Saves the small weights, clamped to fp8's range, in the host's models folder."""
    from pathlib import Path

    import folder_paths

    folder = next(one for one in map(Path, folder_paths.get_folder_paths("diffusion_models")) if one.is_dir())
    weights = {name: one.clamp(-400, 400) for name, one in load_file(small_models.transformer).items()}

    def written(name, change=lambda weights: weights):
        save_file(change(weights), folder / name)
        return name

    return written


@pytest.fixture(scope="module")
def quantized(pack_nodes, fp8_file):
    """Scaled fp8 weights in the blocks, as the host's quantized tensors."""
    name = fp8_file("offload_fp8.safetensors", lambda one: scaled_weights(one, torch.float8_e4m3fn, in_blocks))
    return pack_nodes["WanAnimateKitLoadModel"].execute(name).result[0]


@pytest.mark.parametrize("count", [2, 5])
def test_with_scaled_fp8_weights(kit, quantized, faceless, count):
    theirs = sample(quantized, faceless)
    clone = kit.offload(quantized, kit.Settings("blocks", count))
    for _ in range(2):
        assert torch.equal(sample(clone, faceless), theirs)
    kind = type(quantized.model.diffusion_model.blocks[0].self_attn.q.weight)
    assert kind.__name__ == "QuantizedTensor"
    assert torch.equal(sample(quantized, faceless), theirs)


def test_in_inference_mode_as_a_server_runs_it(pack_nodes, kit, fp8_file, faceless):
    """Moving a quantized tensor of inference and normal tensors fails in the host."""
    import comfy.model_management

    name = fp8_file("offload_served.safetensors", lambda one: scaled_weights(one, torch.float8_e4m3fn, in_blocks))
    comfy.model_management.unload_all_models()
    with torch.inference_mode():
        own = pack_nodes["WanAnimateKitLoadModel"].execute(name).result[0]
        theirs = sample(own, faceless, 1)
        clone = kit.offload(own, kit.Settings("blocks", 4))
        for one in (clone, own, clone):
            assert torch.equal(sample(one, faceless, 1), theirs)
        comfy.model_management.unload_all_models()
        assert torch.equal(sample(own, faceless, 1), theirs)
        comfy.model_management.unload_all_models()


def test_with_a_lora_merged_into_scaled_fp8_weights(kit, quantized, faceless):
    lora = spelled(pairs(["blocks.1.self_attn.q", "blocks.2.ffn.0"]), "ComfyUI")
    theirs = sample(with_lora(quantized, lora), faceless)
    assert not torch.equal(theirs, sample(quantized, faceless))
    clone = kit.offload(with_lora(quantized, lora), kit.Settings("blocks", 3))  # one of the two stays on the card
    assert clone.offloader.plan & {1, 2} == {2}
    assert torch.equal(sample(clone, faceless), theirs)


def test_with_plain_fp8_weights(kit, fp8_file, faceless):
    import nodes

    small = nodes.UNETLoader().load_unet(fp8_file("offload_clamped.safetensors"), "fp8_e4m3fn")[0]
    theirs = sample(small, faceless, 1)
    assert torch.equal(sample(kit.offload(small, kit.Settings("blocks", 4)), faceless, 1), theirs)


def test_animate_takes_an_offloaded_model(pack_module, kit, model, all_of_it):
    ports = pack_module("nodes.host.ports")
    inside = ports.HostDenoiser(
        kit.offload(model, all_of_it), PROMPT, PROMPT, None, 1, 1.0, "euler", "simple", 5.0, 0
    ).model
    assert inside.offloader.settings == all_of_it and inside.offloader._patcher() is inside


def test_another_model_is_refused_in_a_sentence(kit, small_models, comfy):
    import comfy.sd
    import comfy.utils

    weights = comfy.utils.load_torch_file(str(small_models.transformer))
    parts = ("face_", "motion_encoder.", "pose_patch_embedding.")
    other = comfy.sd.load_diffusion_model_state_dict({k: v for k, v in weights.items() if not k.startswith(parts)})
    with pytest.raises(Exception, match="holds Wan 2.1 I2V, but this node needs Wan 2.2 Animate"):
        kit.offload(other, kit.Settings())
