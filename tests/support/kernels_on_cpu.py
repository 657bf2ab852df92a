"""The Triton kernels in Triton's interpreter, against PyTorch's own operations: prints the errors as JSON.

Run by a test in a process of its own, with TRITON_INTERPRET=1 set before Triton is imported:
``python kernels_on_cpu.py ROOT``. In float32 and float16: the interpreter cuts bfloat16 and fp8 off where a card
rounds.
"""

import json
import sys

import torch
import torch.nn.functional as F


def off(ours, theirs) -> float:
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


def rows(kernels) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    batch, tokens, columns, heads = 2, 5, 640, 5
    x, y, e, found = random(batch, tokens, columns), random(batch, tokens, columns), random(batch, 1, 6, columns), {}
    gate, scale, shift = e.unbind(2)[:3]
    out, _, kept = kernels.norm_modulate_quantize(x, y, gate, 1e-6, scale, shift, True, False, False, True)
    summed = torch.addcmul(x, y, gate)
    found["sum kept"] = off(kept, summed)
    found["modulated"] = off(out, torch.addcmul(shift, F.layer_norm(summed, (columns,), eps=1e-6), 1 + scale))
    weight, bias = random(columns), random(columns)
    out = kernels.norm_modulate_quantize(x, y, None, 1e-6, weight, bias, False, False, False, False)[0]
    found["affine"] = off(out, F.layer_norm(x + y, (columns,), weight, bias, 1e-6))
    out, _, kept = kernels.norm_modulate_quantize(x, y, gate, None, None, None, False, False, False, False)
    found["sum"] = off(out, summed)
    out = kernels.norm_modulate_quantize(x, None, None, None, None, None, False, True, False, False)[0]
    found["gelu"] = off(out, F.gelu(x, approximate="tanh"))
    out, scales, _ = kernels.norm_modulate_quantize(x, None, None, None, None, None, False, False, True, False)
    largest = x.abs().amax(-1).flatten() / 448
    found["scales"] = off(scales.flatten(), largest)
    found["fp8"] = off(out.float().reshape(-1, columns) * scales, x.reshape(-1, columns))
    turns = random(1, tokens, 1, columns // heads // 2, 2, 2)
    normed = F.rms_norm(x, (columns,), weight, 1e-6).view(batch, tokens, heads, -1, 1, 2)
    turned = turns[..., 0] * normed[..., 0] + turns[..., 1] * normed[..., 1]
    ours = kernels.rms_rope(x.clone(), weight, turns, heads, 1e-6)
    found["rotated"] = off(ours.flatten(), turned.flatten())
    return found


def blurred(kernels) -> dict[str, float]:
    """As diffusers' motion encoder blurs (padding on both sides) and as ComfyUI's, on odd sides too."""
    found, generator = {}, torch.Generator().manual_seed(1)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    taps = taps[:, None] * taps * torch.linspace(0.5, 1.5, 16).view(4, 4) / 64
    for name, shape, pad in (("two", (2, 3, 16, 16), 2), ("one", (1, 2, 9, 140), 1), ("none", (1, 1, 7, 5), 0)):
        maps = torch.randn(*shape, generator=generator)
        weights = taps[None, None].expand(shape[1], 1, -1, -1)
        expected = F.conv2d(maps, weights, padding=pad, groups=shape[1])
        found[f"blur, {name}"] = off(kernels.blur(maps, taps, pad, pad), expected)
    uneven = F.conv2d(F.pad(maps, (2, 1, 2, 1)), weights)
    found["blur, uneven"] = off(kernels.blur(maps, taps, 2, 1), uneven)
    return found


def halves(kernels) -> dict[str, float]:
    """In float16, where squares and sums of large numbers have no room and small ones no bits: against float32."""
    found, generator = {}, torch.Generator().manual_seed(2)

    def random(*shape, by=1.0):
        return (by * torch.randn(*shape, generator=generator)).half()

    batch, tokens, columns, heads = 2, 3, 640, 5
    for name, size in (("large", 1e4), ("small", 1e-3)):
        x, y = (random(batch, tokens, columns, by=size) for _ in range(2))
        weight = random(columns)
        gate, scale, shift = random(batch, 1, 3, columns, by=0.5).unbind(2)
        out, _, kept = kernels.norm_modulate_quantize(x, y, gate, 1e-6, scale, shift, True, False, False, True)
        summed = torch.addcmul(x.float(), y.float(), gate.float())
        found[f"half {name} sum"] = off(kept, summed)
        normed = F.layer_norm(summed, (columns,), eps=1e-6)
        found[f"half {name} modulated"] = off(out, torch.addcmul(shift.float(), normed, 1 + scale.float()))
        out = kernels.norm_modulate_quantize(x, None, None, 1e-6, weight, shift[0, 0], False, False, False, False)[0]
        theirs = F.layer_norm(x.float(), (columns,), weight.float(), shift[0, 0].float(), 1e-6)
        found[f"half {name} affine"] = off(out, theirs)
        out = kernels.norm_modulate_quantize(x, None, None, None, None, None, False, True, False, False)[0]
        found[f"half {name} gelu"] = off(out, F.gelu(x.float(), approximate="tanh"))
        out, scales, _ = kernels.norm_modulate_quantize(x, None, None, None, None, None, False, False, True, False)
        found[f"half {name} fp8"] = off(out.float().reshape(-1, columns) * scales, x.reshape(-1, columns))
        turns = torch.randn(1, tokens, 1, columns // heads // 2, 2, 2, generator=generator)
        normed = F.rms_norm(x.float(), (columns,), weight.float(), 1e-6).view(batch, tokens, heads, -1, 1, 2)
        turned = turns[..., 0] * normed[..., 0] + turns[..., 1] * normed[..., 1]
        ours = kernels.rms_rope(x.clone(), weight, turns, heads, 1e-6)
        found[f"half {name} rotated"] = off(ours.flatten(), turned.flatten())
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.path.insert(0, sys.argv[1])
    from wan_animate.kernels import triton_blur, triton_rows

    print(json.dumps(rows(triton_rows) | halves(triton_rows) | blurred(triton_blur)))
