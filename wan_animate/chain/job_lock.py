"""A lock on a job's folder, so that two processes never work in it at a time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..log import get_logger

log = get_logger(__name__)


class JobLock:
    """A lock file beside a folder, which may be moved meanwhile. Reentrant; a process that ends releases it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._file: FileLock | None = None
        self._depth = 0

    @property
    def held(self) -> bool:
        return self._depth > 0

    def acquire(self) -> bool:
        """Takes the lock if it is free, and says whether it is held now.

        Raises:
            OSError: the lock file cannot be made.
        """
        if not self.held and not self._lock():
            return False
        self._depth += 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth or self._file is None:
            return
        # Removed while it is held: filelock from 3.32.7 on refuses a lock on a file that is gone.
        with suppress(OSError):  # Windows removes no open file; filelock does so after the release there
            Path(self._file.lock_file).unlink()
        self._file.release()
        self._file = None

    def _lock(self) -> bool:
        try:
            return self._lock_file(self._folder.parent / f".{self._folder.name}.lock")
        except PermissionError:  # the folder may be written, the one around it not
            return self._lock_file(self._folder / ".lock")

    def _lock_file(self, path: Path) -> bool:
        file = FileLock(path)
        try:
            file.acquire(timeout=0)
        except Timeout:
            return False
        except NotImplementedError:
            log.warning("%s: this file system has no locks, so start the job in one process only", self._folder)
            return True
        self._file = file
        return True
