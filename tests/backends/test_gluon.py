"""Our attention kernel among diffusers' backends: chosen, left and failing, beside LoRAs, offload and several cards."""

import importlib.util
import json
import logging

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
from wan_animate.backends import attention, gluon  # noqa: E402
from wan_animate.backends.attention import choose_attention, measure, set_attention  # noqa: E402
from wan_animate.backends.diffusers import load  # noqa: E402
from wan_animate.backends.lora import add_lora  # noqa: E402
from wan_animate.kernels import gluon_attention  # noqa: E402

from ..support.embedded import lora_file, sample, segment  # noqa: E402

HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
ON_A_CARD = pytest.mark.skipif(not HOPPER, reason="no Hopper card: run it on an H100 or H200")
WITH_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is missing: PyTorch brings it on Linux"
)
STEPS = 2


@pytest.fixture
def parts(small_models):
    return load(small_models.diffusers, dtype=torch.float32)


@pytest.fixture
def kernel(monkeypatch):
    """What the kernel computes, by PyTorch, in its order: the calls by shape."""
    calls = []

    def attend(q, k, v, heads):
        calls.append((tuple(q.shape), heads))
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        return ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)

    monkeypatch.setattr(gluon_attention, "attend", attend)
    monkeypatch.setattr(gluon, "_failed", set())
    return calls


def backends(transformer):
    return {str(block.attn1.processor._attention_backend.value) for block in transformer.blocks}


def test_it_is_taken_kept_and_left_again(parts, kernel, tmp_path, monkeypatch):
    transformer, kept = parts[0], tmp_path / "attention.json"
    before = sample(parts, STEPS)
    monkeypatch.setattr(attention, "measure", lambda *_: {"native": 3.0, "_native_flash": 2.9, "gluon": 2.0})
    assert choose_attention(transformer, 64, kept) == "gluon" and backends(transformer) == {"gluon"}
    assert list(json.loads(kept.read_text()).values()) == ["gluon"]
    with_kernel = sample(parts, STEPS)
    assert {heads for _, heads in kernel} == {2} and len(kernel) == len(transformer.blocks) * STEPS
    assert 0 < (with_kernel - before).abs().max() < 1e-4
    set_attention(transformer, "native")
    kernel.clear()
    assert torch.equal(sample(parts, STEPS), before) and not kernel
    monkeypatch.setattr(attention, "measure", lambda *_: {"native": 1.0})
    assert choose_attention(transformer, 64, kept) == "gluon", "a resumed job goes on with what it began with"


def test_a_kept_choice_that_does_not_run_here_is_made_anew(parts, kernel, tmp_path, monkeypatch):
    kept = tmp_path / "attention.json"
    monkeypatch.setattr(attention, "measure", lambda *_: {"native": 3.0, "gluon": 2.0})
    assert choose_attention(parts[0], 64, kept) == "gluon"
    monkeypatch.undo()
    assert HOPPER or choose_attention(parts[0], 64, kept) != "gluon"


def test_with_a_lora_and_blocks_in_host_memory(small_models, parts, kernel, tmp_path):
    offloaded, path = load(small_models.diffusers, dtype=torch.float32, offload="on"), lora_file(parts[0], tmp_path)
    plain = sample(parts, STEPS)
    for given in (parts, offloaded):
        add_lora(given[0], path)
        set_attention(given[0], "gluon")
    found = sample(offloaded, STEPS)
    assert torch.equal(found, sample(parts, STEPS)) and len(kernel) == 2 * STEPS * len(parts[0].blocks)
    assert (found - plain).abs().max() > 1e-3
    kernel.clear()
    for given in (parts, offloaded):
        set_attention(given[0], "native")
    assert torch.equal(sample(offloaded, STEPS), sample(parts, STEPS)) and not kernel


def test_a_kernel_that_fails_is_left_with_a_sentence(parts, kernel, monkeypatch, caplog):
    before = sample(parts, STEPS)
    set_attention(parts[0], "gluon")
    attempts = []

    def fails(*_):
        attempts.append(1)
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(gluon_attention, "attend", fails)
    assert torch.equal(sample(parts, STEPS), before) and len(attempts) == 1
    said = "The attention kernel gluon does not work here, PyTorch's is taken: no such instruction"
    assert caplog.text.count(said) == 1

    def full(*_):
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(gluon, "_failed", set())
    monkeypatch.setattr(gluon_attention, "attend", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        sample(parts, STEPS)


def test_what_the_kernel_is_not_for_is_pytorchs(kernel):
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    gluon.register()
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 12, 2, 16, generator=draw) for _ in range(3))
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    for more in ({"attn_mask": mask}, {"is_causal": True}):
        found = dispatch_attention_fn(q, k, v, backend="gluon", **more)
        expected = F.scaled_dot_product_attention(*(part.transpose(1, 2) for part in (q, k, v)), is_causal=True)
        assert torch.allclose(found, expected.transpose(1, 2), atol=1e-6) and not kernel
    assert torch.allclose(dispatch_attention_fn(q, k, v, backend="gluon"), dispatch_attention_fn(q, k, v), atol=1e-6)
    assert kernel == [((1, 12, 32), 2)]


def test_wrong_or_no_numbers_are_not_taken(kernel, monkeypatch):
    given = (64, 2, 16, torch.device("cpu"), torch.float32)
    assert "gluon" in measure(*given)
    right = gluon_attention.attend
    for wrong in (lambda *some: right(*some) * 1.1, lambda *some: right(*some) * float("nan")):
        monkeypatch.setattr(gluon_attention, "attend", wrong)
        assert "gluon" not in measure(*given) and "native" in measure(*given)


def test_without_a_hopper_card_it_is_not_tried_in_vain(caplog):
    with caplog.at_level(logging.DEBUG):
        assert "gluon" not in measure(64, 2, 128, torch.device("cpu"), torch.bfloat16)
    assert "Attention backend gluon is out: attention in Gluon needs a Hopper card (H100, H200)" in caplog.text


def test_on_several_cards_only_what_can_be_split_is_tried(parts, kernel, monkeypatch):
    from wan_animate.backends.several import EXCHANGING

    tried = []
    monkeypatch.setattr(attention, "measure", lambda *given: tried.append(given[5]) or {"native": 1.0})
    assert choose_attention(parts[0], 64, names=EXCHANGING) == "native"
    assert tried == [EXCHANGING] and "gluon" not in EXCHANGING and "native" in EXCHANGING


@WITH_TRITON
@ON_A_CARD
def test_on_the_card_it_is_among_those_that_agree(small_models):
    took = measure(4096, 2, 128, torch.device("cuda"), torch.bfloat16)
    assert {"native", "gluon"} <= set(took)
    parts = load(small_models.diffusers, dtype=torch.bfloat16, device="cuda")
    given = segment(parts[0], size=128, length=13)
    before = sample(parts, STEPS, given)
    set_attention(parts[0], "gluon")
    found = sample(parts, STEPS, given)
    assert not gluon._failed
    assert 0 < (found - before).norm() < 0.05 * before.norm()
