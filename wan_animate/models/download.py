"""Fetches one weight file: into its folder alone, resumed, and under its name only once it is whole and right."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..chain.job_lock import JobLock
from ..errors import InputError
from ..files import make_folder, reading, rename
from .check import Folders, own_folder
from .hashing import CHUNK, HashCache, Report, ignore, sha256_of
from .hub import Listing, ask, by_hand
from .manifest import ModelFile, bytes_text, check_name
from .transfer import POLL, Interrupted, Refused, open_body, pause

ATTEMPTS = 5  # without so many new bytes as this:
PROGRESS = 1 << 20
STALL_SECONDS = 20.0
FREE = 256 << 20  # bytes that stay free on the disk

THERE, RESUMED, FETCHED = "there", "resumed", "fetched"


@dataclass(frozen=True)
class Settings:
    """How a download behaves.

    Attributes:
        endpoint: of the hub; None takes ``HF_ENDPOINT``, else the public one.
        stall: seconds without a byte, after which the connection is given up and made anew.
        attempts: how often in a row without a megabyte of progress.
        pause: seconds before the second attempt; doubled for each further one.
    """

    endpoint: str | None = None
    stall: float = STALL_SECONDS
    attempts: int = ATTEMPTS
    pause: float = 1.0


@dataclass(frozen=True)
class Fetched:
    """A file that is under its name now.

    Attributes:
        how: ``there`` before, ``fetched``, or ``resumed`` from the bytes of an earlier time.
        vouched: who said the hash: ``manifest`` or ``hub``.
    """

    model: ModelFile
    path: Path
    sha256: str
    how: str
    vouched: str


def target_of(model: ModelFile, folders: Folders) -> Path:
    """Where the file goes.

    Raises:
        InputError: its name would lead out of its folder.
    """
    folder = own_folder(model, folders)
    try:
        check_name(model.name)
    except ValueError as error:
        raise InputError(f"{error}: it would not lie in {folder}.") from None
    if os.path.normpath(folder / model.name) != os.path.join(os.path.normpath(folder), model.name):
        raise InputError(f"{model.name!r} would not lie in {folder}: correct the list of models.")
    return folder / model.name


def part_of(target: Path) -> Path:
    """Where its bytes are until they are all there; no loader lists it."""
    return target.with_name(f"{target.name}.part")


def check_disk(models: Sequence[ModelFile], folders: Folders) -> None:
    """Raises InputError unless the disks have room for these files, as far as their sizes are known."""
    needed: dict[Path, float] = {}
    for model in models:
        target = target_of(model, folders)
        there = part_of(target)
        have = there.stat().st_size if there.is_file() else 0
        folder = _existing(target.parent)
        needed[folder] = needed.get(folder, 0) + max((model.size or 0) - have, 0)
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if size and size + FREE > free:
            raise InputError(
                f"{bytes_text(size)} are to be fetched to {folder} and {bytes_text(free)} are free: free space there, "
                "or name another folder."
            )


def download(
    model: ModelFile,
    folders: Folders,
    report: Report = ignore,
    cache: HashCache | None = None,
    settings: Settings | None = None,
) -> Fetched:
    """Fetches one file, which the user has confirmed.

    What the source sends goes to ``<name>.part``; only bytes of the right size and hash get the name. A file under that
    name stays until then. What was fetched before a stop is kept and continued.

    Args:
        report: bytes done and in all, five times a second; raises to stop.

    Raises:
        InputError: offline, no space, refused, wrong bytes, or nobody says what the bytes must be.
    """
    settings, cache = settings or Settings(), cache or HashCache(None)
    target = target_of(model, folders)
    progress = _Progress(report, model.size or 0)
    if model.verified and _is_right(target, model.size, model.sha256, cache, report):
        return Fetched(model, target, str(model.sha256), THERE, "manifest")
    listing = ask(model, progress.look, settings.endpoint)
    size, sha256, vouched = expected(model, listing)
    if not model.verified and _is_right(target, size, sha256, cache, report):
        return Fetched(model, target, sha256, THERE, vouched)
    progress.total = size or 0
    make_folder(target.parent, "the model")
    part = part_of(target)
    lock = JobLock(part)
    if not lock.acquire():
        raise InputError(f"{model.name} is being fetched by another process: wait for it, or stop it.")
    try:
        if part.is_symlink():  # its bytes would land elsewhere
            part.unlink()
        before = part.stat().st_size if part.is_file() else 0
        found = _Transfer(model, listing, part, size, progress, settings).run()
        if found != sha256 and before:  # what lay there may have been another version's
            part.unlink()
            before = 0
            found = _Transfer(model, listing, part, size, progress, settings).run()
        if found != sha256:
            part.unlink()
            raise InputError(
                f"what came for {model.name} is another file (sha256 {found}, not {sha256}), so it was removed: fetch "
                f"it again later, or {by_hand(model, str(target.parent))}."
            )
        rename(part, target, "the model file")
    finally:
        lock.release()
    cache.put(target, found)
    return Fetched(model, target, found, RESUMED if before else FETCHED, vouched)


def expected(model: ModelFile, listing: Listing) -> tuple[int | None, str, str]:
    """(size, SHA-256, who vouches for it).

    Raises:
        InputError: the source lists another file than the manifest, or nobody knows the hash.
    """
    ours, theirs = model.sha256, listing.sha256
    if ours and theirs and ours != theirs and model.verified:
        raise InputError(
            f"{model.source.repo} lists another file under {model.name} (sha256 {theirs}) than the kit knows ({ours}): "
            "update the kit; until then nothing is fetched."
        )
    if theirs is None and ours is None:
        raise InputError(
            f"nobody says what the bytes of {model.name} must be, so it is not fetched: {by_hand(model)}, if you trust "
            "its source."
        )
    if theirs is None and None not in (model.size, listing.size) and model.size != listing.size:
        raise InputError(
            f"the source lists {model.name} with {listing.size} bytes, and the kit knows it with {model.size}: update "
            "the kit; until then nothing is fetched."
        )
    vouched = "manifest" if ours and (model.verified or theirs is None) else "hub"
    return listing.size if listing.size is not None else model.size, str(theirs or ours), vouched


def _is_right(target: Path, size: int | None, sha256: str | None, cache: HashCache, report: Report) -> bool:
    if not target.is_file() or (size is not None and target.stat().st_size != size):
        return False
    found = cache.get(target)
    if found is None:
        found = sha256_of(target, report)
        cache.put(target, found)
    return found == sha256


class _Progress:
    """Bytes of one file, told five times a second at most."""

    def __init__(self, report: Report, total: int) -> None:
        self._report, self.done, self.total = report, 0, total
        self._told = 0.0

    def look(self) -> None:
        if time.monotonic() - self._told >= POLL or self.done == self.total:
            self._told = time.monotonic()
            self._report(self.done, max(self.total, self.done, 1))


class _Transfer:
    """Completes a part, attempt by attempt."""

    def __init__(
        self, model: ModelFile, listing: Listing, part: Path, size: int | None, progress: _Progress, settings: Settings
    ) -> None:
        self._model, self._listing, self._part, self._size = model, listing, part, size
        self._progress, self._settings = progress, settings
        self._digest = hashlib.sha256()

    def run(self) -> str:
        """Returns the SHA-256 of what is there then, which may be another file's. Raises InputError."""
        failed = farthest = 0
        with reading(self._part, "the part that is here", "remove it"), open(self._part, "ab+") as file:
            self._read_what_is_here(file)
            while self._size is None or file.tell() < self._size:
                try:
                    self._attempt(file)
                    break
                except Interrupted as error:
                    if file.tell() - farthest >= PROGRESS:
                        failed = 0
                    farthest = max(farthest, file.tell())
                    failed += 1
                    if failed >= self._settings.attempts:
                        raise InputError(
                            f"{self._model.name} stopped at {bytes_text(file.tell())} ({error}) and {failed} attempts "
                            f"brought no more: fetch it again later, it goes on from there, or {self._by_hand()}."
                        ) from error
                    pause(max(self._settings.pause * 2 ** (failed - 1), error.after), self._progress.look)
                except Refused as error:
                    raise InputError(f"{self._model.name} is not fetched: {error}; {self._by_hand()}.") from error
            file.flush()
            os.fsync(file.fileno())
        return self._digest.hexdigest()

    def _read_what_is_here(self, file: BinaryIO) -> None:
        file.seek(0)
        while chunk := file.read(CHUNK):
            self._digest.update(chunk)
            self._tell(file)
        self._tell(file)

    def _attempt(self, file: BinaryIO) -> None:
        """Raises Interrupted unless all bytes are there then."""
        here, look = file.tell(), self._progress.look
        body = open_body(self._listing.url, here, self._listing.headers, self._settings.stall, look)
        if body.total is not None and self._size is None:
            self._size = self._progress.total = body.total
        if body.total is not None and body.total != self._size:
            raise Refused(f"its source sends {body.total} bytes where {self._size} are listed")
        if body.start != here:  # the server ignored the range
            file.truncate(body.start)
            file.seek(body.start)
            self._digest = hashlib.sha256()
        if self._size is not None:
            self._check_space(self._size - body.start)
        for chunk in body.chunks:
            self._write(file, chunk)
            self._tell(file)
            if self._size is not None and file.tell() > self._size:
                file.truncate(0)
                raise Refused(f"its source sends more than the {self._size} bytes that are listed")
        if self._size is not None and file.tell() < self._size:
            raise Interrupted(f"the bytes ended after {file.tell()} of {self._size}")

    def _tell(self, file: BinaryIO) -> None:
        self._progress.done = file.tell()
        self._progress.look()

    def _write(self, file: BinaryIO, chunk: bytes) -> None:
        try:
            file.write(chunk)
        except OSError as error:
            raise InputError(
                f"{self._model.name} cannot be written to {self._part.parent} ({error.strerror}): free space there; "
                "what is here goes on."
            ) from error
        self._digest.update(chunk)

    def _check_space(self, more: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if more + FREE > free:
            raise InputError(
                f"{self._model.name} takes {bytes_text(more)} more and {bytes_text(free)} are free in "
                f"{self._part.parent}: free space there, or name another folder."
            )

    def _by_hand(self) -> str:
        return by_hand(self._model, str(self._part.parent))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
