"""The Triton kernels against PyTorch, in Triton's interpreter."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LARGEST = {"fp8": 0.07, "half": 1e-3}  # by what a name ends or begins with


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is missing: PyTorch brings it on Linux")
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
    assert len(found) == 20
    for name, error in found.items():
        first, last = name.split()[0], name.split()[-1]
        assert error < LARGEST.get(last, LARGEST.get(first, 1e-6)), name
