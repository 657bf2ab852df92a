"""Which files fit a card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..plan import costs
from .manifest import ModelFile, bytes_text

SIZE, LATENT_FRAMES = (832, 480), 20  # one segment of 77 frames
OFFLOADED = costs.OFFLOADED["bf16"] / costs.WEIGHTS["bf16"]
"""VRAM with all blocks in host memory, as a share of the file: measured for bf16 (fp8: 0.076)."""

WHOLE, PARTS, NO, UNKNOWN = "whole", "parts", "no", "unknown"


@dataclass(frozen=True)
class Fit:
    """Whether a file fits a card.

    Attributes:
        how: ``whole``, all weights on the card; ``parts``, with blocks in host memory; ``no``; ``unknown``.
        whole, parts: bytes of VRAM for each, None where the file's size is not known.
    """

    how: str
    whole: float | None = None
    parts: float | None = None

    @property
    def text(self) -> str:
        if self.how == UNKNOWN or self.whole is None or self.parts is None:
            return "not known"
        words = {
            WHOLE: f"fits ({bytes_text(self.whole)})",
            PARTS: f"in parts ({bytes_text(self.parts)} of {bytes_text(self.whole)})",
            NO: f"too large ({bytes_text(self.parts)} at least)",
        }
        return words[self.how]


def about(model: ModelFile) -> float | None:
    """Bytes, by its rounded size where the exact one is not known."""
    if model.size is not None:
        return model.size
    number, _, unit = (model.size_about or "").partition(" ")
    factor = {"GB": 1e9, "MB": 1e6, "kB": 1e3}.get(unit)
    return float(number) * factor if factor else None


def fit(model: ModelFile, vram: int) -> Fit:
    """Whether a file fits a card of ``vram`` bytes, at 832x480 and 77 frames.

    A transformer by :mod:`..plan.costs` (estimated for packings that were not measured); others, which run at other
    times, by their size. ``vram`` 0 is a CPU.
    """
    size = about(model)
    if size is None or not vram:
        return Fit(UNKNOWN)
    if model.role != "transformer":
        return Fit(WHOLE if size <= vram else PARTS, size, min(size, vram))
    activations = costs.ACTIVATIONS * costs.tokens(SIZE, LATENT_FRAMES)
    whole = size + costs.RESIDENT + activations
    parts = costs.OFFLOADED.get(model.weights or "", OFFLOADED * size) + activations
    return Fit(WHOLE if whole <= vram else PARTS if parts <= vram else NO, whole, parts)


def recommended(models: Iterable[ModelFile], vram: int) -> list[ModelFile]:
    """One file of each role, optional ones too, with those beside it.

    Of the transformers that this pack loads: the largest that fits whole, else the smallest; of equals one with a
    verified hash. Of other roles the workflows' default, else the first.
    """
    every = list(models)
    chosen: dict[str, ModelFile] = {}
    for role in dict.fromkeys(model.role for model in every if model.role != "pose_detector_data"):
        own = [model for model in every if model.role == role and model.loader is None]
        pick = next((model for model in own if model.default), own[0]) if own else None
        if pick is not None and role == "transformer" and vram:
            pick = _transformer(own, vram)
        if pick is not None:
            chosen[pick.name] = pick
    beside = {name for model in chosen.values() for name in model.beside}
    return [*chosen.values(), *(model for model in every if model.name in beside)]


def _transformer(models: Sequence[ModelFile], vram: int) -> ModelFile:
    sized = sorted(models, key=lambda model: (round((about(model) or 0) / 1e8), model.verified))
    whole = [model for model in sized if fit(model, vram).how == WHOLE]
    return whole[-1] if whole else sized[0]
