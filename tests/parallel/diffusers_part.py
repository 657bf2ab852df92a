"""A process of tests/parallel/test_context_parallel.py: computes its part and compares it with the whole."""

from __future__ import annotations

import sys

import torch

from wan_animate.backends.context_parallel import parallelize, shard_weights
from wan_animate.backends.fused_blocks import fuse
from wan_animate.backends.lora import add_lora
from wan_animate.backends.strength import scaled
from wan_animate.kernels import fused
from wan_animate.parallel.processes import join

SIZES = [(2, 1, 2), (3, 3, 5), (3, 2, 4), (4, 3, 3)]  # latent frames, rows and columns of tokens
HEADS = 4


def transformer():
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    return WanAnimateTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=16, text_dim=32, freq_dim=16, ffn_dim=64, num_layers=10,
        image_dim=24, added_kv_proj_dim=64, motion_encoder_size=16, motion_style_dim=8, motion_dim=4,
        motion_encoder_dim=16, face_encoder_hidden_dim=16,
    ).eval()  # fmt: skip


def inputs(frames: int, rows: int, columns: int) -> dict:
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "hidden_states": random(1, 36, frames, 2 * rows, 2 * columns), "timestep": torch.tensor([500]),
        "encoder_hidden_states": random(1, 512, 32), "encoder_hidden_states_image": random(1, 257, 24),
        "pose_hidden_states": random(1, 16, frames - 1, 2 * rows, 2 * columns),
        "face_pixel_values": random(1, 3, 4 * frames - 7 if frames > 2 else 1, 16, 16), "return_dict": False,
    }  # fmt: skip


@torch.no_grad()
def main(lora: str, shard: bool, sizes: list[int]) -> None:
    group = join("cpu")
    one, many = transformer(), transformer()
    assert fuse(many) == len(many.blocks)
    fused.works_on = lambda x: True  # by PyTorch's operations
    calls, rope = [], fused.rms_rope
    fused.rms_rope = lambda *given: calls.append(1) or rope(*given)
    for part in (one, many):
        add_lora(part, lora)
    if shard:
        shard_weights(many)
    parallelize(many, group.rank, group.size)
    check = 3  # calls by which the first block is compared with diffusers' own, once
    for size in (SIZES[index] for index in sizes):
        given = inputs(*size)
        for strengths in ((1.0, 1.0), (0.5, 0.0)):
            with scaled(one, *strengths), scaled(many, *strengths):
                whole, mine = one(**given)[0], many(**given)[0]
            distance = float((mine - whole).norm() / whole.norm())
            print(f"{size} {strengths} {distance:.1e}", flush=True)
            assert distance < 1e-5, (size, strengths, distance)
            assert len(calls) == 2 * len(many.blocks) + check
            calls.clear()
            check = 0
    group.leave()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "shard", [int(one) for one in sys.argv[3].split(",")])
