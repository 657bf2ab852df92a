"""The attention kernel for Hopper cards: what it refuses, how it compiles, and on such a card what it computes."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wan_animate.kernels import gluon_attention

ROOT = Path(__file__).resolve().parents[2]
HOPPER = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
WITH_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is missing: PyTorch brings it on Linux"
)


@pytest.fixture
def gluon():
    gluon_attention._kernel.cache_clear()
    yield gluon_attention
    gluon_attention._kernel.cache_clear()


@WITH_TRITON
def test_it_compiles_without_a_card_and_nothing_is_spilled(tmp_path):
    """Kernels of 16 warps (3 groups of 4, one that copies, 3 idle), multiplied without waits between products."""
    script = ROOT / "tests" / "support" / "kernels_without_card.py"
    ran = subprocess.run(
        [sys.executable, str(script), str(ROOT), "attention"],
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert set(found) == {"torch.float16", "torch.bfloat16"}
    for dtype, compiled in found.items():
        assert len(compiled) == 1
        one = compiled[0]
        assert one["warps"] == 16 and one["registers"] * 16 * 32 <= 65536 and one["shared"] <= 227 * 1024
        assert one["stack"] == one["spilled"] == 0, dtype
        # 3 groups, 2 ways, the first scores, both products of the loop and the last outputs: 8 each
        assert one["products"] == 3 * 2 * 4 * 8 and one["waits for them"] == 3 * 2 * 4, dtype
        assert one["bf16 products"] == (one["products"] if dtype == "torch.bfloat16" else 0)


@WITH_TRITON
def test_what_is_refused_is_what_the_kernel_is_not_for(gluon):
    width = gluon._kernel().WIDTH.value
    gluon.check(*qkv(width=width), 2)
    for other in (width // 2, width + 16, 2 * width):
        with pytest.raises(ValueError, match=f"heads are {other} wide, but the kernel is for {width}"):
            gluon.check(*qkv(width=other), 2)


@WITH_TRITON
def test_the_kernels_tiles_fit_into_its_registers(gluon):
    kernel = gluon._kernel()
    assert kernel.ACCUMULATORS.value == kernel.ROWS.value * kernel.KEYS.value // 128
    assert kernel.ACCUMULATORS.value == kernel.ROWS.value * kernel.WIDTH.value // 128
    assert kernel.GROUPS.value * 128 * kernel.CONSUMER.value + 128 * kernel.PRODUCER.value <= 65536


@WITH_TRITON
def test_another_card_or_another_triton_is_named(gluon, monkeypatch):
    import triton

    card = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L40S")
    assert gluon.missing(card).endswith("but this is NVIDIA L40S")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(triton, "__version__", "3.7.1")
    assert gluon.missing(card).endswith("Triton is 3.7.1, but 3.6.x is needed")
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert triton.__version__.startswith(gluon.TRITON) == (gluon.missing(card) is None)


def qkv(batch=1, tokens=10, heads=2, keys=None, dtype=torch.float16, device="cpu", width=128):
    generator = torch.Generator(device).manual_seed(0)
    return [
        torch.randn(batch, count, heads * width, generator=generator, device=device).to(dtype)
        for count in (tokens, keys or tokens, keys or tokens)
    ]


def test_what_it_cannot_do_is_said(gluon):
    q, k, v = qkv()
    for given, heads, said in (
        ((q, k, v), 4, "heads are 64 wide, but the kernel is for 128"),
        (
            (q.float(), k.float(), v.float()),
            2,
            "torch.float32 and torch.float32, not all float16 or all",
        ),
        ((q, k, v.bfloat16()), 2, "torch.float16, torch.float16 and torch.bfloat16"),
        ((q, k, v[:, :9]), 2, r"\[1, 9, 256\]\], not \[batch, tokens, channels\]"),
        ((q.expand(2, -1, -1), k, v), 2, r"\[2, 10, 256\], \[1, 10, 256\]"),
        ((q[0], k[0], v[0]), 2, "not"),
        ((q, k[:, :0], v[:, :0]), 2, "10 queries and 0 keys"),
        ((q, k.to("meta"), v), 2, "on cpu, meta and cpu"),
        ((q.clone().requires_grad_(), k, v), 2, "no gradients"),
    ):
        with pytest.raises(ValueError, match=said):
            gluon.attend(*given, heads)
    with pytest.raises(ValueError, match="needs a Hopper card"):
        gluon.attend(q, k, v, 2)


def test_only_what_tma_cannot_read_is_copied(gluon):
    together = torch.randn(1, 10, 3 * 256).half()
    for part in (*together.split(256, -1), together[:, ::2, :256], together[..., 8:264]):
        assert gluon.aligned(part) is part
    odd = torch.randn(1, 10, 767).half()[..., :512]
    for part in (together[..., 4:260], together[..., ::3], together[:, :1].expand(1, 10, 768), odd):
        copied = gluon.aligned(part)
        assert copied is not part and torch.equal(copied, part)
        assert gluon.aligned(copied) is copied


SHAPES = ((1, 1, 1, 1), (2, 193, 3, 193), (1, 128, 2, 77), (1, 1000, 5, 2049), (2, 513, 40, 513))


def in_float32(q, k, v, heads):
    q, k, v = (part.float().unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return ((q @ k.mT * 128**-0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


def off(found, expected):
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.skipif(not HOPPER, reason="no Hopper card: run it on an H100 or H200")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_on_the_card_it_is_right(gluon, dtype):
    largest = {torch.float16: 4e-4, torch.bfloat16: 3e-3}[dtype]
    for batch, tokens, heads, keys in SHAPES:
        given = qkv(batch, tokens, heads, keys, dtype, "cuda")
        out = gluon.attend(*given, heads)
        assert out.dtype == dtype and out.is_contiguous()
        assert off(out, in_float32(*given, heads)) < largest, (batch, tokens, heads, keys)
        assert torch.equal(out, gluon.attend(*given, heads)), "the same bits every time"
    together = torch.cat(qkv(2, 300, 4, 300, dtype, "cuda"), -1)
    assert off(gluon.attend(*together.split(512, -1), 4), in_float32(*together.split(512, -1), 4)) < largest


@pytest.mark.skipif(not HOPPER, reason="no Hopper card: run it on an H100 or H200")
def test_scores_may_grow_without_end(gluon):
    """The last tile comes first: its keys are small, what follows moves the references, or overflows them."""
    q, k, v = qkv(1, 1999, 4, device="cuda")
    k[:, 1600:] *= 0.01
    one_head = k.clone()
    one_head[..., 128:] *= 0.001
    for queries, keys in ((q * 4, k * 4), (q * 16, k * 4), (q * 16, one_head * 4)):
        assert off(gluon.attend(queries, keys, v, 4), in_float32(queries, keys, v, 4)) < 4e-4
    q[0, 5, 0], v[0, 7, 200] = float("nan"), float("nan")
    out = gluon.attend(q, k, v, 4)
    assert out[0, 5, :128].isnan().all() and out[..., 200].isnan().all() and out.isnan().sum() == 128 + 1999
