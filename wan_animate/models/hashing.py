"""SHA-256 of files, kept for those that have not changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..files import make_folder, reading, replacing
from ..schema import read_json

CHUNK = 8 << 20

Report = Callable[[int, int], None]
"""(bytes done, bytes in all); raises to stop the work."""


def ignore(_done: int, _total: int) -> None:
    """A :data:`Report` for nobody."""


def sha256_of(path: Path, report: Report = ignore) -> str:
    """Raises InputError if it cannot be read."""
    digest, done, total = hashlib.sha256(), 0, os.path.getsize(path)
    with reading(path, "the model file", "correct its folder's permissions"), open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done, max(total, done))
    return digest.hexdigest()


class HashCache:
    """Hashes by path, for as long as size and time of change stay.

    Args:
        path: a JSON file, written after every new hash; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, list] = {}
        if path is not None:
            with suppress(OSError, InputError):  # damaged: computed again
                kept = read_json(path.read_bytes(), dict[str, tuple[int, int, str]], "the list of hashes", "remove it")
                self._known = {name: list(entry) for name, entry in kept.items()}

    def get(self, path: Path) -> str | None:
        """The hash of the file as it is now, if it was computed."""
        kept = self._known.get(str(path.resolve()))
        return kept[2] if kept and kept[:2] == _stamp(path) else None

    def put(self, path: Path, sha256: str) -> None:
        self._known[str(path.resolve())] = [*_stamp(path), sha256]
        if self.path is not None:
            make_folder(self.path.parent, "the list of hashes")
            with replacing(self.path, "the list of hashes") as temporary:
                Path(temporary).write_text(json.dumps(self._known, indent=1), encoding="utf-8")


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
