"""Atomic writing and reading of files. In all functions ``what`` names the file in errors."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import struct
import sys
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from .errors import InputError

# What parsers raise for invalid content. SafetensorError stands for a full disk as well.
_DAMAGED = (
    SafetensorError, ValueError, EOFError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, SyntaxError,
    ArithmeticError, AssertionError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
    pickle.UnpicklingError,
)  # fmt: skip
_NAME_BYTES = 40
CACHE = "WAN_ANIMATE_CACHE"
"""Environment variable: a folder in place of the user's own in :func:`cache_folder`."""


def short_name(name: str) -> str:
    """Shortens a user's file name for use within another: most file systems allow 255 bytes."""
    return name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore").strip()


def check_ending(path: str | os.PathLike, what: str, endings: tuple[str, ...]) -> Path:
    """Raises InputError unless the suffix is among ``endings`` (lower case, the first is suggested)."""
    path = Path(path)
    if path.suffix.lower() not in endings and not os.path.isdir(path):
        named = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise InputError(f"{what} is written as {endings[0]}, but {path} {named}: name it {path.stem}{endings[0]}.")
    return path


def cache_folder() -> Path:
    """The user's own folder for what the shell keeps; :data:`CACHE` names another."""
    own = os.environ.get(CACHE)
    if own:
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "wan-animate"


def check_place(path: str | os.PathLike, what: str) -> Path:
    """Checks that ``path`` can be written, before the work.

    Raises:
        InputError: folder missing or not writable, or name too long, invalid or a folder's.
    """
    path = Path(path)
    folder = path.parent
    if not os.path.isdir(folder):
        raise InputError(f"{what} cannot be written to {path}: there is no folder {folder}; create it or name another.")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # too long, or an invalid character
        raise InputError(
            f"{what} cannot be written to {path} ({_reason(error)}): choose a shorter or plainer name."
        ) from None
    if os.path.isdir(path):
        raise InputError(f"{what} cannot be written to {path}: that is a folder; name a file in it.")
    _remove(_create(path, what))
    return path


def make_folder(folder: str | os.PathLike, what: str) -> Path:
    """Creates a missing folder. Raises InputError."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{what} cannot be written to the folder {folder}, which cannot be made ({_reason(error)}): name another."
        ) from error
    return folder


@contextmanager
def no_empty_folders(*folders: str | os.PathLike, always: bool = False) -> Iterator[None]:
    """If the block raises, or ``always``, removes folders (and parents) that it created and left empty."""
    whole = [Path(folder).absolute() for folder in folders]
    missing = [path for folder in whole for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        yield
    except BaseException:
        remove_empty(missing)
        raise
    if always:
        remove_empty(missing)


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes empty folders, innermost first."""
    for folder in sorted(set(folders), key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _written(what: str, path: Path | str | os.PathLike, remedy: str) -> Iterator[None]:
    """Raises InputError for an error of the disk."""
    try:
        yield
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        remedy = remedy or "free space there or name another place"
        raise InputError(f"{what} cannot be written to {path} ({_reason(error)}): {remedy}.") from error


@contextmanager
def replacing(path: str | os.PathLike, what: str, remedy: str = "", durable: bool = True) -> Iterator[str]:
    """Yields a temporary path that replaces ``path`` after the block, or is removed if it raises.

    Args:
        durable: after a power cut ``path`` is there whole, or as it was.

    Raises:
        InputError: as :func:`check_place`, or any library failed to write (disk full, quota).
    """
    path = check_place(path, what)
    temporary = _create(path, what)
    try:
        with _written(what, path, remedy):
            yield str(temporary)
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync_folder(path.parent)
    finally:
        _remove(temporary)


@contextmanager
def new_folder(path: str | os.PathLike, what: str, remedy: str = "") -> Iterator[str]:
    """:func:`replacing` for a folder of files, which must not exist; durable as well."""
    path = Path(path)
    if os.path.lexists(path):
        raise InputError(f"{what} cannot be written to {path}, which is there already: name a new folder.")
    temporary = path.parent / f".{short_name(path.name)}.{uuid.uuid4().hex[:8]}.part"
    try:
        with _written(what, path, remedy):
            os.mkdir(temporary)
            yield str(temporary)
            for file in temporary.iterdir():
                sync(file)
            sync_folder(temporary)
            os.rename(temporary, path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rename(source: str | os.PathLike, path: str | os.PathLike, what: str) -> None:
    """Renames on the same disk, so that a power cut does not undo it. Raises InputError."""
    try:
        os.replace(source, path)
        sync_folder(Path(path).parent)
    except OSError as error:
        raise InputError(
            f"{what} cannot be named {path} ({_reason(error)}), and stays in {source}: move it from there."
        ) from error


@contextmanager
def reading(path: str | os.PathLike, what: str, remedy: str) -> Iterator[Path]:
    """Turns any library's error on reading ``path`` into InputError."""
    path = Path(path)
    try:
        if os.path.isdir(path):
            raise InputError(f"{what} {path} is a folder: {remedy}.")
        yield path
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{what} {path} does not exist: {remedy}.") from error
    except PermissionError as error:
        raise InputError(f"{what} {path} may not be read: correct its permissions.") from error
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({_reason(error)}): {remedy}.") from error
    except _DAMAGED as error:
        raise InputError(f"{what} {path} is damaged or another kind of file: {remedy}.") from error


def _create(path: Path, what: str) -> Path:
    ending = path.suffix if len(path.suffix.encode(errors="replace")) <= 16 else ""
    temporary = path.parent / f".{short_name(path.stem)}.{uuid.uuid4().hex[:8]}.part{ending}"
    try:
        with open(temporary, "xb"):
            pass
    except OSError as error:
        raise InputError(
            f"{what} cannot be written to the folder {path.parent} ({_reason(error)}): free it or name another folder."
        ) from None
    return temporary


def sync(path: str | os.PathLike) -> None:
    """Waits until a file is on the disk. Raises OSError."""
    opened = os.open(path, os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_folder(folder: str | os.PathLike) -> None:
    """Waits until a folder's names are on the disk, where the system can."""
    with suppress(OSError):  # Windows opens no folder, and some network disks sync none
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # an error of the disk is already being raised
        pass


def _is_of_the_disk(error: Exception) -> bool:
    if isinstance(error, (OSError, SafetensorError)):
        return True
    import av  # slow to import

    return isinstance(error, av.error.FFmpegError)


def _reason(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error or "").split()) or type(error).__name__
    inner = re.search(r"I/O error: (.+) \(os error \d+\)", text)  # safetensors' wrapping
    return (inner[1] if inner else text).rstrip(".")[:200]
