"""Where colours are computed on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch


def own_stream(device: torch.device | str) -> AbstractContextManager:
    """On CUDA a queue of its own: frames are read in a thread, which would wait for all that a sampler has queued."""
    device = torch.device(device)
    return torch.cuda.stream(_stream(device)) if device.type == "cuda" else nullcontext()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=-1)
