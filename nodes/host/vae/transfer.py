"""Finished frames on their way off a device."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def drain(parts: Iterable[torch.Tensor], out: torch.Tensor) -> None:
    """Copies parts of ``[n, H, W, C]`` to ``out``, one after the other, each while the next is computed."""
    at = 0
    waiting: tuple[torch.Tensor, torch.cuda.Event | None] | None = None
    for part in parts:
        ready = torch.cuda.current_stream(part.device).record_event() if part.is_cuda else None
        if waiting is not None:
            at += _fetch(*waiting, out[at:])
        waiting = part, ready
    if waiting is not None:
        _fetch(*waiting, out[at:])


def _fetch(part: torch.Tensor, ready: torch.cuda.Event | None, out: torch.Tensor) -> int:
    """Copies after ``ready``; returns the number of frames."""
    if ready is None or out.is_cuda:
        out[: len(part)].copy_(part)
        return len(part)
    side = torch.cuda.Stream(part.device)
    side.wait_event(ready)
    with torch.cuda.stream(side):
        out[: len(part)].copy_(part)
    return len(part)
