"""Pose and face strength: in which steps they act, and in diffusers' transformer."""

import copy

import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser, load
from wan_animate.chain.ports import SegmentConditioning
from wan_animate.chain.segments import Segment
from wan_animate.chain.strength import Strength, flow_sigma
from wan_animate.errors import InputError

from ..support.forwards import counted

STEPS, SHIFT = 4, 5.0


@pytest.fixture(scope="module")
def parts(small_models):
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    transformer, _, scheduler = load(small_models.diffusers, shift=SHIFT, dtype=torch.float32)
    return transformer, scheduler


@pytest.fixture(scope="module")
def denoise(parts):
    """The latent of one segment with strengths: a value, or (value, start, end)."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    size = parts[0].config.motion_encoder_size
    latent = random(1, 16, 3, 6, 8)
    conditioning = SegmentConditioning(
        Segment(0, 0, 5, 0, 5), latent, torch.ones(1, 4, *latent.shape[2:]), random(1, 16, 2, 6, 8),
        random(1, 3, 5, size, size).clamp(-1, 1),
    )  # fmt: skip
    prompt, negative, noise = random(1, 8, 4096) * 0.1, random(1, 8, 4096) * 0.1, random(*latent.shape)

    def denoise(pose=1.0, face=1.0, cfg=1.0, transformer=parts[0], on_step=lambda *_: None):
        given = [Strength(*one) if isinstance(one, tuple) else Strength(one) for one in (pose, face)]
        denoiser = DiffusersDenoiser(transformer, parts[1], prompt, negative, None, STEPS, cfg, *given)
        return denoiser.denoise(conditioning, noise, on_step)

    return denoise


@pytest.fixture(scope="module")
def plain(denoise):
    return denoise()


def weighted(transformer, pose=1.0, face=1.0):
    """A copy whose pose embedding and last layers of the face blocks are multiplied."""
    made = copy.deepcopy(transformer)
    with torch.no_grad():
        for layer, factor in ((made.pose_patch_embedding, pose), *((one.to_out, face) for one in made.face_adapter)):
            layer.weight *= factor
            layer.bias *= factor
    return made


def own_attributes(transformer):
    return {name: set(vars(part)) for name, part in transformer.named_modules()}


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_one_is_the_same_and_others_are_those_of_the_weights(parts, denoise, plain, cfg):
    """Bit for bit: 0 and powers of two round nothing."""
    before = own_attributes(parts[0])
    theirs = plain if cfg == 1 else denoise(cfg=cfg)
    assert torch.equal(denoise((1, 0, 0.999), (1, 0, 0.999), cfg), theirs), "on, in every step"
    for strengths in ({"pose": 0.5}, {"face": 0.5}, {"pose": 2.0, "face": 0.25}, {"pose": 0.0}, {"face": 0.0}):
        expected = denoise(cfg=cfg, transformer=weighted(parts[0], **strengths))
        assert torch.equal(denoise(**strengths, cfg=cfg), expected), strengths
        assert not torch.equal(expected, theirs)
    assert own_attributes(parts[0]) == before and torch.equal(denoise(cfg=cfg), theirs)


def test_what_is_off_is_not_computed(parts, denoise, monkeypatch):
    parts_of_the_face = {
        "motion": parts[0].motion_encoder.conv_in, "encoder": parts[0].face_encoder.conv1_local,
        "block": parts[0].face_adapter[0].to_q,
    }  # fmt: skip
    pose = parts[0].pose_patch_embedding
    convolve = pose._conv_forward
    with counted(parts_of_the_face) as found:

        def convolved(*given):
            found.calls["pose"] += 1
            return convolve(*given)

        monkeypatch.setattr(pose, "_conv_forward", convolved)
        denoise(face=0, on_step=found.step)
        denoise(pose=0, face=(0.5, 0.0, 0.5), on_step=found.step)
        denoise(pose=(1.0, 0.5, 1.0), face=0, on_step=found.step)
    steps = [set(calls) for calls in found.steps]
    face = {"motion", "encoder", "block"}
    assert steps[:4] == [{"pose"}] * 4
    assert flow_sigma(0.5, SHIFT) == pytest.approx(5 / 6)
    assert [round(float(sigma), 4) for sigma in parts[1].sigmas[:STEPS]] == [1.0, 0.9376, 0.8336, 0.6259]
    assert steps[4:8] == [face, {"block"}, {"block"}, set()]  # faces are encoded once
    assert steps[8:] == [set(), set(), set(), {"pose"}]


def test_half_of_it_lies_between(denoise, plain):
    for name in ("pose", "face"):
        off, half = denoise(**{name: 0.0}), denoise(**{name: 0.5})
        assert 0 < (half - plain).norm() < (off - plain).norm()


@pytest.mark.parametrize("start, end, sigma, expected", [
    (0.0, 1.0, 1.0, True), (0.0, 1.0, 0.0, True), (0.0, 1.0, 1.5, True),
    (0.5, 1.0, 0.9, False), (0.5, 1.0, 0.5, True), (0.5, 1.0, 0.1, True),
    (0.0, 0.5, 0.9, True), (0.0, 0.5, 0.5, True), (0.0, 0.5, 0.4, False),
    (0.2, 0.4, 0.7, True), (0.2, 0.4, 0.85, False), (0.2, 0.4, 0.55, False),
])  # fmt: skip
def test_where_it_acts(start, end, sigma, expected):
    """Both ends count."""
    found = Strength(1.0, start, end).acts(torch.tensor(sigma), lambda fraction: flow_sigma(fraction, 1.0))
    assert found is expected
    assert not Strength(0.0, start, end).acts(torch.tensor(sigma), lambda fraction: flow_sigma(fraction, 1.0))


def test_numbers_that_cannot_be(parts):
    with pytest.raises(InputError, match="the pose strength is nan, but it must be 0 to 10"):
        DiffusersDenoiser(*parts, torch.zeros(1, 5, 4096), pose_strength=Strength(float("nan")))
    with pytest.raises(InputError, match="its part of the sampling is 0.5 to 0.2, but it must be a part of 0 to 1"):
        DiffusersDenoiser(*parts, torch.zeros(1, 5, 4096), face_strength=Strength(1.0, 0.5, 0.2))
