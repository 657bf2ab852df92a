"""Where the unfinished work of a clip lies: a folder that all workers see, or a copy of one behind an fsspec URL."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from ..cli.checks import FILES
from ..errors import InputError
from ..files import replacing, sync, sync_folder
from ..record.identity import content_hash

INPUTS = "inputs"
"""Folder of the inputs behind a URL: one for each content, with the file under its name, which messages have."""
HALF = ".part"
RENAMED = {"file", "local", "memory", "sftp", "ssh", "smb", "hdfs"}
"""File systems where others see a file that is being written; an object store shows it whole."""


def is_url(place: str) -> bool:
    """Whether fsspec is to open it; a path is not."""
    return "://" in place or "::" in place


def join(place: str, *names: str) -> str:
    return "/".join([place.rstrip("/"), *names]) if is_url(place) else os.path.join(place, *names)


@dataclass
class Opened:
    """A place as a folder of this machine.

    Attributes:
        files: options whose files were fetched, and where they are now.
    """

    folder: Path
    files: dict[str, str] = field(default_factory=dict)

    def push(self) -> None:
        """What was finished is seen by other machines when it returns."""


class Mirror(Opened):
    """A folder of this machine, and the one behind a URL that it is a copy of.

    A file is there whole or not at all. What decides that a segment is finished, its frames, goes last.
    """

    def __init__(self, url: str, folder: Path):
        super().__init__(folder)
        self._system, self._path = file_system(url)
        self._known: dict[str, tuple[int, int]] = {}  # name -> size and time of the file here that is there
        self._lock = Lock()

    def pull(self) -> None:
        """Fetches all of it."""
        for name in self._found():
            local = self.folder / name
            local.parent.mkdir(parents=True, exist_ok=True)
            with _of_the_store(self._path):
                get_file(self._system, f"{self._path}/{name}", local)
            self._known[name] = _state(local)

    def push(self) -> None:
        with self._lock:
            files = [path for path in self.folder.rglob("*") if path.is_file() and not _is_begun(path)]
            for path in sorted(files, key=lambda path: (path.suffix in (".mkv", ".mp4"), path.name)):
                name = path.relative_to(self.folder).as_posix()
                with suppress(FileNotFoundError), _of_the_store(self._path):  # renamed meanwhile
                    state = _state(path)
                    if self._known.get(name) != state:
                        put_file(self._system, path, f"{self._path}/{name}")
                        self._known[name] = state

    def _found(self) -> list[str]:
        with _of_the_store(self._path), suppress(FileNotFoundError):
            prefix = self._path.rstrip("/") + "/"
            names = [path[path.index(prefix) + len(prefix) :] for path in self._system.find(self._path)]
            return [name for name in names if not _is_begun(PurePosixPath(name))]
        return []


@contextmanager
def opened(place: str, options: Mapping[str, Any]) -> Iterator[Opened]:
    """A clip's place for a worker; behind a URL a folder for the while, with the inputs that lie there.

    Raises:
        InputError: it cannot be reached.
    """
    if not is_url(place):
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        yield Opened(folder)
        return
    with tempfile.TemporaryDirectory(prefix="wan-animate-", ignore_cleanup_errors=True) as name:
        mirror = Mirror(place, Path(name) / "work")
        mirror.folder.mkdir()
        mirror.pull()
        for option in FILES:
            given = options.get(option)
            if given and is_url(given):
                system, path = file_system(given)
                local = Path(name) / option / PurePosixPath(path).name
                local.parent.mkdir()
                with _of_the_store(given):
                    get_file(system, path, local)
                mirror.files[option] = str(local)
        try:
            yield mirror
        finally:
            with suppress(InputError):
                mirror.push()


def send_inputs(place: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Copies a clip's files to :data:`INPUTS` behind the URL, once each; the options' new values."""
    made = {}
    for name in FILES:
        given = options.get(name)
        if given:
            url = join(place, INPUTS, content_hash(given), Path(given).name)
            system, path = file_system(url)
            with _of_the_store(url):
                if not system.exists(path) or system.size(path) != Path(given).stat().st_size:
                    put_file(system, Path(given), path)
            made[name] = url
    return made


def fetch(place: str, name: str, target: Path, what: str) -> None:
    """A file of a place to a file of this machine, whole or not at all.

    Raises:
        InputError: it is not there, or cannot be written.
    """
    if not is_url(place):
        source = Path(place) / name
        with suppress(OSError):
            os.replace(source, target)
            sync_folder(target.parent)
            return
        with replacing(target, what, durable=True) as temporary:  # another disk
            shutil.copyfile(source, temporary)
        return
    system, path = file_system(join(place, name))
    with replacing(target, what, durable=True) as temporary, _of_the_store(path):
        get_file(system, path, Path(temporary))


def remove(place: str) -> None:
    """Deletes a place and what is in it."""
    if not is_url(place):
        shutil.rmtree(place, ignore_errors=True)
        return
    system, path = file_system(place)
    with suppress(OSError):
        system.rm(path, recursive=True)


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system and path. Raises InputError."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise InputError(f"{url} needs fsspec: pip install fsspec, and what it needs for this address.") from error
    try:
        system, path = url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError, OSError) as error:
        raise InputError(
            f"{url} cannot be opened ({' '.join(str(error).split())[:200]}): correct the address."
        ) from error
    return system, path


def get_file(system: Any, path: str, local: Path) -> None:
    """Fetches a file; ``local`` is replaced."""
    begun = local.with_name(f".{local.name}{HALF}")
    system.get_file(path, str(begun))
    sync(begun)
    os.replace(begun, local)


def put_file(system: Any, local: Path, path: str) -> None:
    """Stores a file. Where a store does not show files whole or not at all (disks), it is renamed into place."""
    parent, _, name = path.rpartition("/")
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if not protocols & RENAMED:
        system.put_file(str(local), path)
        return
    system.makedirs(parent, exist_ok=True)
    mark = hashlib.blake2b(f"{os.getpid()}{local}".encode(), digest_size=4).hexdigest()
    begun = f"{parent}/.{name}.{mark}{HALF}"
    system.put_file(str(local), begun)
    system.mv(begun, path)


@contextmanager
def _of_the_store(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{place} cannot be read or written ({' '.join(str(error).split())[:200]}).") from error


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _is_begun(path: PurePosixPath | Path) -> bool:
    """Half-written, or a lock: of one machine alone."""
    return path.name.startswith(".") and (HALF in path.name or path.name.endswith(".lock") or path.name == ".writable")
