"""The diffusers backend on several cards: one process has the clip, all compute its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..parallel.processes import Group
from .context_parallel import parallelize, shard_weights
from .diffusers import load_transformer
from .lora import add_lora
from .strength import scaled

if TYPE_CHECKING:
    from diffusers import WanAnimateTransformer3DModel

LOAD, STEP, END = "load", "step", "end"


class SplitTransformer:
    """The leader's transformer: called as diffusers', computed by all.

    Args:
        given: as :func:`load_part`; each process loads for itself.

    Raises:
        InputError: the folder or the LoRA cannot be read, or more processes than attention heads.
    """

    def __init__(self, group: Group, **given: Any) -> None:
        self.group = group
        group.send(LOAD, given)
        self.transformer = load_part(group, **given)
        self.config, self.dtype, self.device = self.transformer.config, self.transformer.dtype, group.device
        self._strengths = 1.0, 1.0

    @contextmanager
    def scaled(self, pose: float, face: float) -> Iterator[None]:
        """As :func:`.strength.scaled`, in every process."""
        before, self._strengths = self._strengths, (pose, face)
        try:
            yield
        finally:
            self._strengths = before

    def __call__(self, **given: Any) -> Any:
        self.group.send(STEP, {"strengths": self._strengths, **given})
        return compute(self.transformer, strengths=self._strengths, **given)


def load_part(
    group: Group, folder: str, dtype: torch.dtype, lora: str | None = None, shard: bool = False
) -> WanAnimateTransformer3DModel:
    """This process's transformer.

    Args:
        shard: leave a part of the weights on each card.
    """
    transformer = load_transformer(folder, dtype)
    if lora is not None:
        add_lora(transformer, lora)
    if shard:
        shard_weights(transformer)
    transformer = transformer.to(group.device)
    parallelize(transformer, group.rank, group.size)
    return transformer


def compute(transformer: WanAnimateTransformer3DModel, strengths: tuple[float, float], **given: Any) -> Any:
    with scaled(transformer, *strengths):
        return transformer(**given)


@torch.no_grad()
def serve(group: Group) -> None:
    """Does what the leader sends, until it ends."""
    transformer: Any = None
    while True:
        what, values = group.receive()
        if what == END:
            return
        if what == LOAD:
            transformer = load_part(group, **values)
        else:
            compute(transformer, **values)


def end(group: Group) -> None:
    """Lets the others end."""
    group.send(END, {})
