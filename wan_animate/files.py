"""Writing files so that none is ever seen half-written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def replacing(path: str | os.PathLike, what: str) -> Iterator[str]:
    """A temporary name beside ``path``; becomes ``path`` when the block ends, is removed when it is left by an error.

    Raises:
        InputError: the folder is missing or cannot be written (``what`` names the file in the sentence).
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{what} cannot be written to {path}: there is no folder {folder}; create it or name another.")
    if path.is_dir():
        raise InputError(f"{what} cannot be written to {path}: that is a folder; name a file in it.")
    temporary = folder / f".{path.stem[:80]}.{uuid.uuid4().hex[:8]}.part{path.suffix}"
    try:
        try:
            with open(temporary, "xb"):
                pass
        except OSError as error:
            raise InputError(
                f"{what} cannot be written to the folder {folder} ({error.strerror}): free it or name another folder."
            ) from None
        yield str(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
