"""A video that is replaced while a job reads it would give frames of both: the run ends instead."""

from __future__ import annotations

import os

from ..errors import InputError
from .index import ClipFile


class Unchanged:
    """Remembers a file's size, times and inode.

    Args:
        file: one in memory never changes.
    """

    def __init__(self, file: ClipFile) -> None:
        self._file = file
        self._stamp = self._now()

    def check(self, digest: str | None = None) -> None:
        """Raises InputError if the file is another.

        Args:
            digest: of its content, where it is known: a copy of the same content, or only another time, is no change.
        """
        now = self._now()
        if now == self._stamp:
            return
        if digest is not None and now is not None and self._stamp is not None and now[0] == self._stamp[0]:
            if self._file.digest() == digest:
                self._stamp = now
                return
        found = "is gone" if now is None else "has changed"
        raise InputError(
            f"{self._file.name} {found} since this run began to read it ({self._file.path}): leave the file alone "
            "until the clip is done, and run again."
        )

    def _now(self) -> tuple[int, int, int] | None:
        if self._file.path is None:
            return (0, 0, 0)
        try:
            stat = os.stat(self._file.path)
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns, stat.st_ino
