"""Which parts of a network are computed in each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Forwards:
    """Calls by name since the last step, and those of each step so far; :meth:`step` is a sampler's callback."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.steps: list[dict[str, int]] = []

    def step(self, *_: object) -> None:
        self.steps.append(dict(self.calls))
        self.calls.clear()


@contextmanager
def counted(parts: dict[str, torch.nn.Module]) -> Iterator[Forwards]:
    """Counts the forwards of modules by name."""
    found = Forwards()
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: found.calls.update([name])) for name, part in parts.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
