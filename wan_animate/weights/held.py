"""Model files that are overwritten while their weights are in memory.

What is loaded may be the file itself, mapped by the system page by page: one that is written over changes the weights,
and how much of them nobody knows. A file that is replaced under its name (another inode) leaves them as they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError
from ..record.identity import WHOLE, content_identity


@dataclass(frozen=True)
class HeldFile:
    """A file as it was.

    Attributes:
        identity: :func:`..record.identity.content_identity`.
        place: device and inode.
        times: of the content's and of the inode's last change, nanoseconds.
    """

    path: str
    identity: str
    place: tuple[int, int]
    size: int
    times: tuple[int, int]

    @classmethod
    def of(cls, path: str | os.PathLike) -> HeldFile:
        """As it is now. Raises OSError."""
        found = os.stat(path)  # before it is read: what is written from here on is seen
        identity = content_identity(path)
        return cls(
            os.fspath(path), identity, (found.st_dev, found.st_ino), found.st_size,
            (found.st_mtime_ns, found.st_ctime_ns),
        )  # fmt: skip

    def overwritten_by(self, now: HeldFile) -> bool:
        """Whether ``now`` is this file with another content.

        A large file is read in samples, so that one whose content was written at another time counts as changed.
        """
        if now.place != self.place or (now.size, now.times) == (self.size, self.times):
            return False
        written = now.size != self.size or (now.size > WHOLE and now.times[0] != self.times[0])
        return written or now.identity != self.identity


class HeldFiles:
    """Files that weights in memory were read from.

    Args:
        paths: what cannot be read is left out.
        remedy: what to do once one was overwritten.
    """

    def __init__(self, paths: Iterable[str | os.PathLike], remedy: str) -> None:
        self._remedy = remedy
        self._files: dict[str, HeldFile] = {}
        for path in paths:
            try:
                self._files[os.fspath(path)] = HeldFile.of(path)
            except OSError:
                continue

    def check(self) -> None:
        """Raises InputError for a file that was overwritten. Reads one only whose size or times are others."""
        for path, then in self._files.items():
            try:
                found = os.stat(path)
                if (found.st_size, (found.st_mtime_ns, found.st_ctime_ns)) == (then.size, then.times):
                    continue
                now = HeldFile.of(path)
            except OSError:  # gone from its name: what is loaded is still there
                continue
            if then.overwritten_by(now):
                raise InputError(overwritten(path, self._remedy))
            if now.place == then.place:
                self._files[path] = now


def overwritten(path: str, remedy: str) -> str:
    """The sentence."""
    return (
        f"{os.path.basename(path)} was overwritten while its weights were in memory ({path}), so that what the frames "
        f"would be made with is not known: {remedy}."
    )
