"""What jobs may take of a disk: finished ones are removed by age, all by age and size, what is stopped last."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .job_list import FoundJob, above_limit, find_jobs, remove_job
from .job_lock import JobLock

DAY = 86400
RECENT = 600  # seconds in which another process may still read what it finished


@dataclass(frozen=True)
class Keeping:
    """How long, and how much.

    Attributes:
        limit: bytes that all jobs may take; None: any.
        finished_days: since a finished job was last used.
        stopped_days: since a stopped one was last worked on.
    """

    limit: int | None = 50 * 10**9
    finished_days: float = 7
    stopped_days: float = 30

    def too_old(self, job: FoundJob, now: float) -> bool:
        days = self.finished_days if job.state == "finished" else self.stopped_days
        return now - job.changed > days * DAY


@dataclass(frozen=True)
class Cleaned:
    """What :func:`clean` removed, and what is left."""

    removed: list[FoundJob]
    left: list[FoundJob]

    @property
    def freed(self) -> int:
        return sum(job.size for job in self.removed)

    @property
    def size(self) -> int:
        return sum(job.size for job in self.left)


def clean(
    folders: Iterable[str | os.PathLike],
    keeping: Keeping,
    in_use: Callable[[Path], bool] = lambda folder: False,
    own: Callable[[Path], bool] = lambda folder: False,
) -> Cleaned:
    """Removes jobs that are too old or too much; never one that runs or is in use.

    Args:
        folders: as of :func:`.job_list.find_jobs`.
        in_use: whether this process still reads a job.
        own: whether this process finished it, and so knows of its use; others' are left alone for ten minutes.
    """
    now, jobs = time.time(), find_jobs(folders)
    for parent in {job.folder.parent for job in jobs}:
        _remove_dead_locks(parent)

    def removable(job: FoundJob) -> bool:
        recent = now - job.changed < RECENT and not own(job.folder)
        return not (job.running or recent or in_use(job.folder))

    old = [job for job in jobs if removable(job) and (keeping.too_old(job, now) or not job.finished)]
    rest = [job for job in jobs if job not in old]
    if keeping.limit is not None:
        spared = sum(job.size for job in rest if not removable(job))
        old += above_limit([job for job in rest if removable(job)], max(keeping.limit - spared, 0))
    removed = [job for job in old if remove_job(job)]
    return Cleaned(removed, [job for job in jobs if job not in removed])


def _remove_dead_locks(parent: Path) -> None:
    """Of processes that were killed, and whose job is gone."""
    for path in parent.glob(".*.lock"):
        folder = parent / path.name[1 : -len(".lock")]
        lock = JobLock(folder)
        with suppress(OSError):
            if not folder.exists() and lock.acquire():
                lock.release()
