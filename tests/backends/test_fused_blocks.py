"""diffusers' blocks by our kernels: the same numbers, everything around them untouched, and a way back."""

import copy
import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
from wan_animate.backends import fused_blocks  # noqa: E402
from wan_animate.backends.diffusers import load  # noqa: E402
from wan_animate.backends.fused_blocks import SelfAttention, fuse, unfuse  # noqa: E402
from wan_animate.backends.lora import add_lora  # noqa: E402
from wan_animate.kernels import fused  # noqa: E402

from ..support.embedded import lora_file, sample, segment  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
STEPS, TOKENS = 2, 12
WITH_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is missing: PyTorch brings it on Linux"
)


@pytest.fixture
def parts(small_models):
    return load(small_models.diffusers, dtype=torch.float32)


@pytest.fixture
def forced(monkeypatch):
    """The fused way on this device, by PyTorch's operations; the calls."""
    calls, rows, rope = [], fused.norm_modulate_quantize, fused.rms_rope
    monkeypatch.setattr(fused, "works_on", lambda x: True)
    monkeypatch.setattr(fused, "norm_modulate_quantize", lambda *a, **k: calls.append("rows") or rows(*a, **k))
    monkeypatch.setattr(fused, "rms_rope", lambda *a, **k: calls.append("rope") or rope(*a, **k))
    return calls


def block_and_inputs(dtype, batch=1):
    """A block with weights in two dtypes, as published, and what a forward gives it."""
    from diffusers.models.transformers.transformer_wan_animate import WanRotaryPosEmbed, WanTransformerBlock

    torch.manual_seed(0)
    block = WanTransformerBlock(64, 96, 4, cross_attn_norm=True, added_kv_proj_dim=64).eval()
    for name, weight in block.named_parameters():
        if name.split(".")[0] not in ("norm2", "scale_shift_table"):
            weight.data = (weight.data + 0.1 * torch.randn_like(weight)).to(dtype)
    rope = WanRotaryPosEmbed(16, (1, 2, 2), 64)(torch.zeros(1, 36, 3, 4, 4))
    return block, (
        torch.randn(batch, TOKENS, 64).to(dtype), torch.randn(batch, 512 + 5, 64).to(dtype),
        torch.randn(batch, 6, 64).to(dtype), rope,
    )  # fmt: skip


class OneBlock(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.blocks = torch.nn.ModuleList([block])


@pytest.mark.parametrize("dtype, batch", [(torch.float32, 1), (torch.bfloat16, 1), (torch.float16, 2)])
@torch.no_grad()
def test_by_pytorchs_operations_it_is_diffusers_block_bit_for_bit(forced, dtype, batch):
    block, given = block_and_inputs(dtype, batch)
    plain = block(*given)
    names = [name for name, _ in block.named_modules()], list(block.state_dict())
    model = OneBlock(block)
    assert fuse(model) == 1 == fuse(model), "twice is once"
    assert torch.equal(block(*given), plain)
    assert forced.count("rows") == 2 * 4 and forced.count("rope") == 2 * 2 + 1, "the block, and the check before it"
    assert ([name for name, _ in block.named_modules()], list(block.state_dict())) == names
    forced.clear()
    unfuse(model)
    assert torch.equal(block(*given), plain) and not forced and "forward" not in vars(block)


@torch.no_grad()
def test_without_a_card_diffusers_own_code_runs(parts, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a fused operation ran")

    assert all(isinstance(block.attn1.processor, SelfAttention) for block in parts[0].blocks)
    found = sample(parts, STEPS)
    monkeypatch.setattr(fused, "norm_modulate_quantize", never)
    monkeypatch.setattr(fused, "rms_rope", never)
    assert torch.equal(sample(parts, STEPS), found)
    unfuse(parts[0])
    assert torch.equal(sample(parts, STEPS), found)


def test_gradients_and_a_copy(forced):
    block, given = block_and_inputs(torch.float32)
    plain = block(*given)
    model = OneBlock(block)
    fuse(model)
    out = block(*given)
    assert torch.equal(out, plain) and not forced
    out.sum().backward()
    assert block.attn1.to_q.weight.grad is not None
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[0].ffn.net[2].bias += 1
        assert (other.blocks[0](*given) - block(*given)).abs().max() > 0.1 and forced
        assert torch.equal(block(*given), plain)


def test_a_whole_sampling_with_lora_and_offload(small_models, parts, forced, tmp_path):
    """Beneath the hooks of the offload, beside those of the LoRA."""
    path = lora_file(parts[0], tmp_path)
    offloaded = load(small_models.diffusers, dtype=torch.float32, offload="on")
    for given in (parts, offloaded):
        add_lora(given[0], path)
    found = sample(offloaded, STEPS, cfg=2.0)
    blocks = len(parts[0].blocks)
    assert forced.count("rows") == 4 * (2 * STEPS * blocks + 1)
    assert forced.count("rope") == 2 * (2 * STEPS * blocks + 1) + 1
    unfuse(parts[0])
    assert torch.equal(found, sample(parts, STEPS, cfg=2.0))
    forced.clear()
    unfuse(offloaded[0])
    assert torch.equal(found, sample(offloaded, STEPS, cfg=2.0)) and not forced
    assert fuse(offloaded[0]) == blocks and torch.equal(found, sample(offloaded, STEPS, cfg=2.0)) and forced


def test_peft_layers_are_called(parts, forced):
    peft = pytest.importorskip("peft")
    plain = sample(parts, STEPS)
    config = peft.LoraConfig(r=4, target_modules=["to_q", "net.2"], init_lora_weights=False)
    torch.manual_seed(0)
    parts[0].add_adapter(config)
    parts[0].requires_grad_(False)
    forced.clear()
    found = sample(parts, STEPS)
    assert forced and (found - plain).abs().max() > 1e-3
    unfuse(parts[0])
    assert torch.equal(found, sample(parts, STEPS))


def test_the_backend_and_hooked_norms_are_kept(parts, forced):
    block = parts[0].blocks[0]
    block.attn1.set_attention_backend("_native_flash")
    assert block.attn1.processor.plain._attention_backend == "_native_flash"
    seen = []
    handles = [
        norm.register_forward_hook(lambda *_: seen.append(1)) for norm in (block.norm3, parts[0].blocks[1].attn1.norm_q)
    ]
    block.attn1.set_attention_backend("native")
    found = sample(parts, STEPS)
    assert len(seen) >= 2 * STEPS and forced
    for handle in handles:
        handle.remove()
    assert torch.equal(found, sample(parts, STEPS))


@pytest.mark.parametrize("wrong", ["differs", "no numbers", "raises"])
def test_what_does_not_agree_is_left_with_a_sentence(parts, forced, monkeypatch, caplog, wrong):
    unfuse(parts[0])
    plain = sample(parts, STEPS)
    fuse(parts[0])
    rope = fused.rms_rope

    def broken(*given):
        if wrong == "raises":
            raise TypeError("another signature")
        return rope(*given) * (float("nan") if wrong == "no numbers" else 1.5)

    monkeypatch.setattr(fused, "rms_rope", broken)
    assert torch.equal(sample(parts, STEPS), plain)
    assert caplog.text.count("Fused blocks do not work here (") == 1
    assert caplog.text.count("): diffusers' own are used.") == 1
    assert ("another signature" in caplog.text) == (wrong == "raises")


@torch.no_grad()
def test_on_several_cards_each_checks_its_own_tokens(forced, monkeypatch):
    block, given = block_and_inputs(torch.float32)
    assert fuse(OneBlock(block)) == 1
    processor, cards = block.attn1.processor, object()  # diffusers' attention cannot be called with it
    processor._parallel_config = cards
    assert fused_blocks._agrees(block, *given) and forced
    rope = fused.rms_rope
    monkeypatch.setattr(fused, "rms_rope", lambda *asked: rope(*asked) * 1.5)
    processor.shared.agrees = None
    assert not fused_blocks._agrees(block, *given) and processor._parallel_config is cards


def test_a_kernel_that_fails_is_replaced_by_pytorchs_operations(parts, monkeypatch, caplog):
    """As on a card whose Triton cannot build it."""
    unfuse(parts[0])
    plain = sample(parts, STEPS)
    fuse(parts[0])
    tried = []

    class Broken:
        KINDS = {torch.float32: None}

        @staticmethod
        def rms_rope(*_):
            tried.append(1)
            raise RuntimeError("ptxas is missing")

        norm_modulate_quantize = rms_rope

    def kernel(name, x):
        return None if name in fused._failed else getattr(Broken, name)

    monkeypatch.setattr(fused, "_kernel", kernel)
    monkeypatch.setattr(fused, "_failed", set())
    assert torch.equal(sample(parts, STEPS), plain) and len(tried) == 2
    assert caplog.text.count("does not work here, PyTorch's own are used: ptxas is missing") == 2


def test_blocks_of_others_stay_as_they_are(parts):
    first, second = parts[0].blocks[:2]
    unfuse(parts[0])
    theirs = first.forward
    first.forward = lambda *given: theirs(*given)

    class Other:
        _attention_backend = _parallel_config = None

    second.attn1.set_processor(Other())
    assert fuse(parts[0]) == len(parts[0].blocks) - 2
    assert not isinstance(first.attn1.processor, SelfAttention) and "forward" not in vars(second)


def test_another_diffusers_is_left_alone(parts, monkeypatch, caplog):
    from diffusers.models.transformers import transformer_wan_animate

    unfuse(parts[0])
    monkeypatch.delattr(transformer_wan_animate, "WanAttnProcessor")
    with caplog.at_level(logging.INFO):
        assert fuse(parts[0]) == 0
    assert "Blocks of this diffusers cannot be fused: " in caplog.text
    assert not any("forward" in vars(block) for block in parts[0].blocks)


def test_the_kernels_of_its_dtypes_are_compiled_ahead(small_models, monkeypatch):
    asked = []
    monkeypatch.setattr(fused, "prepare", lambda *given: asked.append(given))
    transformer = load(small_models.diffusers, dtype=torch.bfloat16)[0]
    assert asked == [(torch.device("cpu"), torch.bfloat16, 256, 2, torch.float32)]
    assert transformer.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    unfuse(transformer)
    fused_blocks.prepare(transformer)
    assert len(asked) == 1


@WITH_TRITON
def test_the_kernels_compute_the_block():
    """In Triton's interpreter, against diffusers' own, in float32 and float16."""
    script = ROOT / "tests" / "support" / "block_on_cpu.py"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, str(script), str(ROOT)], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert set(found) == {"torch.float32", "torch.float16"}
    assert 0 < found["torch.float32"] < 1e-6 and found["torch.float16"] < 1e-3


@WITH_TRITON
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card: run it on one")
def test_on_the_card(small_models):
    parts = load(small_models.diffusers, dtype=torch.bfloat16, device="cuda")
    given = segment(parts[0], size=128, length=13)
    found = sample(parts, STEPS, given)
    shared = {id(block.attn1.processor.shared): block.attn1.processor.shared for block in parts[0].blocks}
    assert [one.agrees for one in shared.values()] == [True] and not fused._failed
    unfuse(parts[0])
    plain = sample(parts, STEPS, given)
    assert 0 < (found - plain).norm() < 0.02 * plain.norm()
    assert fused_blocks.ERROR > 0.02
