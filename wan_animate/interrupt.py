"""Ctrl+C in the shell: never within an import, and an exit as shells expect."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def whole_imports() -> Iterator[None]:
    """Raises Ctrl+C after the imports within; a second one ends the process at once.

    PyTorch swallows a KeyboardInterrupt while it imports NumPy, which cannot be imported twice.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else ignored (nohup), or another's
    if not ours or threading.current_thread() is not threading.main_thread():  # only that one hears it
        yield
        return
    heard = False

    def wait(*_: object) -> None:
        nonlocal heard
        heard = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if heard:
            raise KeyboardInterrupt


def is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl+C is its root cause; libraries may raise their own error."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def end_by_interrupt() -> None:
    """Ends the process by SIGINT, so that a shell's loop ends too; returns on Windows."""
    if sys.platform != "win32":
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
