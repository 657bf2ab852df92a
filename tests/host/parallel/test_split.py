"""Split Animate over GPUs on the host's own sampler: several members on the CPU."""

import gc
import threading
import weakref

import pytest
import torch
from safetensors.torch import save_file

from wan_animate.parallel.partition import layout

from ...support import wide
from ...support.lora_files import spelled
from ...support.steps import relative

CPU = torch.device("cpu")
CLOSE = 2e-5  # sums in another order, in float32
SIZE = 3, 3, 5  # 45 tokens in frames of 15: no number of members but 3 ends on frames


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.parallel")


@pytest.fixture(scope="module")
def replicas(pack_module):
    return pack_module("nodes.host.parallel.replicas")


@pytest.fixture(scope="module")
def errors(pack_module):
    return pack_module("wan_animate.errors")


@pytest.fixture(scope="module")
def team(pack_module):
    return pack_module("wan_animate.parallel.team")


@pytest.fixture(scope="module")
def accelerate(pack_module):
    return pack_module("nodes.host.accelerate")


@pytest.fixture(scope="module")
def offload(pack_module):
    return pack_module("nodes.host.offload")


@pytest.fixture(scope="module")
def lora(pack_module):
    return pack_module("nodes.host.lora.apply")


@pytest.fixture(scope="module")
def model(comfy, tmp_path_factory):
    """Of four heads."""
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(wide.write(tmp_path_factory.mktemp("wide") / "wide.safetensors")))


@pytest.fixture(scope="module")
def prompts():
    return wide.conditioning(*SIZE)


@pytest.fixture(scope="module")
def plain(model, prompts):
    return wide.sample(model, prompts, 2)


@pytest.mark.parametrize("members", [2, 3, 4])
def test_members_make_what_one_makes(kit, model, prompts, plain, members):
    clone = kit.split(model, [CPU] * members)
    seen = []
    clone.set_model_patch(lambda args: seen.append(args["img"].shape[1]) or args, "double_block")
    out = wide.sample(clone, prompts, 2)
    parts = [len(part) for part in layout(45, wide.HEADS, members).tokens]
    assert sorted(seen) == sorted(parts * 2 * wide.BLOCKS)
    assert relative(out, plain) < CLOSE
    assert torch.equal(wide.sample(clone, prompts, 2), out), "again, and the same bits"


@pytest.mark.parametrize("size", [(2, 1, 2), (2, 1, 3), (5, 3, 3)], ids=str)
def test_of_any_size(kit, model, size):
    prompts = wide.conditioning(*size)
    assert relative(wide.sample(kit.split(model, [CPU] * 4), prompts), wide.sample(model, prompts)) < CLOSE


def test_with_a_face_loras_offload_and_guidance(kit, accelerate, offload, lora, model, lora_file):
    prompts = wide.conditioning(*SIZE, face=True)
    merged = lora.apply_lora(model, lora_file, 0.7)[0]
    both = lora.apply_lora(merged, lora_file, 0.4, mode="beside")[0]
    settings = accelerate.Settings(reuse="all", fused=True)
    one = wide.sample(accelerate.accelerate(both, settings), prompts, 1, cfg=2.0)
    many = offload.offload(accelerate.accelerate(kit.split(both, [CPU] * 2), settings), offload.Settings("blocks", 4))
    assert relative(wide.sample(many, prompts, 1, cfg=2.0), one) < CLOSE


def test_after_loras_offload_and_acceleration(kit, accelerate, offload, lora, model, prompts, lora_file):
    one = lora.apply_lora(model, lora_file, 0.7)[0]
    one = accelerate.accelerate(offload.offload(one, offload.Settings("blocks", 2)), accelerate.Settings(reuse="all"))
    assert relative(wide.sample(kit.split(one, [CPU] * 4), prompts, 2), wide.sample(one, prompts, 2)) < CLOSE


@pytest.fixture
def lora_file(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file(spelled(lora_pairs(), "peft"), path)
    return str(path)


def lora_pairs():
    generator = torch.Generator().manual_seed(7)
    return {
        f"blocks.{block}.{layer}": (
            torch.randn(4, wide.DIM, generator=generator) / 20,
            torch.randn(out, 4, generator=generator) / 4,
        )
        for block in range(wide.BLOCKS)
        for layer, out in (("self_attn.q", wide.DIM), ("ffn.0", wide.FFN))
    }


def test_a_lora_for_a_part_of_the_steps_is_switched_on_every_member(kit, lora, model, prompts, lora_file):
    partly = lora.apply_lora(model, lora_file, 1.0, start=0.0, end=0.5)[0]
    one = wide.sample(partly, prompts, 2)
    assert relative(wide.sample(kit.split(partly, [CPU] * 2), prompts, 2), one) < CLOSE


def test_hooks_of_the_host_change_the_weights_of_every_member(kit, model, prompts, plain):
    """A LoRA of Create Hook LoRA, with another strength in the second step."""
    import comfy.hooks

    weights = {"diffusion_model.blocks.1.ffn.0.weight": ("diff", (torch.full((wide.FFN, wide.DIM), 0.05),))}
    hook = comfy.hooks.WeightHook(strength_model=1.0)
    hook.weights, hook.need_weight_init = weights, False
    group = comfy.hooks.HookGroup()
    group.add(hook)
    frames = comfy.hooks.HookKeyframeGroup()
    frames.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    frames.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.6))
    group.set_keyframes_on_hooks(frames)
    hooked = tuple([[part[0], part[1] | {"hooks": group}] for part in prompt] for prompt in prompts)
    one = wide.sample(model, hooked, 2)
    assert relative(one, plain) > 1e-4
    clone = kit.split(model, [CPU] * 2)
    assert relative(wide.sample(clone, hooked, 2), one) < CLOSE
    assert relative(wide.sample(clone, prompts, 2), plain) < CLOSE, "and come off again"


def test_a_wrapper_of_another_pack_is_called_once_a_step_and_may_leave_it_out(kit, model, prompts):
    import comfy.patcher_extension

    calls, kept = [], []

    def caching(executor, *args, **kwargs):
        calls.append(args[0].shape)
        kept.append(executor(*args, **kwargs) if not kept else kept[0])
        return kept[-1]

    clone = kit.split(model, [CPU] * 2)
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "another", caching)
    wide.sample(clone, prompts, 3)
    assert len(calls) == 3 and len({tuple(shape) for shape in calls}) == 1


def test_an_error_of_one_member_ends_all_with_one_sentence(kit, team, model, prompts, plain):
    clone = kit.split(model, [CPU] * 4)
    calls = []

    def patch(args):
        calls.append(args["block_index"])
        if args["block_index"] == 2 and threading.current_thread() is not threading.main_thread():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return args

    broken = clone.clone()
    broken.set_model_patch(patch, "double_block")
    before = state(model)
    with pytest.raises(
        team.MemberError, match=r"card \d of 4 \(cpu\) failed .* illegal memory access .*: run it again"
    ):
        wide.sample(broken, prompts, 2)
    assert 0 < len(calls) < 4 * 5 * 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("split")]
    assert state(model) == before
    assert relative(wide.sample(clone, prompts, 2), plain) < CLOSE, "the next run is as ever"


def test_cancel_in_the_middle_of_a_step(kit, model, prompts, plain, interrupt):
    import comfy.model_management as host

    clone = kit.split(model, [CPU] * 4)
    stopped = clone.clone()
    calls = []

    def patch(args):
        calls.append(args["block_index"])
        if args["block_index"] == 1:
            interrupt()
        return args

    stopped.set_model_patch(patch, "double_block")
    with pytest.raises(host.InterruptProcessingException):
        wide.sample(stopped, prompts, 3)
    assert max(calls) <= 3, "within the step"
    assert relative(wide.sample(clone, prompts, 2), plain) < CLOSE


def test_two_cards_exchange_heads_in_two_groups_and_more_in_four(kit):
    assert [kit.Settings().groups_on(members) for members in (2, 4, 8)] == [2, 4, 4]
    assert kit.Settings(groups=5).groups_on(2) == 5


def test_a_member_that_hangs_is_left_behind(kit, team, model, prompts, plain, monkeypatch):
    monkeypatch.setattr(team, "GRACE", 0.5)
    clone = kit.split(model, [CPU] * 2, kit.Settings(timeout=1.0))
    hung, release = clone.clone(), threading.Event()

    def patch(args):
        if args["block_index"] == 2 and threading.current_thread() is not threading.main_thread():
            release.wait(30)
        return args

    hung.set_model_patch(patch, "double_block")
    with pytest.raises(team.MemberError, match="a card failed .* nothing came from another card for 1 seconds"):
        wide.sample(hung, prompts)
    release.set()
    assert relative(wide.sample(clone, prompts, 2), plain) < CLOSE


def test_an_input_error_comes_through_as_it_is(kit, errors, model, prompts):
    clone = kit.split(model, [CPU] * 2)

    def patch(args):
        raise errors.InputError("choose another size.")

    clone.set_model_patch(patch, "double_block")
    with pytest.raises(errors.InputError, match="^choose another size.$"):
        wide.sample(clone, prompts)


def test_no_more_members_than_heads(kit, errors, model):
    with pytest.raises(
        errors.InputError, match=r"4 attention heads, which 5 cards cannot share: .* best one of 1, 2, 4\."
    ):
        kit.split(model, [CPU] * 5)


def state(model):
    return {
        name: (set(vars(part)), len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in model.model.named_modules()
    }


def test_nothing_of_a_run_stays(kit, model, prompts, caplog):
    before = state(model)
    clone = kit.split(model, [CPU] * 2)
    wide.sample(clone, prompts)
    assert state(model) == before
    assert kit.KEY not in clone.additional_models
    assert "memory leak" not in caplog.text


def test_the_copies_go_with_the_model(kit, replicas, comfy, prompts, tmp_path):
    import comfy.model_management
    import comfy.sd

    model = comfy.sd.load_diffusion_model(str(wide.write(tmp_path / "wide.safetensors")))
    wide.sample(kit.split(model, [CPU] * 2), prompts)
    alive = weakref.ref(model.model), weakref.ref(replicas._replicas[model.model].source)
    del model
    comfy.model_management.unload_all_models()
    gc.collect()
    assert [one() for one in alive] == [None, None]


def test_the_node_passes_the_model_through_on_one_device(pack_nodes, model):
    out = pack_nodes["WanAnimateKitSplitModel"].execute(model=model, cards=4)
    assert out.result[0] is model
    assert "Nothing is split: this computer has one card" in str(out.ui.as_dict())


def test_a_split_model_names_its_devices(kit, model):
    assert kit.devices_of(kit.split(model, [CPU] * 3)) == (CPU,) * 3
    assert kit.devices_of(kit.split(model, [CPU])) == kit.devices_of(model) == ()
