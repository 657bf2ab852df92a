"""The pack's loggers."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

PREFIX = "WanAnimateKit: "
"""Starts every message: ComfyUI prints messages alone, without the logger's name."""

_ROOT = "wan_animate"
_PACK = __name__.removesuffix(f"{_ROOT}.log")  # ComfyUI names a custom node pack's package by its path


class _PrefixedLogger(logging.LoggerAdapter):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"{PREFIX}{msg}", kwargs


def get_logger(module: str) -> logging.LoggerAdapter:
    """A child of ``logging.getLogger("wan_animate")``, for engine and nodes, wherever the package is installed."""
    name = module.removeprefix(_PACK)
    if name != _ROOT and not name.startswith(f"{_ROOT}."):
        name = f"{_ROOT}.{name}"
    return _PrefixedLogger(logging.getLogger(name), {})
