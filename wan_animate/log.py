"""The pack's loggers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

PREFIX = "WanAnimateKit: "
"""Starts every message: ComfyUI prints messages alone, without the logger's name."""

SEGMENT_MASK = "segment mask"
"""The kind of a warning on one segment's mask; the check of the whole mask says more."""

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


def about(sentence: str = "", kind: str = "") -> dict[str, str]:
    """For ``extra`` of a warning.

    Args:
        sentence: as it stands where it is shown beside who says it; "" for the message.
        kind: a word to leave it out by (:func:`heard`).
    """
    return {"shown_as": sentence, "kind": kind}


class _Kept(logging.Handler):
    def __init__(self, but: Collection[str]) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._but = but

    def emit(self, record: logging.LogRecord) -> None:
        text = getattr(record, "shown_as", "") or record.getMessage().removeprefix(PREFIX)
        if text not in self.said and getattr(record, "kind", "") not in self._but:
            self.said.append(text)


@contextmanager
def heard(but: Collection[str] = ()) -> Iterator[list[str]]:
    """The warnings that are logged meanwhile, in any thread, without :data:`PREFIX` and each once; not those of the
    kinds ``but``."""
    logger, handler = logging.getLogger(_ROOT), _Kept(but)
    logger.addHandler(handler)
    try:
        yield handler.said
    finally:
        logger.removeHandler(handler)


def heard_now() -> list[str]:
    """The list of the innermost :func:`heard`; an empty one where nobody listens."""
    kept = [handler for handler in logging.getLogger(_ROOT).handlers if isinstance(handler, _Kept)]
    return kept[-1].said if kept else []
