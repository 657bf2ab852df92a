"""What of a MODEL sets the time of a step, for what is kept of runs."""

from __future__ import annotations

from typing import Any

from ...wan_animate.plan.measured import TimedModel, size_name, weights_name
from . import accelerate, offload
from .parallel import devices_of


def timed_model(model: Any) -> TimedModel:
    """Of a Wan Animate MODEL with its patches."""
    network = model.model.diffusion_model
    return TimedModel(
        size_name(network.dim, len(network.blocks)),
        weights_name(network.blocks[0].ffn[0].weight.dtype),
        ", ".join([*_accelerated(model), *_placed(model)]),
    )


def _accelerated(model: Any) -> list[str]:
    settings = accelerate.settings_of(model)
    if settings is None:
        return []
    plain = accelerate.Settings()
    return [
        *([f"{settings.attention} attention"] if settings.attention != plain.attention else []),
        *([f"reuse {settings.reuse}"] if settings.reuse != plain.reuse else []),
        *(["compiled"] if settings.compile_blocks else []),
        *([f"products {settings.matmul}"] if settings.matmul != plain.matmul else []),
        *(["fused"] if settings.fused else []),
    ]


def _placed(model: Any) -> list[str]:
    placed = offload.settings_of(model)
    cards = len(devices_of(model))
    where = [] if placed is None else [
        f"offload to {placed.gigabytes:g} GB" if placed.how == "fit" else f"{placed.blocks} blocks offloaded"
    ]  # fmt: skip
    return [*where, *([f"{cards} cards"] if cards > 1 else [])]
