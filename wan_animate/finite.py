"""Numbers that are none (NaN) or infinite: what is made of one is black or noise, without an error anywhere."""

from __future__ import annotations

import torch

from .errors import InputError


def is_finite(values: torch.Tensor) -> bool:
    """Whether every number is one. Costs a sum, in float32 or wider: a NaN or an infinity does not leave it."""
    if not values.is_floating_point():
        return True
    values = _wide(values)
    # finite ones may add up to infinity
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def check_finite(values: torch.Tensor, what: str, remedy: str) -> None:
    """Raises InputError unless every number is one: ``what`` holds them, ``remedy`` ends the sentence."""
    if not is_finite(values):
        count = int((~torch.isfinite(_wide(values))).sum())
        raise InputError(
            f"{what} holds {count:,} numbers of {values.numel():,} that are NaN or infinite, which would make the clip "
            f"black or noise: {remedy}."
        )


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
