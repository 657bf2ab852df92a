"""The modules of Triton kernels, where Triton is there and whole."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

from ..log import get_logger

log = get_logger(__name__)


@cache
def load(name: str, instead: str) -> ModuleType | None:
    """A module of this package; None where Triton is missing or made for another PyTorch, which is logged once.

    Args:
        instead: what runs then, for the log.
    """
    try:
        return import_module(f".{name}", __package__)
    except Exception as error:
        log.info("no Triton here (%s): %s", error, instead)
        return None
