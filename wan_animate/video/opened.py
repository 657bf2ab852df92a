"""Clips whose files are open. Who keeps a clip for later, as ComfyUI keeps what a node made, would keep its file open
too: on Windows it could be neither replaced nor deleted."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frames import FrameSource

_lock = threading.Lock()
_opened: weakref.WeakSet[FrameSource] = weakref.WeakSet()
_timer: threading.Timer | None = None


def opened(source: FrameSource) -> None:
    """Notes a source that is being read; it may be closed by another thread, between two reads."""
    with _lock:
        _opened.add(source)


def close_opened() -> None:
    """Closes the sources that were read; reading opens them again."""
    with _lock:
        sources = list(_opened)
        _opened.clear()
    for source in sources:
        source.close()


def close_opened_later(seconds: float = 10.0) -> None:
    """:func:`close_opened` after a while in which this is not called again: who looks through a clip reads on."""
    global _timer
    with _lock:
        if _timer is not None:
            _timer.cancel()
        _timer = threading.Timer(seconds, close_opened)
        _timer.daemon = True
        _timer.start()
