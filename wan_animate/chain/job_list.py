"""The jobs that lie on a disk: the shell's beside their clips, ComfyUI's in its output folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import replacing
from ..json_text import parse_json
from .job_folder import KEYS, MADE, VERSION, JobFolder
from .job_lock import JobLock

COMMAND = "command.json"
"""In a job's folder: how the shell was called. With paths, so it never leaves the folder."""
COMFYUI = Path("wan_animate_kit") / "jobs"
"""Of ComfyUI's jobs, in its output folder."""
FORMER_COMFYUI = Path("wan_animate_kit") / "unfinished"
"""The same in older versions."""
LEFT_ALONE = 86400
"""Seconds after which nothing writes a half-written file any more."""
_PART = re.compile(r"^\..+\.[0-9a-f]{8}\.part(\.[^.]+)?$")


@dataclass(frozen=True)
class FoundJob:
    """A job on disk.

    Attributes:
        folder: its files.
        finished, segments: how many are whole, and of how many; 0 where that is not known.
        size: bytes; a file that several jobs share counts in the first.
        changed: when a file was last written, seconds since 1970.
        running: a process works on it.
        older: of a version whose keys are not those of now, so that it is not gone on with.
        command: how the shell was called; empty for ComfyUI's.
    """

    folder: Path
    finished: int
    segments: int
    size: int
    changed: float
    running: bool
    older: bool = False
    command: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The clip's, else the folder's."""
        options = self.command.get("options")
        out = options.get("out") if isinstance(options, dict) else None
        return Path(out).name if isinstance(out, str) else self.folder.name

    @property
    def state(self) -> str:
        """``"running"``, ``"finished"`` (kept on purpose) or ``"stopped"``."""
        if self.running:
            return "running"
        return "finished" if self.segments and self.finished == self.segments else "stopped"


def find_jobs(folders: Iterable[str | os.PathLike]) -> list[FoundJob]:
    """Those in the folders, the oldest first: the shell's, and ComfyUI's where one is its output folder."""
    seen: set[tuple[int, int]] = set()
    places = {path.resolve(): None for folder in folders for path in _places(Path(folder))}
    return sorted((_found(path, seen) for path in places), key=lambda job: (job.changed, job.folder))


def find_leftovers(folders: Iterable[str | os.PathLike], left_alone: float = LEFT_ALONE) -> list[Path]:
    """Half-written files outside of jobs that processes left which ended, by how long nothing was written to them."""
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        for here, below, files in os.walk(folder):
            below[:] = [name for name in below if _PART.match(name) or not _is_job(Path(here, name))]
            for path in (Path(here, name) for name in (*files, *below) if _PART.match(name)):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime >= left_alone:
                        found[path.resolve()] = None
    return sorted(found)


def remove_leftover(path: Path) -> None:
    """Deletes a half-written file, or a folder of such."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def remove_job(job: FoundJob) -> bool:
    """Deletes its files; False where a process works on it, or has since it was found."""
    lock = JobLock(job.folder)
    if not lock.acquire():
        return False
    try:
        if _measured(job.folder, set())[1] <= job.changed:
            shutil.rmtree(job.folder, ignore_errors=True)
    finally:
        lock.release()
    return not job.folder.exists()


def above_limit(jobs: Iterable[FoundJob], limit: int) -> list[FoundJob]:
    """The jobs, none of them running, without which the rest is at most ``limit`` bytes: finished ones first, those of
    older versions then, and the oldest of each first."""
    jobs = sorted(jobs, key=lambda job: (job.state != "finished", not job.older, job.changed))
    total, chosen = sum(job.size for job in jobs), []
    for job in jobs:
        if total > limit and not job.running:
            chosen.append(job)
            total -= job.size
    return chosen


def write_command(folder: str | os.PathLike, command: dict[str, Any]) -> None:
    """Notes how the shell was called. Raises InputError."""
    with replacing(Path(folder) / COMMAND, "the job's command") as temporary:
        Path(temporary).write_text(json.dumps(command), encoding="utf-8")


def _places(folder: Path) -> Iterable[Path]:
    for parent in (folder, folder / COMFYUI, folder / FORMER_COMFYUI):
        if parent.is_dir():
            killed = parent == folder / COMFYUI  # also what was begun there, and killed at once
            yield from (path for path in sorted(parent.iterdir()) if _is_job(path) or (killed and path.is_dir()))


def _is_job(path: Path) -> bool:
    return (path / KEYS).is_file()


def _found(path: Path, seen: set[tuple[int, int]]) -> FoundJob:
    size, changed = _measured(path, seen)
    job = JobFolder(path)
    segments = len(job.keys()[MADE])
    finished = sum(job.has_frames(index) for index in range(segments))
    lock = JobLock(path)
    running = not lock.acquire()
    if not running:
        lock.release()
    return FoundJob(path, finished, segments, size, changed, running, job.version < VERSION, _command(path))


def _measured(path: Path, seen: set[tuple[int, int]]) -> tuple[int, float]:
    """Bytes of the files that are not in ``seen``, and when one was last written."""
    size, changed = 0, 0.0
    with suppress(OSError):
        for file in os.scandir(path):
            with suppress(OSError):  # renamed meanwhile
                stat = os.stat(file)  # an entry knows no inode on Windows
                if (stat.st_dev, stat.st_ino) not in seen:
                    seen.add((stat.st_dev, stat.st_ino))
                    size += stat.st_size
                changed = max(changed, stat.st_mtime)
    return size, changed


def _command(path: Path) -> dict[str, Any]:
    try:
        read = parse_json((path / COMMAND).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
