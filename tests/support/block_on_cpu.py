"""A block of diffusers' transformer by our Triton kernels in Triton's interpreter: prints how far off it is, as JSON.

Run by a test in a process of its own, with TRITON_INTERPRET=1 set before Triton is imported:
``python block_on_cpu.py ROOT``. In float32 and float16: the interpreter cuts bfloat16 off where a card rounds.
"""

import json
import sys

import torch

sys.path.insert(0, sys.argv[1])
from diffusers.models.transformers.transformer_wan_animate import WanRotaryPosEmbed, WanTransformerBlock

from wan_animate.backends.fused_blocks import fuse
from wan_animate.kernels import fused, triton_rows

DIM, HEADS = 128, 4


def inputs(dtype):
    rope = WanRotaryPosEmbed(DIM // HEADS, (1, 2, 2), 64)(torch.zeros(1, 36, 2, 4, 6))
    return torch.randn(1, 12, DIM).to(dtype), torch.randn(1, 512 + 3, DIM).to(dtype), torch.randn(1, 6, DIM), rope


@torch.no_grad()
def off(dtype) -> float:
    """Relative L2 of what the block adds."""
    block = WanTransformerBlock(DIM, 192, HEADS, cross_attn_norm=True, added_kv_proj_dim=DIM).eval()
    for name, weight in block.named_parameters():
        weight.data += 0.1 * torch.randn_like(weight)
        if name.split(".")[0] not in ("norm2", "scale_shift_table"):
            weight.data = weight.data.to(dtype)
    given = inputs(dtype)
    plain = block(*given)
    model = torch.nn.Module()
    model.blocks = torch.nn.ModuleList([block])
    assert fuse(model) == 1
    calls.clear()
    found = block(*given)
    assert calls.count("norm_modulate_quantize") == 2 * 4 and calls.count("rms_rope") == 2 * 2 + 1  # and the check's
    assert block.attn1.processor.shared.agrees and not fused._failed
    return float((found.float() - plain.float()).norm() / (plain.float() - given[0].float()).norm())


def kernel(name, x):
    """Without a card."""

    def call(*given):
        calls.append(name)
        return getattr(triton_rows, name)(*given)

    return call


torch.set_num_threads(1)
torch.manual_seed(0)
fused._kernel, calls = kernel, []
print(json.dumps({str(dtype): off(dtype) for dtype in (torch.float32, torch.float16)}))
