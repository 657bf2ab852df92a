"""Reading and writing files: none is ever seen half-written, and what goes wrong is said in one sentence."""

from __future__ import annotations

import os
import pickle
import re
import struct
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from .errors import InputError

# What the libraries that parse files for us raise at content that they cannot make sense of. A full disk comes as one
# of them too: safetensors gives SafetensorError for it, PyAV an OSError of its own, zipfile the system's.
_DAMAGED = (
    SafetensorError, ValueError, EOFError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, SyntaxError,
    ArithmeticError, zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError,
)  # fmt: skip
_NAME_BYTES = 40


def short_name(name: str) -> str:
    """The start of a name that a person chose, short enough to be a part of another file's name.

    File systems count bytes (255 on most), and a Chinese character takes three.
    """
    return name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore").strip()


def check_ending(path: str | os.PathLike, what: str, endings: tuple[str, ...]) -> Path:
    """The path.

    Raises:
        InputError: the name does not end in one of ``endings`` (lower case, the first of which is advised), and would
            promise another kind of file than ``what``.
    """
    path = Path(path)
    if path.suffix.lower() not in endings and not os.path.isdir(path):
        named = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise InputError(f"{what} is written as {endings[0]}, but {path} {named}: name it {path.stem}{endings[0]}.")
    return path


def check_place(path: str | os.PathLike, what: str) -> Path:
    """Whether a file can be written under ``path``, found out before the work whose result it is to hold.

    Args:
        path: the file to be.
        what: names it in the sentence.

    Returns:
        The path.

    Raises:
        InputError: the folder is missing or cannot be written, or the name is too long for it or a folder's.
    """
    path = Path(path)
    folder = path.parent
    if not os.path.isdir(folder):
        raise InputError(f"{what} cannot be written to {path}: there is no folder {folder}; create it or name another.")
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # the name is too long, or has a character that no name may have
        raise InputError(
            f"{what} cannot be written to {path} ({_reason(error)}): choose a shorter or plainer name."
        ) from None
    if os.path.isdir(path):
        raise InputError(f"{what} cannot be written to {path}: that is a folder; name a file in it.")
    _remove(_create(path, what))
    return path


def make_folder(folder: str | os.PathLike, what: str) -> Path:
    """The folder, made when it is missing.

    Raises:
        InputError: it cannot be made; ``what`` names what is to be written into it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{what} cannot be written to the folder {folder}, which cannot be made ({_reason(error)}): name another."
        ) from error
    return folder


@contextmanager
def no_empty_folders(*folders: str | os.PathLike) -> Iterator[None]:
    """When the block is left by an error, those of the folders (and of the ones above them) that it made are removed
    again, as far as nothing is in them."""
    whole = [Path(folder).absolute() for folder in folders]
    missing = [one for folder in whole for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        yield
    except BaseException:
        remove_empty(missing)
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders, the innermost first, that are there and empty."""
    for folder in sorted(set(folders), key=lambda one: len(one.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def replacing(path: str | os.PathLike, what: str, remedy: str = "") -> Iterator[str]:
    """A temporary name beside ``path``; becomes ``path`` when the block ends, is removed when it is left by an error.

    Args:
        path: the file to write.
        what: names it in the sentence.
        remedy: what to do when it cannot be written, the end of the sentence.

    Raises:
        InputError: as :func:`check_place`; or the writing fails, whatever library does it: the disk is full, a quota
            or a limit is met, the disk is gone.
    """
    path = check_place(path, what)
    temporary = _create(path, what)
    try:
        yield str(temporary)
        os.replace(temporary, path)
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        remedy = remedy or "free space there or name another place"
        raise InputError(f"{what} cannot be written to {path} ({_reason(error)}): {remedy}.") from error
    finally:
        _remove(temporary)


def rename(source: str | os.PathLike, path: str | os.PathLike, what: str) -> None:
    """Give a file on the same disk its name ``path``.

    Raises:
        InputError: it cannot have it; ``what`` names it, and the sentence says where it is.
    """
    try:
        os.replace(source, path)
    except OSError as error:
        raise InputError(
            f"{what} cannot be named {path} ({_reason(error)}), and stays in {source}: move it from there."
        ) from error


@contextmanager
def reading(path: str | os.PathLike, what: str, remedy: str) -> Iterator[Path]:
    """For the block that reads a file: what goes wrong in it, whatever library reads, becomes one sentence.

    Args:
        path: the file.
        what: names it in the sentence.
        remedy: what to do when there is no such file or it is damaged, the end of the sentence.

    Raises:
        InputError: the file is missing, is a folder, may not be read, or holds something that cannot be read.
    """
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
    """An empty file under a temporary name beside ``path``."""
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


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the disk that failed in the first place; that is said already
        pass


def _is_of_the_disk(error: Exception) -> bool:
    if isinstance(error, (OSError, SafetensorError)):
        return True
    import av  # only here: it takes a while to import, and who writes with it has it

    return isinstance(error, av.error.FFmpegError)


def _reason(error: BaseException) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error or "").split()) or type(error).__name__
    inner = re.search(r"I/O error: (.+) \(os error \d+\)", text)  # as safetensors wraps the system's own words
    return (inner[1] if inner else text).rstrip(".")[:200]
