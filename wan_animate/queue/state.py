"""What is done of the jobs, on disk, so that the same command goes on."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from threading import Lock
from typing import Any

from ..chain.job_lock import JobLock
from ..errors import InputError
from ..files import make_folder
from ..json_text import parse_json

FILE = "queue.jsonl"


class State:
    """A line of JSON for each event, in the folder of the results; held by one process at a time.

    Args:
        folder: made if it is missing.

    Raises:
        InputError: the folder cannot be written, or another process works in it.
    """

    def __init__(self, folder: str | Path):
        self.folder = make_folder(folder, "the results")
        self.path = self.folder / FILE
        self._lock, self._write = JobLock(self.folder), Lock()
        if not self._lock.acquire():
            raise InputError(f"another process sends jobs to {folder}: wait for it, or give another --out.")
        try:
            self._last = self._read()
            self._file = open(self.path, "a", encoding="utf-8")
        except BaseException as error:
            self._lock.release()
            if not isinstance(error, OSError):
                raise
            raise InputError(f"{self.path} cannot be written ({error.strerror}): give another --out.") from error

    def close(self) -> None:
        self._file.close()
        self._lock.release()

    def last(self, key: str) -> dict[str, Any]:
        """The newest event of a job: ``event`` is ``sent``, ``lost``, ``stopped``, ``failed`` or ``done``; ``{}`` for
        a new one."""
        return self._last.get(key, {})

    def tell(self, key: str, event: str, **more: Any) -> None:
        """Durable when it returns."""
        entry = {"key": key, "event": event, "at": round(time.time(), 3), **more}
        with self._write:
            self._last[key] = entry
            try:
                self._file.write(json.dumps(entry) + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise InputError(
                    f"{self.path} cannot be written ({error.strerror}): free space there; the same command goes on."
                ) from error

    def done(self, key: str) -> list[Path] | None:
        """The results of a job that are whole; None if it is to be run."""
        entry = self.last(key)
        if entry.get("event") != "done":
            return None
        files = [(self.folder / name, size) for name, size in entry["files"]]
        return [path for path, _ in files] if all(_size(path) == size for path, size in files) else None

    def sweep(self, names: list[str]) -> None:
        """Removes what a killed process left half written."""
        begun = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part(\.\w+)?")
        for path in self.folder.iterdir():
            found = begun.fullmatch(path.name)
            if found and any(name.startswith(found[1]) or found[1].startswith(name) for name in names):
                path.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, Any]]:
        last: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return last
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                entry = parse_json(line)
                last[entry["key"]] = entry
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f"{self.path} is no record of jobs: give another --out, or remove it to begin anew."
                ) from None
        if len(whole) != len(text):  # ended while it wrote
            os.truncate(self.path, len(whole))
        return last


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
