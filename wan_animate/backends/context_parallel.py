"""diffusers' ``WanAnimateTransformer3DModel`` over several processes, each with a part of the tokens.

diffusers 0.42 has a plan for Wan, none for Wan Animate. :data:`PLAN` is in the shape of its
``models/transformers/transformer_wan.py``; what a plan cannot say is :func:`_face_blocks`: a face block attends within
each latent frame, and a process's tokens may begin and end within one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..errors import InputError
from ..parallel.partition import Frames, check_members, even_ranges, frames_of

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel


GATHERED = "proj_out"


def plan() -> dict[str, Any]:
    """The plan for ``apply_context_parallel``."""
    from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput

    tables = ContextParallelInput(split_dim=1, expected_dims=4, split_output=True)
    return {
        "rope": {0: tables, 1: tables},
        "blocks.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3, split_output=False)},
        # Text and image tokens stay whole: 257 + 512 divide by nothing.
        GATHERED: ContextParallelOutput(gather_dim=1, expected_dims=3),
    }


def parallelize(transformer: WanAnimateTransformer3DModel, rank: int, size: int) -> None:
    """Has each of ``size`` processes compute its part of every forward, and all return the whole.

    ``torch.distributed`` is initialized, and all processes call with the same inputs.

    Raises:
        InputError: more processes than attention heads.
    """
    from diffusers import ContextParallelConfig
    from diffusers.hooks.context_parallel import apply_context_parallel
    from diffusers.models._modeling_parallel import ParallelConfig
    from torch.distributed.device_mesh import init_device_mesh

    heads = transformer.config.num_attention_heads
    check_members(size, heads)
    if heads % size and size - heads % size >= -(-heads // size):
        raise InputError(
            f"diffusers cannot share {heads} attention heads among {size} cards: take one of "
            f"{', '.join(str(one) for one in range(1, min(heads, 16) + 1) if heads % one == 0)}."
        )
    config = ContextParallelConfig(ulysses_degree=size, ulysses_anything=True)
    whole = ParallelConfig(context_parallel_config=config)
    mesh = init_device_mesh(transformer.device.type, config.mesh_shape, mesh_dim_names=config.mesh_dim_names)
    whole.setup(rank, size, transformer.device, mesh=mesh)
    # As ``enable_parallelism``, which has no CPU and sets all attentions: text and image are whole everywhere, and a
    # face block attends to its own frames.
    transformer._parallel_config = whole
    for block in transformer.blocks:
        block.attn1.processor._parallel_config = whole
    apply_context_parallel(transformer, config, {name: part for name, part in plan().items() if name != GATHERED})
    _face_blocks(transformer, config, rank, size)
    transformer.get_submodule(GATHERED).register_forward_hook(_gathering(mesh.get_group("ulysses"), size))


def _face_blocks(transformer: WanAnimateTransformer3DModel, config: Any, rank: int, size: int) -> None:
    """Pads a face block's tokens to whole latent frames, gives it these frames' motion, and cuts the padding off."""
    _, height, width = transformer.config.patch_size
    own: list[Frames] = []

    def measure(_: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        latent = args[0] if args else kwargs["hidden_states"]
        per_frame = (latent.shape[3] // height) * (latent.shape[4] // width)
        tokens = latent.shape[2] * per_frame
        own[:] = [frames_of(even_ranges(tokens, size)[rank], per_frame)]
        # The sizes of parts that are equal need not be asked for before each exchange.
        config.ulysses_anything = bool(tokens % size or transformer.config.num_attention_heads % size)

    def pad(_: Any, args: tuple) -> tuple:
        (frames,), (tokens, motion, *rest) = own, args
        return F.pad(tokens, (0, 0, frames.before, frames.after)), motion[:, frames.start : frames.stop], *rest

    def cut(_: Any, args: tuple, out: torch.Tensor) -> torch.Tensor:
        (frames,) = own
        return out[:, frames.before : out.shape[1] - frames.after] if out.ndim == 3 else out  # a number at strength 0

    transformer.register_forward_pre_hook(measure, with_kwargs=True)
    for block in transformer.face_adapter:
        block.register_forward_pre_hook(pad)
        block.register_forward_hook(cut)


def _gathering(group: Any, size: int) -> Any:
    """A hook that gathers every process's rows; diffusers' own wants equal parts on gloo."""
    import torch.distributed as dist

    def gather(_: Any, args: tuple, out: torch.Tensor) -> torch.Tensor:
        rows = torch.tensor([out.shape[1]])
        counts = [torch.empty_like(rows) for _ in range(size)]
        dist.all_gather(counts, rows, group=group)
        most = max(map(int, counts))
        padded = F.pad(out, (0, 0, 0, most - out.shape[1])).contiguous()
        parts = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:, : int(count)] for part, count in zip(parts, counts)], dim=1)

    return gather


def shard_weights(transformer: WanAnimateTransformer3DModel) -> None:
    """Leaves each process a part of the weights (FSDP2); a block's are gathered ahead of its use."""
    from torch.distributed.fsdp import fully_shard

    for module in (*transformer.blocks, *transformer.face_adapter):
        fully_shard(module)
    fully_shard(transformer)
