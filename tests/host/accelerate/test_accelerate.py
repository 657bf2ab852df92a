"""Accelerate Animate Model on the host's own sampler."""

import gc
import itertools
import weakref

import pytest
import torch

from ...support import steps
from ...support.steps import STEPS, relative, sample

ALONE = [{"attention": "sdpa flash"}, {"face_motion": True}, {"reuse": "small"}, {"reuse": "all"}]
PAIRS = [{"attention": "sdpa flash", "face_motion": True}, {"attention": "sdpa flash", "reuse": "all"}]
PAIRS += [{"face_motion": True, "reuse": "small"}, {"face_motion": True, "reuse": "all"}]
PROMPT = [[torch.zeros(1, 512, 4096), {}]]
OFF = {"attention": "host default", "face_motion": False, "reuse": "off"}


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.accelerate")


@pytest.fixture(scope="module")
def conditioning():
    return steps.conditioning()


@pytest.fixture(scope="module")
def plain(model, conditioning):
    """The host's own result."""
    return sample(model, conditioning)


def cache_of(kit, clone):
    import comfy.patcher_extension

    (wrapper,) = clone.get_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, kit.KEY)
    return wrapper.__self__


def own_attributes(model):
    return {name: set(vars(part)) for name, part in model.model.named_modules()}


@pytest.mark.parametrize("switches", [{}, *ALONE, *PAIRS], ids=lambda one: ", ".join(map(str, one.values())) or "off")
def test_every_switch_and_pairs_of_them(kit, model, conditioning, plain, switches):
    """The host's bits; another exact attention sums in another order."""
    ours = sample(kit.accelerate(model, kit.Settings(**OFF | switches)), conditioning)
    if "attention" in switches:
        assert 0 < relative(ours, plain) < 0.02
    else:
        assert torch.equal(ours, plain)


def test_what_is_kept_is_computed_once_a_run_and_let_go(kit, model, conditioning):
    """With guidance: two prompts and two faces in one batch."""
    clone = kit.accelerate(model, kit.Settings(reuse="all"))
    cache = cache_of(kit, clone)
    held = []
    sample(clone, conditioning, cfg=2.0, callback=lambda *_: held.append(cache.cached_bytes))
    linears = 5 * 4  # blocks x (k, v, k_img, v_img)
    assert cache.computed == {"face": 1, "rope": 1, "pose": 1, "context": linears}
    assert held[0] > 0 and held == held[:1] * STEPS and cache.cached_bytes == 0
    sample(clone, conditioning, steps=1, cfg=2.0)
    assert cache.computed == {"face": 2, "rope": 2, "pose": 2, "context": 2 * linears}


def test_other_content_is_not_taken_for_the_kept(kit, model, conditioning):
    import comfy.model_management
    import comfy.patcher_extension

    clone = kit.accelerate(model, kit.Settings(reuse="all"))
    cache = cache_of(kit, clone)
    comfy.model_management.load_models_gpu([clone])
    module = clone.model.diffusion_model
    generator = torch.Generator().manual_seed(9)
    like = {"generator": generator, "dtype": torch.float32}
    x, context = torch.randn(1, 36, 3, 6, 8, **like), torch.randn(1, 512, 4096, **like)
    clip, pose = torch.randn(1, 257, 1280, **like), torch.randn(1, 16, 2, 6, 8, **like)
    face = torch.randn(1, 3, 1, 512, 512, **like)
    dtype = clone.model.get_dtype_inference()
    given = {"context": context, "clip_fea": clip, "pose_latents": pose, "face_pixel_values": face}
    given = {name: value.to(dtype) for name, value in given.items()}
    wrappers = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL

    def forward(values, accelerated=True):
        options = {"wrappers": {wrappers: {kit.KEY: [cache.diffusion_model]}}} if accelerated else {}
        values = {**values, "transformer_options": options}
        with torch.inference_mode():
            return module(x.to(dtype), torch.tensor([500.0]), **values)

    first = forward(given)
    for name in given:
        changed = dict(given, **{name: given[name].clone()})
        changed[name].view(-1)[7] += 4
        other = forward(changed)
        cache.clear()
        assert torch.equal(other, forward(changed)), name
        assert name == "face_pixel_values" or not torch.equal(other, first), name
        cache.clear()
        assert torch.equal(forward(given), first)
    # against the host itself: without the face, whose encoder would take most of a minute here
    del given["face_pixel_values"]
    forward(given)
    assert torch.equal(forward(given), forward(given, accelerated=False))


def test_patched_unpatched_and_patched_again(kit, model, conditioning, plain):
    before = own_attributes(model)
    settings = kit.Settings(attention="sdpa flash", reuse="all")
    first = sample(kit.accelerate(model, settings), conditioning)
    clone = kit.accelerate(model, settings)
    off = kit.without(clone.clone())
    assert kit.settings_of(off) is None and kit.settings_of(clone) == settings and kit.settings_of(model) is None
    assert not any(off.wrappers[kind] for kind in off.wrappers) and not off.get_all_callbacks("on_cleanup")
    assert kit.OVERRIDE not in off.model_options["transformer_options"]
    again = kit.accelerate(off, kit.Settings(reuse="off"))
    assert torch.equal(sample(again, conditioning), plain)
    assert torch.equal(sample(clone, conditioning), first)
    assert own_attributes(model) == before


def test_two_clones_with_different_settings_take_turns(kit, model, conditioning, plain):
    exact = kit.accelerate(model, kit.Settings(reuse="all"))
    other = kit.accelerate(model, kit.Settings(attention="sdpa flash", reuse="small"))
    first = sample(other, conditioning)
    for _ in range(2):
        assert torch.equal(sample(exact, conditioning), plain)
        assert torch.equal(sample(other, conditioning), first)
    assert not torch.equal(first, plain)


def test_the_node_used_twice_counts_once(kit, pack_nodes, model, conditioning, plain):
    node = pack_nodes["WanAnimateKitAccelerate"]
    first = node.execute(model, "sdpa flash", True, "all", False).args[0]
    second = node.execute(first, "host default", True, "small", False).args[0]
    assert torch.equal(sample(second, conditioning), plain)
    cache = cache_of(kit, second)
    assert cache.computed == {"face": 1, "rope": 1}
    assert cache_of(kit, first) is not cache


def test_cancel_in_the_middle_of_a_step_leaves_nothing(kit, model, conditioning, plain):
    before = own_attributes(model)
    clone = kit.accelerate(model, kit.Settings(attention="sdpa flash", reuse="all"))
    cache, calls, kept = cache_of(kit, clone), itertools.count(), []
    gone = weakref.ref(cache)

    class Cancelled(BaseException):
        pass

    def cancel(args):
        if next(calls) == 5 + 2:  # the third block of the second step
            kept.extend(weakref.ref(value) for entries in gone()._entries.values() for value in entries.values())
            raise Cancelled
        return args

    clone.set_model_patch(cancel, "double_block")
    with pytest.raises(Cancelled):
        sample(clone, conditioning)
    gc.collect()
    assert len(kept) == 1 + 1 + 1 + 20 and not any(ref() is not None for ref in kept)
    assert cache.cached_bytes == 0 and own_attributes(model) == before
    del clone, cache
    gc.collect()
    assert gone() is None
    assert torch.equal(sample(kit.accelerate(model, kit.Settings(reuse="off")), conditioning), plain)


@pytest.fixture(scope="module")
def lora():
    """On cached layers (text keys, face encoder) and one that runs in every step."""
    generator, tensors = torch.Generator().manual_seed(4), {}
    for name, out, into in (
        ("blocks.1.cross_attn.k", 256, 256),
        ("face_encoder.out_proj", 256, 1024),
        ("blocks.2.self_attn.q", 256, 256),
    ):
        tensors[f"diffusion_model.{name}.lora_A.weight"] = torch.randn(4, into, generator=generator)
        tensors[f"diffusion_model.{name}.lora_B.weight"] = torch.randn(out, 4, generator=generator)
    return tensors


@pytest.mark.parametrize("accelerated_first", [True, False])
def test_a_lora_gives_the_same_before_and_after_acceleration(kit, model, conditioning, plain, lora, accelerated_first):
    import comfy.sd

    def with_lora(one):
        return comfy.sd.load_lora_for_models(one, None, lora, 1.0, 0)[0]

    theirs = sample(with_lora(kit.accelerate(model, kit.Settings(reuse="off"))), conditioning)
    assert not torch.equal(theirs, plain)
    fast = kit.Settings(reuse="all")
    clone = with_lora(kit.accelerate(model, fast)) if accelerated_first else kit.accelerate(with_lora(model), fast)
    assert torch.equal(sample(clone, conditioning), theirs)
    assert torch.equal(sample(kit.accelerate(model, fast), conditioning), plain), "and without it again"


def test_a_lora_beside_the_weights(kit, comfy, small_models, conditioning, plain, lora):
    """The host's bypass form: outputs of wrapped layers are not cached, those of layers before them are."""
    import comfy.sd

    import nodes

    model = nodes.UNETLoader().load_unet(small_models.transformer.name, "default")[0]
    bypassed = comfy.sd.load_bypass_lora_for_models(model, None, lora, 1.0, 0)[0]
    clone = kit.accelerate(bypassed, kit.Settings(reuse="all"))
    ours = sample(clone, conditioning)
    assert cache_of(kit, clone).computed == {"motion": 1, "rope": 1, "pose": 1, "context": 5 * 4 - 1}
    assert torch.equal(ours, sample(bypassed, conditioning)) and not torch.equal(ours, plain)


def test_a_lora_that_is_on_for_the_second_half(kit, pack_module, model, conditioning, plain, lora):
    """Unmerged: results computed with the LoRA are not used without it."""
    import comfy.lora

    beside = pack_module("nodes.host.lora.branch")
    patches = comfy.lora.load_lora(lora, comfy.lora.model_lora_keys_unet(model.model, {}))
    partly = model.clone()
    assert len(patches) == 3 and not beside.add_branches(partly, patches, 1.0, 0.5, 1.0, "a LoRA")
    theirs = sample(kit.accelerate(partly, kit.Settings(reuse="off", face_motion=False)), conditioning)
    clone = kit.accelerate(partly, kit.Settings(reuse="all"))
    assert torch.equal(sample(clone, conditioning), theirs) and not torch.equal(theirs, plain)
    assert cache_of(kit, clone).computed == {"face": 1, "motion": 1, "rope": 1, "pose": 1, "context": 5 * 4}


def test_a_lora_that_comes_on_in_the_middle_of_a_run(kit, model, conditioning, lora):
    """A hook LoRA with keyframes changes weights between steps."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=1.0, strength_clip=0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)
    hooked = [comfy.hooks.set_hooks_for_conditioning(part, hooks) for part in conditioning]
    delegate = model.clone(disable_dynamic=True) if model.is_dynamic() else model
    theirs = sample(kit.accelerate(delegate, kit.Settings(reuse="off")), hooked)
    clone = kit.accelerate(delegate, kit.Settings(reuse="all"))
    assert torch.equal(sample(clone, hooked), theirs)
    assert cache_of(kit, clone).computed["context"] > 20
    assert not torch.equal(theirs, sample(kit.accelerate(delegate, kit.Settings()), conditioning))


def test_animate_takes_an_accelerated_model_as_it_is(kit, pack_module, model):
    ports = pack_module("nodes.host.ports")

    def denoiser(one):
        return ports.HostDenoiser(one, PROMPT, PROMPT, None, 1, 1.0, "euler", "simple", 5.0, 0).model

    settings = kit.Settings(attention="sdpa flash", reuse="all")
    accelerated = kit.accelerate(model, settings)
    inside = denoiser(accelerated)
    assert kit.settings_of(inside) == settings and cache_of(kit, inside) is cache_of(kit, accelerated)
    alone = denoiser(model)
    assert kit.settings_of(alone) == kit.Settings() and cache_of(kit, alone).face_motion
    assert not model.wrappers.get("diffusion_model", {}).get(kit.KEY)


def test_another_model_is_refused_in_a_sentence(pack, kit, small_models):
    import comfy.sd
    import comfy.utils

    weights = comfy.utils.load_torch_file(str(small_models.transformer))
    parts = ("face_", "motion_encoder.", "pose_patch_embedding.")
    other = comfy.sd.load_diffusion_model_state_dict({k: v for k, v in weights.items() if not k.startswith(parts)})
    with pytest.raises(Exception, match="holds Wan 2.1 I2V, but this node needs Wan 2.2 Animate"):
        kit.accelerate(other, kit.Settings())
