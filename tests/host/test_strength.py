"""Pose and Face Strength on the host's own sampler."""

import pytest
import torch

from ..support import steps
from ..support.forwards import counted
from ..support.steps import relative, sample

EIGHT = 8  # steps, where it matters which
FP8 = "fp8 (row-wise)"


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.strength")


@pytest.fixture(scope="module")
def put(kit, pack_module):
    """A MODEL with strengths: a value, or (value, start, end)."""
    strength = pack_module("wan_animate.chain.strength").Strength

    def put(model, pose=1.0, face=1.0):
        given = (one if isinstance(one, tuple) else (one,) for one in (pose, face))
        return kit.with_strength(model, *(strength(*one) for one in given))

    return put


@pytest.fixture(scope="module")
def others(pack_module):
    """A MODEL after other nodes, by name."""
    fast, offload = pack_module("nodes.host.accelerate"), pack_module("nodes.host.offload")

    def put(model, name):
        if name == "offload":
            return offload.offload(model, offload.Settings("blocks", 4))
        more = {
            "accelerate": {"fused": True, "reuse": "all"},
            "fp8": {"fused": True, "matmul": FP8},
            "compile": {"compile_blocks": True, "backend": "eager"},
        }[name]
        return fast.accelerate(model, fast.Settings(**more))

    return put


@pytest.fixture(scope="module")
def faces():
    return steps.conditioning()


@pytest.fixture
def quick(model, monkeypatch):
    """The MODEL with a motion encoder that takes no time: it is not looked at here, and takes seconds a picture."""

    def get_motion(crops):
        return crops[:, :, ::32, ::16].flatten(1)[:, :512] * 0.3

    monkeypatch.setattr(model.model.diffusion_model.motion_encoder, "get_motion", get_motion)
    return model


def without(conditioning, *names):
    """The same conditioning without some of its values."""

    def kept(values):
        return {name: one for name, one in values.items() if name not in names}

    return [[[text, kept(values)]] for ((text, values),) in conditioning]


def weighted(model, pose=1.0, face=1.0):
    """The same by the host's own weight patches: the pose embedding and the face block's last layer multiplied."""
    clone, weights = model.clone(), model.model.state_dict()
    for factor, layer in ((pose, "pose_patch_embedding"), (face, "face_adapter.fuser_blocks.0.linear2")):
        names = [f"diffusion_model.{layer}.{part}" for part in ("weight", "bias")]
        zeros = {name: (torch.zeros_like(weights[name]),) for name in names}
        assert set(clone.add_patches(zeros, 1.0, factor)) == set(names)
    return clone


def own_attributes(model):
    return {name: set(vars(part)) for name, part in model.model.named_modules()}


def watched(model, conditioning, steps=1, **more):
    """(latent, how often each part of pose and face was computed in each step)"""
    module = model.model.diffusion_model
    parts = {
        "pose": module.pose_patch_embedding, "motion": module.motion_encoder.enc.fc[0],
        "encoder": module.face_encoder, "block": module.face_adapter.fuser_blocks[0],
    }  # fmt: skip
    with counted(parts) as found:
        return sample(model, conditioning, steps, callback=found.step, **more), found.steps


def test_one_is_the_same_bit_for_bit_and_zero_the_host_without_it(put, model, faces):
    """With the real encoder. What is off is not computed."""
    theirs, computed = watched(model, faces)
    assert computed == [{"pose": 1, "motion": 1, "encoder": 1, "block": 1}]
    clone = put(model)
    assert not any(clone.wrappers[kind] for kind in clone.wrappers), "nothing is put on"
    assert torch.equal(sample(clone, faces, 1), theirs)

    off, computed = watched(put(model, 0, 0), faces)
    assert computed == [{}]
    assert torch.equal(off, sample(model, without(faces, "face_video_pixels", "pose_video_latent"), 1))
    assert not torch.equal(off, theirs)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_either_alone_with_and_without_guidance(put, quick, faces, cfg):
    """The negative prompt's blank face is left out as well."""
    plain = sample(quick, faces, cfg=cfg)
    assert torch.equal(sample(put(quick), faces, cfg=cfg), plain)
    assert torch.equal(sample(put(quick, (1, 0, 0.999), (1, 0, 0.999)), faces, cfg=cfg), plain), "on, in every step"
    for name, value in (("face", "face_video_pixels"), ("pose", "pose_video_latent")):
        theirs = sample(quick, without(faces, value), cfg=cfg)
        assert torch.equal(sample(put(quick, **{name: 0}), faces, cfg=cfg), theirs)
        assert not torch.equal(theirs, plain)


@pytest.mark.parametrize("strengths", [{"face": 0.5}, {"pose": 0.5}, {"pose": 2.0, "face": 0.5}], ids=str)
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_a_factor_is_that_of_the_hosts_own_weights(put, quick, faces, strengths, cfg):
    """Powers of two, which round nothing: the same bits."""
    before, plain = own_attributes(quick), sample(quick, faces, cfg=cfg)
    ours = sample(put(quick, **strengths), faces, cfg=cfg)
    assert torch.equal(ours, sample(weighted(quick, **strengths), faces, cfg=cfg)) and not torch.equal(ours, plain)
    assert own_attributes(quick) == before
    assert torch.equal(sample(quick, faces, cfg=cfg), plain)


@pytest.mark.parametrize("name", ["pose", "face"])
def test_between_nothing_and_all_of_it(put, quick, faces, name):
    """The further from 1, the further from the host's, and that towards what it is without."""
    at = {value: sample(put(quick, **{name: value}), faces, 1) for value in (0, 0.25, 0.5, 1)}
    off = [relative(at[value], at[1]) for value in (0, 0.25, 0.5)]
    assert off[0] > off[1] > off[2] > 0
    way = (at[1] - at[0]).flatten()
    along = [float((at[value] - at[0]).flatten() @ way / (way @ way)) for value in (0.25, 0.5)]
    assert 0 < along[0] < along[1] < 1


# which of eight steps of the simple schedule lie in a part of the sampling; both ends count, as in the host
@pytest.mark.parametrize("start, end, expected", [
    (0.0, 0.5, [0, 1, 2, 3, 4]), (0.5, 1.0, [4, 5, 6, 7]), (0.3, 0.7, [3, 4, 5]), (0.0, 0.01, [0]), (0.95, 1.0, []),
])  # fmt: skip
def test_it_acts_in_its_part_of_the_sampling_only(put, quick, faces, start, end, expected):
    """Face and pose in other steps than each other."""
    part = (1.0, start, end)
    ours, computed = watched(put(quick, face=part, pose=(0.5, 0.5, 1.0)), faces, EIGHT)
    assert [step for step, calls in enumerate(computed) if "block" in calls] == expected
    assert [step for step, calls in enumerate(computed) if "encoder" in calls] == expected
    assert [step for step, calls in enumerate(computed) if "pose" in calls] == [4, 5, 6, 7]


@pytest.mark.parametrize("shift", [None, 3.0])
@pytest.mark.parametrize("start, end", [(0.0, 0.4), (0.4, 1.0), (0.15, 0.85)])
def test_percents_are_those_of_the_hosts_conditioning(put, quick, faces, start, end, shift):
    """ConditioningSetTimestepRange: the prompt with the face in that part, without it in the rest; the same bits.
    A shift that is set after our node counts as well."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    from nodes import ConditioningCombine, ConditioningSetTimestepRange

    def parted(name):
        bare = without([name], "face_video_pixels", "pose_video_latent")[0]
        spans = [(name, start, end), (bare, 0.0, start), (bare, end, 1.0)]
        parts = [ConditioningSetTimestepRange().set_range(one, a, b)[0] for one, a, b in spans if a < b]
        made = parts[0]
        for part in parts[1:]:
            made = ConditioningCombine().combine(made, part)[0]
        return made

    def shifted(model):
        return model if shift is None else ModelSamplingSD3().patch(model, shift)[0]

    theirs = sample(shifted(quick), [parted(one) for one in faces], EIGHT)
    ours = sample(shifted(put(quick, (1, start, end), (1, start, end))), faces, EIGHT)
    assert torch.equal(ours, theirs) and not torch.equal(ours, sample(shifted(quick), faces, EIGHT))


# chain, strengths, and how far from the same without the chain
CHAINS = [
    *((chain, strengths, 0) for chain in (["accelerate"], ["offload"], ["offload", "accelerate"])
      for strengths in ({"face": 0}, {"pose": (0.5, 0.0, 0.5), "face": (1.0, 0.5, 1.0)})),
    (["compile"], {"pose": 0.5, "face": (0.5, 0.0, 0.5)}, 0), (["fp8"], {"pose": 0.5, "face": (0.5, 0.0, 0.5)}, 0.2),
]  # fmt: skip


@pytest.mark.parametrize("chain, strengths, limit", CHAINS, ids=str)
def test_before_and_after_our_other_nodes(put, others, quick, faces, chain, strengths, limit):
    """In any place: the same bits. Without them: the same within what these change by themselves."""
    torch._dynamo.reset()

    def made(*nodes):
        model = quick
        for node in nodes:
            model = put(model, **strengths) if node == "strength" else others(model, node)
        return model

    alone = sample(put(quick, **strengths), faces, 4)
    orders = [[*chain[:place], "strength", *chain[place:]] for place in range(len(chain) + 1)]
    found = [sample(made(*order), faces, 4) for order in orders]
    assert all(torch.equal(one, found[0]) for one in found)
    assert torch.equal(found[0], alone) if limit == 0 else 1e-4 < relative(found[0], alone) < limit


def test_accelerate_keeps_what_is_not_scaled(put, others, quick, faces, pack_module):
    """Two clones with other strengths, one after the other and step by step: what one has kept serves the other."""
    import comfy.patcher_extension

    fast = others(quick, "accelerate")
    key = pack_module("nodes.host.accelerate").KEY
    (wrapper,) = fast.get_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, key)
    half = put(fast, (0.5, 0.5, 1.0), (2.0, 0.0, 0.5))
    for _ in range(2):
        assert torch.equal(sample(half, faces, 4), sample(put(quick, (0.5, 0.5, 1.0), (2.0, 0.0, 0.5)), faces, 4))
        assert torch.equal(sample(fast, faces, 4), sample(quick, faces, 4))
    assert wrapper.__self__.computed["face"] == 4 and wrapper.__self__.computed["pose"] == 4, "once a run"


def test_the_hosts_compile_node_does_not_keep_another_strength(put, quick, faces):
    """It compiles the whole model once for all clones."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()
    compiled = quick.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=compiled, backend="eager")
    plain = sample(quick, faces, 1)
    for strengths in ({}, {"face": 0.5, "pose": 0.5}, {"face": 0.25}, {}, {"face": 0}):
        theirs = sample(put(quick, **strengths), faces, 1)
        assert relative(sample(put(compiled, **strengths), faces, 1), theirs) < 1e-6, strengths
        assert not strengths or relative(theirs, plain) > 1e-5


def test_a_lora_is_scaled_with_the_weights(put, quick, faces, pack_module, tmp_path):
    """Merged and beside: as the host's, at another strength."""
    from safetensors.torch import save_file

    names = {"face_adapter.fuser_blocks.0.linear2": quick.model.diffusion_model.face_adapter.fuser_blocks[0].linear2}
    generator, lora = torch.Generator().manual_seed(4), {}
    for name, layer in names.items():
        lora[f"diffusion_model.{name}.lora_down.weight"] = torch.randn(4, layer.in_features, generator=generator)
        lora[f"diffusion_model.{name}.lora_up.weight"] = torch.randn(layer.out_features, 4, generator=generator) * 0.1
    save_file(lora, tmp_path / "lora.safetensors")
    apply_lora = pack_module("nodes.host.lora.apply").apply_lora
    for mode in ("merge", "beside"):
        loaded = apply_lora(quick, str(tmp_path / "lora.safetensors"), mode=mode)[0]
        whole, half = sample(loaded, faces, 1), sample(put(loaded, face=0.5), faces, 1)
        other = apply_lora(put(quick, face=0.5), str(tmp_path / "lora.safetensors"), mode=mode)[0]
        assert torch.equal(sample(other, faces, 1), half)
        assert relative(half, sample(put(quick, face=0.5), faces, 1)) > 1e-3, "the LoRA acts"
        assert relative(half, whole) > 1e-3
        assert torch.equal(sample(put(loaded, face=0), faces, 1), sample(put(quick, face=0), faces, 1))


def test_the_later_node_counts_and_it_comes_off(put, quick, faces):
    plain = sample(quick, faces, 1)
    half = put(quick, 0.5, 0.5)
    both = put(put(quick, 0, (0.3, 0.2, 0.4)), 0.5, 0.5)
    assert torch.equal(sample(both, faces, 1), sample(half, faces, 1))
    off = put(both)
    assert not any(off.wrappers[kind] for kind in off.wrappers) and torch.equal(sample(off, faces, 1), plain)


def test_with_any_sampler_and_a_clip_without_face(put, quick, faces):
    """Samplers that ask for several noise levels a step; a pose alone."""
    import comfy.sample

    noise = torch.randn(1, 16, 3, steps.HEIGHT // 8, steps.WIDTH // 8, generator=torch.Generator().manual_seed(5))
    faceless = without(faces, "face_video_pixels")

    def made(model, sampler, conditioning):
        return comfy.sample.sample(
            model, noise, 3, 1.0, sampler, "simple", *conditioning, torch.zeros_like(noise), disable_pbar=True, seed=1
        )

    for sampler in ("heun", "uni_pc", "dpmpp_2m"):
        ours = made(put(quick, 2.0, 0), sampler, faces)
        assert torch.equal(ours, made(weighted(quick, 2.0), sampler, faceless)), sampler
        assert torch.equal(made(put(quick, 2.0), sampler, faceless), ours), sampler


@pytest.mark.parametrize("given, says", [
    ({"pose_strength": float("nan")}, "pose_strength is nan, but it must be 0 to 10: give 1 for as trained"),
    ({"face_strength": -0.5}, "face_strength is -0.5, but it must be 0 to 10"),
    ({"face_start_percent": 0.6, "face_end_percent": 0.4},
     "face_start_percent to face_end_percent is 0.6 to 0.4, but it must be a part of 0 to 1 that begins before it "
     "ends: give such a part, or set face_strength to 0 to switch it off."),
    ({"pose_start_percent": 0.5, "pose_end_percent": 0.5}, "pose_start_percent to pose_end_percent is 0.5 to 0.5"),
    ({"pose_end_percent": float("inf")}, "pose_start_percent to pose_end_percent is 0 to inf"),
])  # fmt: skip
def test_numbers_that_cannot_be(pack_nodes, quick, given, says):
    node = pack_nodes["WanAnimateKitStrength"]
    with pytest.raises(Exception) as raised:
        node.execute(quick, **{"pose_strength": 1.0, "face_strength": 1.0} | given)
    assert type(raised.value).__name__ == "InputError" and str(raised.value).startswith(says)
    percents = {
        f"{name}_{end}_percent": given.get(f"{name}_{end}_percent", default)
        for name in ("pose", "face")
        for end, default in (("start", 0.0), ("end", 1.0))
    }
    told = node.validate_inputs(**percents)
    if any("percent" in name for name in given):
        assert told == str(raised.value) or told.startswith("pose_end_percent is inf")
    else:
        assert told is True


def test_another_model_is_refused(put):
    with pytest.raises(Exception, match="this node needs Wan 2.2 Animate"):
        put(object())


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 8.0])
def test_the_embedded_backend_means_the_same_percents(comfy, pack_module, shift):
    import comfy.model_sampling

    theirs = comfy.model_sampling.ModelSamplingDiscreteFlow()
    theirs.set_parameters(shift=shift)
    flow_sigma = pack_module("wan_animate.chain.strength").flow_sigma
    for percent in (0.001, 0.1, 0.25, 0.5, 0.7, 0.999):
        assert flow_sigma(percent, shift) == theirs.percent_to_sigma(percent)
