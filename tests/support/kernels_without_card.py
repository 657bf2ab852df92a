"""Compile kernels for compute capability 9.0 where there is no card: argv is the repository's root, and which.

"attention" is Gluon's, "rows" are those of the published transformer's blocks and of its faces. Prints JSON
by dtype: what Triton's binary says of itself. Only the driver is pretended, which names the card.
"""

import functools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from wan_animate.kernels import gluon_attention, triton_blur, triton_rows


class Driver:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def tool(name, *arguments):
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout


def described(compiled):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        code = tool("nvdisasm", "-c", file.name)
        registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", tool("cuobjdump", "-res-usage", file.name)).groups()
    return {
        "registers": int(registers),
        "stack": int(stack),
        "shared": compiled.metadata.shared,
        "warps": compiled.metadata.num_warps,
        "spilled": len(re.findall(r"\b(?:STL|LDL)\b", code)),
        "products": len(re.findall(r"\bHGMMA\.64x128x16\.F32", code)),
        "bf16 products": len(re.findall(r"\bHGMMA\.64x128x16\.F32\.BF16", code)),
        "together": together(compiled),
        "waits for them": len(re.findall(r"\bWARPGROUP\.DEPBAR", code)),
    }


def together(compiled):
    """How many neighbours of a row each thread reads, in every layout of the kernel over whole rows."""
    layouts = re.findall(r"sizePerThread = \[(\d+)\]", compiled.asm["ttgir"])
    return sorted({int(one) for one in layouts}) if compiled.metadata.name == "_norm_modulate_quantize" else []


def in_fp8(dtype, columns, gelu):
    """The norm with a float32 modulation, or GELU, and fp8."""
    modulation = None if gelu else torch.float32
    kind = triton_rows.KINDS[dtype]
    arguments = (dtype, None, None, modulation, modulation, torch.float8_e4m3fn, None, torch.float32, 1, 0, 0, 0, 1e-6)
    return triton_rows._norm_modulate_quantize.warmup(
        *arguments, ADD=False, GATE=False, KEEP=False, NORM=not gelu, AFFINE=False, MODULATE=not gelu, GELU=gelu,
        QUANTIZE=True, KIND=kind, BETWEEN=triton_rows.tl.float32, COLUMNS=columns,
        BLOCK=triton.next_power_of_2(columns), num_warps=triton_rows.WARPS, grid=(1,),
    )  # fmt: skip


def rows(dtype):
    of_both = (None, torch.float32, torch.bfloat16)  # ComfyUI's, diffusers' as published and as in a benchmark
    found = [one for affine in of_both for one in triton_rows.compilations(5120, 40, dtype, affine)]
    return (
        found
        + [functools.partial(in_fp8, dtype, *one) for one in ((5120, False), (13824, True))]
        + (triton_blur.compilations(dtype))
    )


driver.set_active(Driver())
compilations = {"attention": gluon_attention.compilations, "rows": rows}[sys.argv[2]]
print(json.dumps({str(dtype): [described(one()) for one in compilations(dtype)] for dtype in gluon_attention.DTYPES}))
