"""Pose and Face Strength on the host's own sampler."""

import time

import pytest
import torch

from ..support import steps
from ..support.steps import relative, sample

EIGHT = 8  # steps, where it matters which


@pytest.fixture(scope="module")
def kit(pack_module):
    return pack_module("nodes.host.strength")


@pytest.fixture(scope="module")
def put(kit, pack_module):
    """A MODEL with strengths: the value, or (value, start, end)."""
    strength = pack_module("wan_animate.chain.strength").Strength

    def put(model, pose=1.0, face=1.0):
        given = (one if isinstance(one, tuple) else (one,) for one in (pose, face))
        return kit.with_strength(model, *(strength(*one) for one in given))

    return put


@pytest.fixture(scope="module")
def faces():
    return steps.conditioning()


@pytest.fixture(scope="module")
def with_faces(model, faces):
    """What the host samples by itself, with a face."""
    return sample(model, faces)


def without(conditioning, *names):
    """The same conditioning without some of its values."""
    return [
        [[text, {name: one for name, one in values.items() if name not in names}]] for ((text, values),) in conditioning
    ]


def weighted(model, pose=1.0, face=1.0):
    """The same by the host's own weight patches: the pose embedding and the face blocks' output layers multiplied."""
    clone = model.clone()
    for factor, layers in (
        (pose, ["pose_patch_embedding"]),
        (face, ["face_adapter.fuser_blocks.0.linear2"]),
    ):
        names = [f"diffusion_model.{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        own = {name: (torch.zeros_like(clone.model.state_dict()[name]),) for name in names}
        assert set(clone.add_patches(own, 1.0, factor)) == set(names)
    return clone


def modules_as_they_were(model):
    return {name: set(vars(part)) for name, part in model.model.named_modules()}


def counted(model):
    """(calls by name, handles) of what face and pose cost."""
    module, calls, handles = model.model.diffusion_model, {}, []
    parts = {
        "pose": module.pose_patch_embedding, "encoder": module.face_encoder,
        "motion": module.motion_encoder.enc.fc[0], "block": module.face_adapter.fuser_blocks[0],
    }  # fmt: skip
    for name, part in parts.items():
        calls[name] = 0

        def called(*_, name=name):
            calls[name] += 1

        handles.append(part.register_forward_pre_hook(called))
    return calls, handles


def test_one_is_the_same_bit_for_bit(put, model, faces, with_faces):
    clone = put(model)
    assert not any(clone.wrappers[kind] for kind in clone.wrappers), "nothing is put on"
    assert torch.equal(sample(clone, faces), with_faces)
    # the patch is on, but acts in no step
    assert torch.equal(sample(put(model, (1, 0, 0.999), (1, 0, 0.999)), faces), with_faces)


@pytest.mark.parametrize(
    "strengths, dropped",
    [
        ({"face": 0}, ["face_video_pixels"]),
        ({"pose": 0}, ["pose_video_latent"]),
        ({"pose": 0, "face": 0}, ["face_video_pixels", "pose_video_latent"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_zero_is_the_host_without_that_input(put, model, faces, strengths, dropped, cfg):
    theirs = sample(model, without(faces, *dropped), cfg=cfg)
    assert torch.equal(sample(put(model, **strengths), faces, cfg=cfg), theirs)


def test_zero_computes_nothing_and_takes_less_time(put, model, faces):
    seconds = {}
    for name, made in (("plain", model), ("off", put(model, 0, 0))):
        calls, handles = counted(model)
        start = time.perf_counter()
        sample(made, faces, 1)
        seconds[name] = time.perf_counter() - start
        for handle in handles:
            handle.remove()
        assert set(calls.values()) == ({1} if name == "plain" else {0}), calls
    assert seconds["off"] < 0.7 * seconds["plain"], seconds  # the encoder is most of a step here


@pytest.mark.parametrize("strengths", [{"face": 0.5}, {"pose": 0.5}, {"pose": 2.0, "face": 0.5}], ids=str)
def test_a_factor_is_that_of_the_hosts_weights(put, model, faces, with_faces, strengths):
    """Powers of two, which round nothing: the same bits."""
    before = modules_as_they_were(model)
    theirs = sample(weighted(model, **strengths), faces)
    ours = sample(put(model, **strengths), faces)
    assert torch.equal(ours, theirs) and not torch.equal(ours, with_faces)
    assert modules_as_they_were(model) == before
    assert torch.equal(sample(model, faces), with_faces)
