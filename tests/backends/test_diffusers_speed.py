"""Faces encoded once a segment, blocks in host memory, measured attention: the same picture as diffusers' plain way."""

import json

import pytest
import torch

from wan_animate.backends import attention
from wan_animate.backends.attention import EXACT, choose_attention, measure
from wan_animate.backends.diffusers import load
from wan_animate.backends.face_features import FaceFeatures, fast_blur
from wan_animate.backends.placement import place, weight_bytes

from ..support import embedded

LENGTH, STEPS = 9, 3


@pytest.fixture(scope="module")
def folder(small_models):
    pytest.importorskip("diffusers")
    return small_models.root / "diffusers"


@pytest.fixture
def parts(folder):
    return load(folder, dtype=torch.float32)


def sample(parts, cfg=1.0, seed=0):
    return embedded.sample(parts, STEPS, embedded.segment(parts[0], length=LENGTH, seed=seed), cfg)


def counted(monkeypatch, module):
    calls, forward = [], module.forward

    def count(given, *args):
        calls.append(len(given))
        return forward(given, *args)

    monkeypatch.setattr(module, "forward", count)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_motion_encoder_gives_the_same_with_its_fast_blur(parts, dtype):
    encoder = parts[0].motion_encoder.to(dtype)
    size = parts[0].config.motion_encoder_size
    faces = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(dtype) * 2 - 1
    own = [module for module in encoder.modules() if "forward" in vars(module)]
    with torch.no_grad():
        expected = encoder(faces)
        with fast_blur(encoder):
            blurred = [module for module in encoder.modules() if "forward" in vars(module)]
            found = encoder(faces)
    assert len(blurred) >= 2 and all(module.blur for module in blurred)
    assert torch.equal(found, expected)
    assert own == [module for module in encoder.modules() if "forward" in vars(module)] == []


def test_a_blur_that_is_padded_unevenly_is_diffusers(parts, monkeypatch):
    conv = next(one for one in parts[0].motion_encoder.modules() if getattr(one, "blur", False))
    monkeypatch.setattr(conv, "blur_padding", (2, 1))
    maps = torch.randn(1, conv.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = conv(maps)
        with fast_blur(parts[0].motion_encoder):
            assert torch.equal(conv(maps), expected)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_faces_are_encoded_once_a_segment(parts, monkeypatch, cfg):
    calls = counted(monkeypatch, parts[0].motion_encoder)
    found = sample(parts, cfg)
    passes = 2 if cfg > 1 else 1
    assert sum(calls) == passes * LENGTH
    calls.clear()
    other = sample(parts, cfg, seed=5)
    assert sum(calls) == passes * LENGTH and not torch.equal(found, other)  # the next segment has its own

    class EveryStep(FaceFeatures):
        video = property(lambda self: self._video)

        def once(self):
            self._features = None
            return super().once()

    calls.clear()
    monkeypatch.setattr("wan_animate.backends.diffusers.face_features", EveryStep)
    assert torch.equal(found, sample(parts, cfg)) and sum(calls) == passes * STEPS * LENGTH


def test_blocks_in_host_memory_give_the_same_bits(folder, parts):
    offloaded = load(folder, dtype=torch.float32, offload="on")
    assert not place(parts[0], "cpu", 0) and torch.equal(sample(offloaded), sample(parts))
    assert weight_bytes(parts[0]) >= sum(one.nbytes for one in parts[0].state_dict().values())


def test_the_fastest_that_agrees_is_taken_and_kept(parts, tmp_path, monkeypatch):
    kept, transformer = tmp_path / "cache" / "attention.json", parts[0]
    before = sample(parts)
    tried = []

    def told(tokens, heads, width, device, dtype, names):
        tried.append((tokens, heads, width, dtype))
        return {"native": 3.0, "_native_flash": 2.0}

    monkeypatch.setattr(attention, "measure", told)
    assert choose_attention(transformer, 64, kept) == "_native_flash"
    assert tried == [(64, 2, 128, torch.float32)]
    assert {block.attn1.processor._attention_backend for block in transformer.blocks} == {"_native_flash"}
    assert {block.attn2.processor._attention_backend for block in transformer.blocks} == {None}
    assert (sample(parts) - before).abs().max() < 1e-4
    assert choose_attention(transformer, 64, kept) == "_native_flash" and len(tried) == 1  # as it was kept
    (key,) = json.loads(kept.read_text())
    kept.write_text(json.dumps({key: "made up"}))
    monkeypatch.setattr(attention, "measure", lambda *_: {"native": 2.0, "_native_flash": 1.95})
    assert choose_attention(transformer, 64, kept) == "native"  # too little gained
    kept.write_text("[" * 100_000)
    assert choose_attention(transformer, 64, kept) == "native"


def test_what_does_not_run_here_or_is_wrong_is_left_out(monkeypatch):
    pytest.importorskip("diffusers")
    took = measure(64, 2, 16, torch.device("cpu"), torch.float32)
    assert "native" in took and set(took) <= set(EXACT) and "_native_cudnn" not in took
    attend = attention.attend
    monkeypatch.setattr(attention, "attend", lambda *given: attend(*given) * (1 if given[3] == "native" else 2))
    assert set(measure(64, 2, 16, torch.device("cpu"), torch.float32)) == {"native"}
