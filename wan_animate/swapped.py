"""Attributes of shared objects in place of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def swapped(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    """Sets an instance attribute; afterwards the owner has its own again, or none."""
    had_own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if had_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
