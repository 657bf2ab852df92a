"""Fused forward of the host's transformer block. What other packs patched is called as by the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch

from ....wan_animate.kernels.fused import Quantized, norm_modulate_quantize, quantize, rms_rope
from ....wan_animate.kernels.plain_module import is_plain
from ....wan_animate.swapped import swapped
from .fp8_linears import is_measured, takes_quantized


class FusedBlocks:
    def __init__(self) -> None:
        self._blocks: dict[int, FusedBlock] = {}

    @contextmanager
    def installed(self, module: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for index, block in enumerate(module.blocks):
                if not is_host_block(block):
                    continue
                ours = self._blocks.get(index)
                if ours is None or ours.block is not block:
                    ours = self._blocks[index] = FusedBlock(block)
                stack.enter_context(swapped(block, "forward", ours))
            yield


def is_host_block(block: Any) -> bool:
    """Whether a block is the host's, unpatched and not compiled."""
    import comfy.ldm.wan.model as host

    return (
        type(block) is host.WanAttentionBlock
        and is_plain(block)
        and type(block.cross_attn) is host.WanI2VCrossAttention
        and isinstance(block.norm3, torch.nn.LayerNorm)
        and isinstance(block.self_attn.norm_q, torch.nn.RMSNorm)
    )


class FusedBlock:
    def __init__(self, block: Any) -> None:
        self.block = block

    def __call__(
        self,
        x: torch.Tensor,
        e: torch.Tensor,
        freqs: torch.Tensor,
        context: torch.Tensor,
        context_img_len: int | None = 257,
        transformer_options: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        block, transformer_options = self.block, {} if transformer_options is None else transformer_options
        if torch.compiler.is_compiling() or not x.is_floating_point():
            return type(block).forward(block, x, e, freqs, context, context_img_len, transformer_options)
        parts = _modulation(block, x, e)
        if parts[0].shape[1] != 1:  # modulation per frame: the host repeats it over the tokens
            return type(block).forward(block, x, e, freqs, context, context_img_len, transformer_options)
        x = x.contiguous()
        patches = transformer_options.get("patches", {})

        y: Any
        plain = is_plain(block.self_attn)
        quantized = plain and takes_quantized(block.self_attn.q, block.self_attn.k, block.self_attn.v)
        hidden, _ = _modulated(block.norm1, x, parts[0], parts[1], quantized)
        if plain:
            y = _self_attention(block.self_attn, hidden, freqs, patches, transformer_options)
        else:
            y = block.self_attn(hidden, freqs, transformer_options=transformer_options)
        del hidden

        plain = is_plain(block.cross_attn)
        quantized = plain and takes_quantized(block.cross_attn.q)
        hidden, x = _normed(block.norm3, x, y, parts[2], quantized)
        if plain:
            y = _cross_attention(block.cross_attn, hidden, context, context_img_len, transformer_options)
        else:
            y = block.cross_attn(
                hidden, context, context_img_len=context_img_len, transformer_options=transformer_options
            )
        del hidden

        if "attn2_patch" in patches:
            x, y = x + y, None
            for patch in patches["attn2_patch"]:
                x = patch({"x": x, "transformer_options": transformer_options})
        up, down = block.ffn[0], block.ffn[-1]
        plain = is_plain(block.ffn)
        quantized = plain and takes_quantized(up)
        hidden, x = _modulated(block.norm2, x, parts[3], parts[4], quantized, added=y)
        if plain and takes_quantized(down):
            y = norm_modulate_quantize(up(hidden), gelu=True, quantize=True)[0]
            y = down(y)
        elif plain and is_measured(down) and isinstance(hidden, torch.Tensor):  # is_measured: not quantized
            # halves keep the peak of memory
            y = torch.cat([block.ffn(part) for part in hidden.chunk(2, dim=1)], dim=1)
        else:
            y = block.ffn(hidden)
        return cast(torch.Tensor, norm_modulate_quantize(x, added=y, gate=parts[5])[0])


def _modulation(block: Any, x: torch.Tensor, e: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Shift, scale and gate, twice: each [batch, 1 or frames, dim]."""
    import comfy.model_management

    own = comfy.model_management.cast_to(block.modulation, dtype=x.dtype, device=x.device)
    return (own + e).chunk(6, dim=1) if e.ndim < 4 else (own.unsqueeze(0) + e).unbind(2)


def _modulated(
    norm: Any,
    x: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    quantized: bool,
    added: torch.Tensor | None = None,
) -> tuple[torch.Tensor | Quantized, torch.Tensor]:
    """(norm(x + added) * (1 + scale) + shift, x + added)"""
    if is_plain(norm) and norm.weight is None:
        out, summed = norm_modulate_quantize(
            x,
            added=added,
            eps=norm.eps,
            mul=scale,
            plus=shift,
            modulate=True,
            quantize=quantized,
            keep_sum=added is not None,
        )
        return out, x if summed is None else summed
    x = x if added is None else x + added
    out = torch.addcmul(shift, norm(x), 1 + scale)
    return (quantize(out) if quantized else out), x


def _normed(
    norm: Any, x: torch.Tensor, added: torch.Tensor, gate: torch.Tensor, quantized: bool
) -> tuple[torch.Tensor | Quantized, torch.Tensor]:
    """(norm(x + added * gate), x + added * gate)"""
    if not is_plain(norm) or norm.weight is None:
        x = torch.addcmul(x, added, gate)
        out = norm(x)
        return (quantize(out) if quantized else out), x
    with _cast_norm(norm, x) as (weight, bias):
        out, summed = norm_modulate_quantize(
            x, added=added, gate=gate, eps=norm.eps, mul=weight, plus=bias, quantize=quantized, keep_sum=True
        )
    assert summed is not None
    return out, summed


def _self_attention(
    attention: Any, x: torch.Tensor | Quantized, freqs: torch.Tensor, patches: dict[str, list], options: dict[str, Any]
) -> torch.Tensor:
    import comfy.ldm.wan.model as host

    heads = attention.num_heads

    def rotated(linear: torch.nn.Module, norm: Any) -> torch.Tensor:
        out = linear(x)
        if not is_plain(norm):
            return host.apply_rope1(norm(out).unflatten(-1, (heads, -1)), freqs)
        with _cast_norm(norm, out) as (weight, _):
            return rms_rope(out, weight, freqs, heads, norm.eps, host.apply_rope1)

    q = rotated(attention.q, attention.norm_q)
    k = rotated(attention.k, attention.norm_k)
    y = host.optimized_attention(q.flatten(2), k.flatten(2), attention.v(x), heads=heads, transformer_options=options)
    for patch in patches.get("attn1_patch", ()):
        y = patch({"x": y, "q": q, "k": k, "transformer_options": options})
    del q, k
    return attention.o(quantize(y) if takes_quantized(attention.o) else y)


def _cross_attention(
    attention: Any,
    x: torch.Tensor | Quantized,
    context: torch.Tensor,
    image_tokens: int | None,
    options: dict[str, Any],
) -> torch.Tensor:
    """As the host's; without CLIP tokens (``image_tokens`` None) text is attended to twice."""
    import comfy.ldm.wan.model as host

    image, text = context[:, :image_tokens], context[:, image_tokens:]
    q = attention.norm_q(attention.q(x))
    about = {"heads": attention.num_heads, "transformer_options": options}
    k, v = attention.norm_k_img(attention.k_img(image)), attention.v_img(image)
    image_out = host.optimized_attention(q, k, v, low_precision_attention=False, **about)
    k, v = attention.norm_k(attention.k(text)), attention.v(text)
    text_out = host.optimized_attention(q, k, v, **about)
    return attention.o(norm_modulate_quantize(text_out, added=image_out, quantize=takes_quantized(attention.o))[0])


@contextmanager
def _cast_norm(layer: torch.nn.Module, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    import comfy.ops

    weight, bias, stream = comfy.ops.cast_bias_weight(layer, x, offloadable=True)
    try:
        yield weight, bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
