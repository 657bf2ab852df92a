"""The pack's loggers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
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


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().removeprefix(PREFIX)
        if text not in self.said:
            self.said.append(text)


@contextmanager
def heard() -> Iterator[list[str]]:
    """The warnings that are logged meanwhile, in any thread, without :data:`PREFIX` and each once."""
    logger, handler = logging.getLogger(_ROOT), _Kept()
    logger.addHandler(handler)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)


def heard_now() -> list[str]:
    """The list of the innermost :func:`heard`; an empty one where nobody listens."""
    kept = [handler for handler in logging.getLogger(_ROOT).handlers if isinstance(handler, _Kept)]
    return kept[-1].said if kept else []
