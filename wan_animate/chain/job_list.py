"""The jobs that lie on a disk: the shell's beside their clips, ComfyUI's in its output folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import replacing
from .job_folder import JobFolder
from .job_lock import JobLock

COMMAND = "command.json"
"""In a job's folder: how the shell was called. With paths, so it never leaves the folder."""
_COMFYUI = Path("wan_animate_kit") / "unfinished"


@dataclass(frozen=True)
class FoundJob:
    """A job on disk.

    Attributes:
        folder: its files.
        finished, segments: how many are whole, and of how many; 0 where that is not known.
        size: bytes; a file that several jobs share counts in the first.
        changed: when a file was last written, seconds since 1970.
        running: a process works on it.
        command: how the shell was called; empty for ComfyUI's.
    """

    folder: Path
    finished: int
    segments: int
    size: int
    changed: float
    running: bool
    command: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The clip's, else the folder's."""
        out = self.command.get("options", {}).get("out")
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


def remove_job(job: FoundJob) -> bool:
    """Deletes its files; False where a process works on it."""
    lock = JobLock(job.folder)
    if not lock.acquire():
        return False
    try:
        shutil.rmtree(job.folder, ignore_errors=True)
    finally:
        lock.release()
    return not job.folder.exists()


def above_limit(jobs: Iterable[FoundJob], limit: int) -> list[FoundJob]:
    """The oldest jobs, none of them running, without which the rest is at most ``limit`` bytes."""
    jobs = sorted(jobs, key=lambda job: job.changed)
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
    for parent in (folder, folder / _COMFYUI):
        if parent.is_dir():
            yield from (path for path in sorted(parent.iterdir()) if (path / "segments.json").is_file())


def _found(path: Path, seen: set[tuple[int, int]]) -> FoundJob:
    size, changed = 0, 0.0
    for file in path.iterdir():
        stat = file.stat()
        if (stat.st_dev, stat.st_ino) not in seen:
            seen.add((stat.st_dev, stat.st_ino))
            size += stat.st_size
        changed = max(changed, stat.st_mtime)
    job = JobFolder(path)
    segments = len(job.keys()["made"])
    finished = sum(job.has_frames(index) for index in range(segments))
    lock = JobLock(path)
    running = not lock.acquire()
    if not running:
        lock.release()
    return FoundJob(path, finished, segments, size, changed, running, _command(path))


def _command(path: Path) -> dict[str, Any]:
    try:
        read = json.loads((path / COMMAND).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
