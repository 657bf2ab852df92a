"""Where the threads of a group hand each other values; nobody waits forever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any


class Stopped(RuntimeError):
    """Another member of the group failed, was cancelled or did not come."""


class Meeting:
    """Values by key, each for a number of readers.

    Args:
        timeout: seconds until a missing value ends the group.
    """

    LOOK = 0.2  # seconds between looks for Cancel

    def __init__(self, timeout: float = 600.0) -> None:
        self.timeout = timeout
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._values: dict[Hashable, list[Any]] = {}  # [value, readers left]

    def put(self, key: Hashable, value: Any, readers: int) -> None:
        """Raises Stopped."""
        with self._changed:
            self.check()
            if readers:
                self._values[key] = [value, readers]
                self._changed.notify_all()

    def take(self, key: Hashable, check: Callable[[], None] | None = None) -> Any:
        """Waits for a value.

        Args:
            check: called while waiting; raises to give up.

        Raises:
            Stopped: the group ended, or the value did not come in time.
        """
        end = time.monotonic() + self.timeout
        while True:
            with self._changed:
                self.check()
                entry = self._values.get(key)
                if entry is not None:
                    entry[1] -= 1
                    if not entry[1]:
                        del self._values[key]
                    return entry[0]
                self._changed.wait(self.LOOK)
            if check is not None:
                check()
            if time.monotonic() > end:
                error = TimeoutError(f"nothing came from another card for {self.timeout:g} seconds")
                self.stop(error)
                raise Stopped(str(error)) from error

    def stop(self, error: BaseException) -> None:
        """Ends the group: who waits, or comes later, raises Stopped. The first error is kept."""
        with self._changed:
            self.error = self.error or error
            self._values.clear()
            self._changed.notify_all()

    def check(self) -> None:
        """Raises Stopped after :meth:`stop`."""
        if self.error is not None:
            raise Stopped("another card's part ended") from self.error
