"""The host's transformer block with fewer passes over memory: the same operations in the same order, joined.

For the length of one forward a block's ``forward`` is ours. What another pack has put in front of a part of a block
(its attention, its feed-forward) is called as the host calls it, and a block of a kind not known here stays the host's.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

import torch

from ..kernels.fused import norm_modulate_quantize, quantize, rms_rope
from ..patching import is_plain, swapped
from .fp8_linears import is_measured, takes_quantized


class Blocks:
    """The joined blocks of one accelerated MODEL."""

    def __init__(self):
        self._blocks: dict[int, Block] = {}

    @contextmanager
    def installed(self, module):
        """For one forward, the module's blocks are joined ones."""
        with ExitStack() as stack:
            for index, block in enumerate(module.blocks):
                if not fits(block):
                    continue
                ours = self._blocks.get(index)
                if ours is None or ours.block is not block:
                    ours = self._blocks[index] = Block(block)
                stack.enter_context(swapped(block, "forward", ours))
            yield


def fits(block) -> bool:
    """Whether a block is the host's own, with nothing in front of it. A compiled one is joined by the compiler."""
    import comfy.ldm.wan.model as host

    return (
        type(block) is host.WanAttentionBlock
        and is_plain(block)
        and type(block.cross_attn) is host.WanI2VCrossAttention
        and isinstance(block.norm3, torch.nn.LayerNorm)
        and isinstance(block.self_attn.norm_q, torch.nn.RMSNorm)
    )


class Block:
    """What stands for a block's ``forward``."""

    def __init__(self, block):
        self.block = block

    def __call__(self, x, e, freqs, context, context_img_len=257, transformer_options=None):
        block, transformer_options = self.block, {} if transformer_options is None else transformer_options
        if torch.compiler.is_compiling() or not x.is_floating_point():
            return type(block).forward(block, x, e, freqs, context, context_img_len, transformer_options)
        parts = _modulation(block, x, e)
        if parts[0].shape[1] != 1:  # of its own for every frame: the host spreads it over the tokens
            return type(block).forward(block, x, e, freqs, context, context_img_len, transformer_options)
        x = x.contiguous()
        patches = transformer_options.get("patches", {})

        ours = is_plain(block.self_attn)
        ready = ours and takes_quantized(block.self_attn.q, block.self_attn.k, block.self_attn.v)
        given, _ = _modulated(block.norm1, x, parts[0], parts[1], ready)
        if ours:
            y = _self_attention(block.self_attn, given, freqs, patches, transformer_options)
        else:
            y = block.self_attn(given, freqs, transformer_options=transformer_options)
        del given

        ours = is_plain(block.cross_attn)
        ready = ours and takes_quantized(block.cross_attn.q)
        given, x = _normed(block.norm3, x, y, parts[2], ready)
        if ours:
            y = _cross_attention(block.cross_attn, given, context, context_img_len, transformer_options)
        else:
            y = block.cross_attn(
                given, context, context_img_len=context_img_len, transformer_options=transformer_options
            )
        del given

        if "attn2_patch" in patches:
            x, y = x + y, None
            for patch in patches["attn2_patch"]:
                x = patch({"x": x, "transformer_options": transformer_options})
        up, down = block.ffn[0], block.ffn[-1]
        ours = is_plain(block.ffn)
        ready = ours and takes_quantized(up)
        given, x = _modulated(block.norm2, x, parts[3], parts[4], ready, added=y)
        if ours and takes_quantized(down):
            y = norm_modulate_quantize(up(given), gelu=True, quantize=True)[0]
            y = down(y)
        elif ours and is_measured(down):  # its input is wanted unquantized, of as many tokens at once as take no more
            y = torch.cat([block.ffn(part) for part in given.chunk(2, dim=1)], dim=1)
        else:
            y = block.ffn(given)
        return norm_modulate_quantize(x, added=y, gate=parts[5])[0]


def _modulation(block, x, e):
    """The six [batch, 1 or frames, dim] that a block's timestep gives; as in the host's block."""
    import comfy.model_management

    own = comfy.model_management.cast_to(block.modulation, dtype=x.dtype, device=x.device)
    return (own + e).chunk(6, dim=1) if e.ndim < 4 else (own.unsqueeze(0) + e).unbind(2)


def _modulated(norm, x, shift, scale, ready: bool, added=None):
    """(the norm of x + added, times 1 + scale, plus shift; x + added)"""
    if is_plain(norm) and norm.weight is None:
        out, summed = norm_modulate_quantize(
            x, added=added, eps=norm.eps, mul=scale, plus=shift, modulate=True, quantize=ready, keep=added is not None
        )
        return out, x if added is None else summed
    x = x if added is None else x + added
    out = torch.addcmul(shift, norm(x), 1 + scale)
    return (quantize(out) if ready else out), x


def _normed(norm, x, added, gate, ready: bool):
    """(the norm of x + added * gate, x + added * gate)"""
    if not is_plain(norm) or norm.weight is None:
        x = torch.addcmul(x, added, gate)
        out = norm(x)
        return (quantize(out) if ready else out), x
    with _cast(norm, x) as (weight, bias):
        return norm_modulate_quantize(
            x, added=added, gate=gate, eps=norm.eps, mul=weight, plus=bias, quantize=ready, keep=True
        )


def _self_attention(attention, x, freqs, patches, options):
    import comfy.ldm.wan.model as host

    heads = attention.num_heads

    def turned(linear, norm):
        out = linear(x)
        if not is_plain(norm):
            return host.apply_rope1(norm(out).unflatten(-1, (heads, -1)), freqs)
        with _cast(norm, out) as (weight, _):
            return rms_rope(out, weight, freqs, heads, norm.eps)

    q = turned(attention.q, attention.norm_q)
    k = turned(attention.k, attention.norm_k)
    y = host.optimized_attention(q.flatten(2), k.flatten(2), attention.v(x), heads=heads, transformer_options=options)
    for patch in patches.get("attn1_patch", ()):
        y = patch({"x": y, "q": q, "k": k, "transformer_options": options})
    del q, k
    return attention.o(quantize(y) if takes_quantized(attention.o) else y)


def _cross_attention(attention, x, context, image_tokens: int | None, options):
    """As the host's: without CLIP tokens (``image_tokens`` None) the text stands on both sides."""
    import comfy.ldm.wan.model as host

    image, text = context[:, :image_tokens], context[:, image_tokens:]
    q = attention.norm_q(attention.q(x))
    about = {"heads": attention.num_heads, "transformer_options": options}
    k, v = attention.norm_k_img(attention.k_img(image)), attention.v_img(image)
    seen = host.optimized_attention(q, k, v, low_precision_attention=False, **about)
    k, v = attention.norm_k(attention.k(text)), attention.v(text)
    read = host.optimized_attention(q, k, v, **about)
    return attention.o(norm_modulate_quantize(read, added=seen, quantize=takes_quantized(attention.o))[0])


@contextmanager
def _cast(layer, x):
    """(weight, bias) of a norm as they are used on x."""
    import comfy.ops

    weight, bias, stream = comfy.ops.cast_bias_weight(layer, x, offloadable=True)
    try:
        yield weight, bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
