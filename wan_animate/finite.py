"""Checks for NaN and infinity, which give black or noisy frames without an error."""

from __future__ import annotations

import torch

from .errors import InputError


def is_finite(values: torch.Tensor) -> bool:
    """Checks the sum first: NaN and infinity propagate to it."""
    if not values.is_floating_point():
        return True
    values = _wide(values)
    # finite values may overflow in the sum
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def check_finite(values: torch.Tensor, what: str, remedy: str) -> None:
    """Raises InputError for NaN or infinity in ``what``; ``remedy`` is the advice."""
    if not is_finite(values):
        count = int((~torch.isfinite(_wide(values))).sum())
        raise InputError(
            f"{what} holds {count:,} numbers of {values.numel():,} that are NaN or infinite, which would make the clip "
            f"black or noise: {remedy}."
        )


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
