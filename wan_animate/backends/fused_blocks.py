"""Blocks of diffusers' transformer by the kernels of :mod:`..kernels.fused`, where these run.

Modules, weights and hooks stay as they are, and linear layers, attention and feed-forward are called as modules: LoRAs,
offload and FSDP see what they saw. Elsewhere (no CUDA, no Triton, gradients, ``torch.compile``) diffusers' own code
runs, and so it does where the first block's results differ. Layers in fp8 get their rows quantized in the pass before.
"""

from __future__ import annotations

import inspect
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from ..kernels import blur, fused
from ..kernels.fused import Quantized
from ..kernels.plain_module import is_plain
from ..log import get_logger
from ..swapped import swapped
from .fp8_linears import Fp8Linear, takes_quantized

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

CHECKED = 256  # tokens of the first block
ERROR = 0.05  # relative L2, of what the block adds and of its rotated queries
FP8_ERROR = 0.1  # with layers in fp8: what is rounded otherwise before them may fall on the next fp8 number

log = get_logger(__name__)


def fuse(transformer: WanAnimateTransformer3DModel) -> int:
    """Has its blocks computed by the kernels; the number of blocks that can be.

    Before hooks are placed on the blocks (offload): under those of others a block stays as it is.
    """
    try:
        from diffusers.models.transformers.transformer_wan_animate import WanAttnProcessor, WanTransformerBlock
    except ImportError as error:
        log.info("Blocks of this diffusers cannot be fused: %s", error)
        return 0
    shared, count = Shared(), 0
    for block in transformer.blocks:
        own = type(block).forward is WanTransformerBlock.forward and isinstance(block.norm2, torch.nn.LayerNorm)
        if own and type(block.attn1.processor) is WanAttnProcessor and _takes(block):
            block.attn1.set_processor(SelfAttention(block.attn1.processor, shared))
        count += _is_fused(block)
    return count


def unfuse(transformer: WanAnimateTransformer3DModel) -> None:
    """Has diffusers' own code run again."""
    for block in transformer.blocks:
        if _is_fused(block):
            block.attn1.set_processor(block.attn1.processor.plain)
        if _is_ours(vars(block).get("forward")):
            del block.forward


def prepare(transformer: WanAnimateTransformer3DModel) -> None:
    """Starts compiling the kernels, once the transformer is on its device."""
    fused_blocks = [block for block in transformer.blocks if _is_fused(block)]
    if fused_blocks:
        config, affine = transformer.config, fused_blocks[0].norm2.weight.dtype
        heads, width = config.num_attention_heads, config.attention_head_dim
        fused.prepare(transformer.device, transformer.dtype, heads * width, heads, affine)
        blur.prepare(transformer.device, transformer.dtype)


def _is_fused(block: Any) -> bool:
    return isinstance(block.attn1.processor, SelfAttention)


def _is_ours(forward: Any) -> bool:
    return getattr(forward, "__func__", None) is _forward


def _takes(block: Any) -> bool:
    """Sets our forward, beneath any hook: is it there?"""
    if "forward" not in vars(block):
        block.forward = MethodType(_forward, block)
    return _is_ours(inspect.unwrap(vars(block)["forward"]))


def _forward(
    block: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, temb: torch.Tensor, rotary_emb: Any
) -> torch.Tensor:
    given = hidden_states, encoder_hidden_states, temb, rotary_emb
    if _is_fused(block) and _runs_on(hidden_states) and _agrees(block, *given):
        return _compute(block, *given)
    return type(block).forward(block, *given)


def _runs_on(x: torch.Tensor) -> bool:
    return not torch.compiler.is_compiling() and not torch.is_grad_enabled() and fused.works_on(x)


def _agrees(block: Any, x: torch.Tensor, context: torch.Tensor, temb: torch.Tensor, rotary_emb: Any) -> bool:
    """Whether both ways give the same here, found once by a transformer's first block on its first tokens."""
    processor = block.attn1.processor
    shared = processor.shared
    if shared.agrees is None:
        try:
            few = tuple(table[:, :CHECKED] for table in rotary_emb)
            errors = _differences(block, x[:, :CHECKED], context, temb, few)
            shared.agrees, why = all(error <= _allowed(block) for error in errors), f"{max(errors):.1%} off"
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as failure:  # another diffusers
            shared.agrees, why = False, str(failure)
        if not shared.agrees:
            log.warning("Fused blocks do not work here (%s): diffusers' own are used.", why)
    return shared.agrees


def _differences(
    block: Any, x: torch.Tensor, context: torch.Tensor, temb: torch.Tensor, rotary_emb: Any
) -> list[float]:
    """Relative L2 of what the block adds, and of rotated queries, on which random weights' attention hardly depends."""
    attn = block.attn1
    plain = attn.processor.plain
    with swapped(plain, "_parallel_config", None):  # of several cards each looks at tokens of its own
        found = _compute(block, x, context, temb, rotary_emb)
        with swapped(attn, "processor", plain):
            expected = type(block).forward(block, x, context, temb, rotary_emb)
    errors = [_relative(found.float() - x.float(), expected.float() - x.float())]
    norm, turns, query = attn.norm_q, attn.processor.shared.rotations(*rotary_emb), attn.to_q(x)
    expected = rotate(norm(query).unflatten(2, (attn.heads, -1)), turns)
    found = fused.rms_rope(query, norm.weight, turns, attn.heads, norm.eps, rotate)
    return [*errors, _relative(found.float(), expected.float())]


def _allowed(block: Any) -> float:
    return FP8_ERROR if any(isinstance(layer, Fp8Linear) for layer in block.modules()) else ERROR


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _compute(block: Any, x: torch.Tensor, context: torch.Tensor, temb: torch.Tensor, rotary_emb: Any) -> torch.Tensor:
    """The block's output, with norms, modulation and sums in four passes over memory."""
    if temb.ndim != 3 or not all(map(_is_layer_norm, (block.norm1, block.norm2, block.norm3))):
        return type(block).forward(block, x, context, temb, rotary_emb)
    # [1, 6, dim] + [batch, 6, dim], in float32: shift, scale and gate, twice
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (block.scale_shift_table + temb.float()).chunk(6, dim=1)
    rows: Any = partial(fused.norm_modulate_quantize, float32=True)
    attn, norm, cross, ffn = block.attn1, block.norm2, block.attn2, block.ffn
    fp8 = is_plain(attn) and _is_usual(attn) and takes_quantized(attn.to_q, attn.to_k, attn.to_v)
    y, _ = rows(x.contiguous(), eps=block.norm1.eps, mul=scale, plus=shift, modulate=True, quantize=fp8)
    y = attn(y, None, None, rotary_emb)
    fp8 = is_plain(cross) and type(cross.processor) is type(attn.processor.plain) and takes_quantized(cross.to_q)
    y, x = rows(x, added=y, gate=gate, eps=norm.eps, mul=norm.weight, plus=norm.bias, keep_sum=True, quantize=fp8)
    y = cross(y, context, None, None)
    fp8 = _is_tanh_gelu(ffn) and takes_quantized(ffn.net[0].proj)
    y, x = rows(
        x, added=y, eps=block.norm3.eps, mul=ffn_scale, plus=ffn_shift, modulate=True, keep_sum=True, quantize=fp8
    )
    return rows(x, added=_feed_forward(ffn, y), gate=ffn_gate)[0]


def _feed_forward(ffn: Any, x: torch.Tensor | Quantized) -> torch.Tensor:
    """Between two layers in fp8, GELU and quantization in one pass."""
    if _is_tanh_gelu(ffn) and takes_quantized(ffn.net[2]):
        return ffn.net[2](fused.norm_modulate_quantize(ffn.net[0].proj(x), gelu=True, quantize=True)[0])
    return ffn(x)


def _is_tanh_gelu(ffn: Any) -> bool:
    """A product with GELU, a dropout without effect, a product; none of them changed by others."""
    from diffusers.models.activations import GELU

    if len(ffn.net) != 3 or not all(map(is_plain, (ffn, ffn.net[0], ffn.net[1]))):
        return False
    gelu, dropout, _ = ffn.net
    return type(gelu) is GELU and gelu.approximate == "tanh" and not (dropout.training and dropout.p)


def _is_layer_norm(norm: Any) -> bool:
    return isinstance(norm, torch.nn.LayerNorm) and is_plain(norm)


class SelfAttention:
    """diffusers' processor of a self-attention, with norm and rotation in one pass over memory.

    Args:
        plain: diffusers' own, which holds the backend and what several cards share.
        shared: by a transformer's blocks.
    """

    def __init__(self, plain: Any, shared: Shared) -> None:
        self.plain, self.shared = plain, shared

    @property
    def _attention_backend(self) -> Any:
        return self.plain._attention_backend

    @_attention_backend.setter
    def _attention_backend(self, backend: Any) -> None:
        self.plain._attention_backend = backend

    @property
    def _parallel_config(self) -> Any:
        return self.plain._parallel_config

    @_parallel_config.setter
    def _parallel_config(self, config: Any) -> None:
        self.plain._parallel_config = config

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor | Quantized,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        usual = encoder_hidden_states is None and attention_mask is None and self.shared.agrees is not False
        runs = isinstance(hidden_states, Quantized) or _runs_on(hidden_states)  # quantized by a block that runs
        if rotary_emb is None or not usual or not _is_usual(attn) or not runs:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
        from diffusers.models.attention_dispatch import dispatch_attention_fn

        heads, turns = attn.heads, self.shared.rotations(*rotary_emb)
        query, key = (
            fused.rms_rope(linear(hidden_states), norm.weight, turns, heads, norm.eps, rotate)
            for linear, norm in zip((attn.to_q, attn.to_k), _norms(attn))
        )
        value = attn.to_v(hidden_states).unflatten(2, (heads, -1))
        out = dispatch_attention_fn(
            query, key, value, backend=self._attention_backend, parallel_config=self._parallel_config
        )
        out = out.flatten(2).type_as(query)
        for layer in attn.to_out:  # the product, and a dropout
            out = layer(out)
        return out


def _is_usual(attn: Any) -> bool:
    return attn.add_k_proj is None and not attn.fused_projections and all(map(_is_rms_norm, _norms(attn)))


def _norms(attn: Any) -> tuple[Any, Any]:
    return attn.norm_q, attn.norm_k


def _is_rms_norm(norm: Any) -> bool:
    return isinstance(norm, torch.nn.RMSNorm) and is_plain(norm) and norm.weight is not None and norm.eps is not None


class Shared:
    """What a transformer's blocks have in common.

    Attributes:
        agrees: whether the kernels give what diffusers' own code gives; None: not yet known.
    """

    def __init__(self) -> None:
        self.agrees: bool | None = None
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None
        self._matrices: torch.Tensor | None = None

    def rotations(self, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """float32 ``[1, tokens, 1, width / 2, 2, 2]`` of a forward's rotary tables ``[1, tokens, 1, width]``."""
        if self._matrices is None or self._tables is None or self._tables[0] is not cos or self._tables[1] is not sin:
            half_cos, half_sin = cos[..., 0::2].float(), sin[..., 1::2].float()
            rows = torch.stack((half_cos, -half_sin, half_sin, half_cos), dim=-1)
            self._tables, self._matrices = (cos, sin), rows.unflatten(-1, (2, 2))
        return self._matrices


def rotate(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Each pair of ``x [batch, tokens, heads, width]`` by its matrix, in float32."""
    pairs = x.unflatten(-1, (-1, 1, 2))  # [batch, tokens, heads, width / 2, 1, 2]
    return (matrices[..., 0] * pairs[..., 0] + matrices[..., 1] * pairs[..., 1]).flatten(-2).type_as(x)
