"""The diffusers backend on several cards: one process has the clip, all compute its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ..parallel.processes import Group
from .attention import NATIVE, choose_attention, set_attention
from .context_parallel import parallelize, shard_weights
from .diffusers import load_transformer
from .face_features import FaceFeatures
from .fp8_linears import AS_LOADED, FP8, Linears, quantize_linears
from .fused_blocks import prepare
from .lora import add_lora
from .strength import scaled

LOAD, ATTENTION, STEP, END = "load", "attention", "step", "end"
EXCHANGING = (NATIVE, "_native_cudnn", "_native_flash", "flash")  # of diffusers' exact ones, those that it can split
FACES = 2  # videos whose features are kept: the segment's, and the blank one


class SplitTransformer:
    """The leader's transformer: called as diffusers', computed by all.

    Args:
        given: as :class:`Part`; each process loads for itself.

    Raises:
        InputError: the folder or the LoRA cannot be read, or more processes than attention heads.
    """

    def __init__(self, group: Group, **given: Any) -> None:
        self.group = group
        group.send(LOAD, given)
        self.part = Part(group, **given)
        transformer = self.part.transformer
        self.config, self.dtype, self.device = transformer.config, transformer.dtype, group.device
        self._strengths = 1.0, 1.0
        self._face: int | None = None
        self._numbers = count()

    def choose_attention(self, tokens: int, kept: Path) -> None:
        """As :func:`.attention.choose_attention`, the same for all; on a CPU nothing."""
        if self.device.type != "cuda":
            return
        given = {"name": choose_attention(self.part.transformer, tokens, kept, EXCHANGING)}
        self.group.send(ATTENTION, given)
        self.part.set_attention(**given)

    @contextmanager
    def scaled(self, pose: float, face: float) -> Iterator[None]:
        """As :func:`.strength.scaled`, in every process."""
        before, self._strengths = self._strengths, (pose, face)
        try:
            yield
        finally:
            self._strengths = before

    def face_features(self, video: torch.Tensor) -> SplitFaces:
        return SplitFaces(self, next(self._numbers), video)

    @contextmanager
    def showing(self, number: int) -> Iterator[None]:
        """Features of the face video ``number`` are computed in its first pass within."""
        before, self._face = self._face, number
        try:
            yield
        finally:
            self._face = before

    def __call__(self, **given: Any) -> Any:
        given |= {"strengths": self._strengths, "number": self._face}
        self.group.send(STEP, given)
        return self.part.compute(**given)


class SplitFaces:
    """As :class:`.face_features.FaceFeatures`, kept by every process."""

    def __init__(self, transformer: SplitTransformer, number: int, video: torch.Tensor) -> None:
        self._transformer, self._number, self._video = transformer, number, video
        self._known = False

    @property
    def video(self) -> torch.Tensor:
        return self._video[:, :, :1] if self._known else self._video

    @contextmanager
    def once(self) -> Iterator[None]:
        with self._transformer.showing(self._number):
            yield
        self._known = True


class Part:
    """One process's transformer.

    Args:
        loras: (path, strength).
        shard: leave a part of the weights on each card; not with fp8.
        linears: as in :mod:`.fp8_linears`.
    """

    def __init__(
        self,
        group: Group,
        folder: str,
        dtype: torch.dtype,
        loras: Sequence[tuple[str, float]] = (),
        shard: bool = False,
        linears: Linears = AS_LOADED,
    ) -> None:
        transformer = load_transformer(folder, dtype)
        if linears == FP8:
            quantize_linears(transformer, group.device, measured=group.rank == 0)
        for path, strength in loras:
            add_lora(transformer, path, strength)
        if shard:
            shard_weights(transformer)
        self.transformer = transformer.to(group.device)
        self._faces: dict[int, FaceFeatures] = {}
        prepare(self.transformer)
        parallelize(self.transformer, group.rank, group.size)

    def set_attention(self, name: str) -> None:
        set_attention(self.transformer, name)

    def compute(
        self, strengths: tuple[float, float], number: int | None, face_pixel_values: torch.Tensor, **given: Any
    ) -> Any:
        """The whole result; ``number`` is the face video's, None without features."""
        with ExitStack() as stack:
            stack.enter_context(scaled(self.transformer, *strengths))
            if number is not None:
                if number not in self._faces:
                    self._faces[number] = FaceFeatures(self.transformer, face_pixel_values)
                stack.enter_context(self._faces[number].once())
                while len(self._faces) > FACES:
                    del self._faces[min(self._faces)]
            return self.transformer(face_pixel_values=face_pixel_values, **given)


@torch.no_grad()
def serve(group: Group) -> None:
    """Does what the leader sends, until it ends."""
    part: Any = None
    while True:
        what, values = group.receive()
        if what == END:
            return
        if what == LOAD:
            part = Part(group, **values)
        elif what == ATTENTION:
            part.set_attention(**values)
        else:
            part.compute(**values)


def end(group: Group) -> None:
    """Lets the others end."""
    group.send(END, {})
