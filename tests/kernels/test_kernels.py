"""The Triton kernels against PyTorch, in Triton's interpreter."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from wan_animate.kernels import blur, triton_modules

ROOT = Path(__file__).resolve().parents[2]
WITH_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is missing: PyTorch brings it on Linux"
)
LARGEST = {"fp8": 0.07, "half": 1e-3}  # by what a name ends or begins with


@WITH_TRITON
def test_kernels_compute_what_pytorch_does():
    script = ROOT / "tests" / "support" / "kernels_on_cpu.py"
    ran = subprocess.run(
        [sys.executable, str(script), str(ROOT)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert len(found) == 24
    for name, error in found.items():
        first, last = name.split()[0], name.split()[-1]
        assert error < LARGEST.get(last, LARGEST.get(first, 1e-6)), name


VAE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from wan_animate.kernels import triton_vae as ours, vae as plain
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
random = lambda *shape: torch.randn(*shape, generator=generator)
def hold(a, b):
    assert torch.allclose(a, b, atol=1e-5), float((a - b).abs().max())
for channels in (8, 24, 96):
    for count in (1, 2, 3):
        x, gain = random(count, 5, 7, channels), random(channels)
        x[0, 0, 0] = 0
        for bias in (None, random(channels)):
            for silu in (True, False):
                hold(*(one.norm_silu(x, gain, bias, torch.empty_like(x), silu) for one in (ours, plain)))
            outs = [[torch.full((count, 5, 7, 3 * channels), 9.0), torch.full((5, 7, 2 * channels), 9.0)] for _ in "ab"]
            for one, out in zip((ours, plain), outs):
                one.norm_silu_folded(x, gain, bias, *out)
            for a, b in zip(*outs):
                hold(a, b)
            for residual in (None, random(count, 5, 7, channels)):
                hold(*(one.add(x.clone(), bias, residual) for one in (ours, plain)))
            big = [torch.full((count, 10, 14, channels), 9.0) for _ in "ab"]
            hold(ours.upsample(x, bias, big[0], 1), plain.upsample(x, bias, big[1]))
            y, twice = random(count, 5, 7, 2 * channels), None if bias is None else random(2 * channels)
            big = [torch.full((2 * count, 10, 14, channels), 9.0) for _ in "ab"]
            hold(ours.upsample(y, twice, big[0], 2), plain.upsample(y, twice, big[1], pairs=True))
"""  # fmt: skip


@WITH_TRITON
def test_the_vaes_kernels_compute_what_pytorch_does():
    """In Triton's interpreter, in float32: it truncates bfloat16."""
    run = subprocess.run(
        [sys.executable, "-c", VAE, str(ROOT)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@WITH_TRITON
def test_an_exact_blocks_kernels_compile_without_a_card_and_nothing_is_spilled(tmp_path):
    script = ROOT / "tests" / "support" / "kernels_without_card.py"
    ran = subprocess.run(
        [sys.executable, str(script), str(ROOT), "rows"],
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert {dtype: len(compiled) for dtype, compiled in found.items()} == {"torch.float16": 19, "torch.bfloat16": 19}
    for compiled in found.values():
        assert {one["warps"] for one in compiled} == {4}
        assert {tuple(one["together"]) for one in compiled} == {(), (4,)}  # a warp's reads of a row are one piece
        assert all(one["stack"] == one["spilled"] == 0 for one in compiled)


class OnCard(torch.Tensor):
    """Says that it is on a card, and lies where no kernel can read it."""

    is_cuda = True


@WITH_TRITON
def test_a_blur_whose_kernel_fails_is_pytorchs_from_then_on(monkeypatch, caplog):
    monkeypatch.setattr(blur, "_failed", [])
    maps = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    taps = torch.arange(16.0).view(4, 4)
    expected = F.conv2d(maps, taps[None, None].expand(2, 1, 4, 4), padding=1, groups=2)
    for _ in range(2):
        assert torch.equal(blur.blur(maps.as_subclass(OnCard), taps, (1, 1)).as_subclass(torch.Tensor), expected)
    assert len(blur._failed) == 1 and caplog.text.count("the kernel for the faces' blur does not work here") == 1
    monkeypatch.setattr(blur, "_failed", [])
    learnt = maps.clone().requires_grad_()  # the kernel would lose the gradient, and is not asked
    assert blur.blur(learnt.as_subclass(OnCard), taps, (1, 1)).requires_grad and not blur._failed


@WITH_TRITON
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card: run it on one")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_blur_on_the_card(monkeypatch, dtype):
    monkeypatch.setattr(blur, "_failed", [])
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device="cuda")
    taps = taps[:, None] * taps / 64
    for channels, side, pad in ((32, 512, 2), (64, 65, 1), (512, 8, 2)):
        maps = torch.randn(2, channels, side, side, device="cuda", dtype=dtype)
        expected = F.conv2d(maps, taps.to(dtype).expand(channels, 1, 4, 4), padding=pad, groups=channels)
        found = blur.blur(maps, taps, (pad, pad))
        assert (found.float() - expected.float()).norm() < 2e-3 * expected.float().norm()
    assert not blur._failed


@pytest.mark.parametrize("module, name", [("fused", "kernels"), ("vae", "_triton"), ("blur", "_kernels")])
def test_a_triton_that_is_broken_is_one_that_is_missing(monkeypatch, caplog, module, name):
    """Installed halfway, as beside another PyTorch: it can be imported, and has none of its names."""
    find = getattr(importlib.import_module(f"wan_animate.kernels.{module}"), name)
    for part in ("triton", "triton.language"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    kernels = sys.modules["wan_animate.kernels"]
    for part in ("triton_rows", "triton_vae", "triton_blur"):
        monkeypatch.delitem(sys.modules, f"wan_animate.kernels.{part}", raising=False)
        monkeypatch.delattr(kernels, part, raising=False)
    triton_modules.load.cache_clear()
    try:
        with caplog.at_level("INFO"):
            assert find() is None and find() is None
        assert caplog.text.count("no Triton here") == 1
    finally:
        triton_modules.load.cache_clear()
