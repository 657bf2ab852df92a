"""The host's transformer on a part of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F

from ....wan_animate.parallel.partition import Frames, Layout, frames_of, layout
from ....wan_animate.parallel.ulysses import Member
from ....wan_animate.swapped import swapped

OVERRIDE = "optimized_attention_override"


@contextmanager
def sharded(module: Any, member: Member, groups: int) -> Iterator[None]:
    """Within, ``forward_orig`` computes the member's tokens; the first member returns the whole."""
    plain = module.forward_orig

    @torch.compiler.disable(recursive=False)
    def forward_orig(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return _forward(module, member, groups, plain, x, *args, **kwargs)

    with swapped(module, "forward_orig", forward_orig):
        yield


def _forward(
    module: Any,
    member: Member,
    groups: int,
    plain: Callable,
    x: torch.Tensor,
    *args: Any,
    freqs: torch.Tensor,
    pose_latents: torch.Tensor | None = None,
    face_pixel_values: torch.Tensor | None = None,
    transformer_options: dict[str, Any],
    **kwargs: Any,
) -> torch.Tensor:
    shape = [size // patch for size, patch in zip(x.shape[2:], module.patch_size)]  # latent frames, rows, columns
    per_frame = shape[1] * shape[2]
    parts = layout(shape[0] * per_frame, module.num_heads, len(member.devices), groups)
    own = parts.tokens[member.rank]
    frames = frames_of(own, per_frame)
    # The pose of frame k has index k - 1, so that a frame before the first must be there to be added to.
    lead = max(frames.start - 1, 0)
    if pose_latents is not None:
        pose_latents = pose_latents[:, :, lead : frames.stop - 1]
        pose_latents = pose_latents if pose_latents.shape[2] else None
    embed = _Embedding(module, shape[0], frames, frames.start - lead)
    options = {**transformer_options, OVERRIDE: Exchange(member, parts, transformer_options.get(OVERRIDE))}
    with ExitStack() as stack:
        stack.enter_context(swapped(module, "after_patch_embedding", embed))
        for block in module.face_adapter.fuser_blocks:
            stack.enter_context(_whole_frames(block, frames))
        out = plain(
            x[:, :, lead : frames.stop],
            *args,
            freqs=freqs[:, own.start : own.stop],
            pose_latents=pose_latents,
            face_pixel_values=face_pixel_values,
            transformer_options=options,
            **kwargs,
        )
    # [batch, channels, 1, 2, 2 * tokens]: to unpatchify(), all tokens are in one row
    if member.rank:
        member.give("tokens", out)
        return out
    whole = [out, *(member.receive("tokens", rank) for rank in range(1, parts.size))]
    return unpatchify(torch.cat(whole, dim=-1), shape)


def unpatchify(rows: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """``[batch, channels, 1, 2, 2 * tokens]`` to ``[batch, channels, frames, 2 * rows, 2 * columns]``.

    Args:
        shape: frames, rows, columns of tokens.
    """
    batch, channels = rows.shape[:2]
    split = rows.reshape(batch, channels, 2, *shape, 2).permute(0, 1, 3, 4, 2, 5, 6)
    return split.reshape(batch, channels, shape[0], 2 * shape[1], 2 * shape[2])


class _Embedding:
    """``after_patch_embedding`` of some frames, cut to the member's tokens; the face video is encoded whole.

    Args:
        count: frames of the whole.
        lead: frames before the first.
    """

    def __init__(self, module: Any, count: int, frames: Frames, lead: int) -> None:
        self.plain = module.after_patch_embedding
        self.count, self.frames, self.lead = count, frames, lead

    def __call__(
        self, x: torch.Tensor, pose: torch.Tensor | None, face: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        x = self.plain(x, pose, None)[0][:, :, self.lead :].flatten(2)
        x = x[:, :, self.frames.before : x.shape[2] - self.frames.after]
        motion = None
        if face is not None:
            motion = self.plain(x.new_empty(x.shape[0], 1, self.count, 1, 1), None, face)[1]
            motion = motion[:, self.frames.start : self.frames.stop]
        return x[:, :, None, None], motion


@contextmanager
def _whole_frames(block: Any, frames: Frames) -> Iterator[None]:
    """A face block attends within each latent frame: its tokens are padded to whole frames, which are cut off again."""

    def pad(_: Any, args: tuple) -> tuple:
        return F.pad(args[0], (0, 0, frames.before, frames.after)), *args[1:]

    def cut(_: Any, args: tuple, out: torch.Tensor) -> torch.Tensor:
        return out[:, frames.before : out.shape[1] - frames.after]

    if not (frames.before or frames.after):
        yield
        return
    hooks = block.register_forward_pre_hook(pad), block.register_forward_hook(cut)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Exchange:
    """The attention override of one forward: the first attention of a block, over its own tokens, sees all tokens.

    Args:
        before: an earlier override, called with the member's heads.
    """

    def __init__(self, member: Member, parts: Layout, before: Callable | None) -> None:
        self.member, self.parts, self.before = member, parts, before
        self.tokens = len(parts.tokens[member.rank])
        self._done: set[int] = set()

    # not traced within a compiled block
    @torch.compiler.disable
    def __call__(
        self, func: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        block = kwargs.get("transformer_options", {}).get("block_index", -1)
        if not (q.shape[1] == k.shape[1] == self.tokens) or block in self._done:
            return self._attend(func, q, k, v, heads, *args, **kwargs)  # attention to text and image
        self._done.add(block)

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
            return self._attend(func, q, k, v, heads, *args, **kwargs)

        return self.member.attention(q, k, v, heads, self.parts, attend)

    def _attend(self, func: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
        return func(*args, **kwargs) if self.before is None else self.before(func, *args, **kwargs)
