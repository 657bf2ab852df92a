"""What ``wan-animate jobs`` does."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..chain.job_list import LEFT_ALONE, FoundJob, above_limit, find_jobs, find_leftovers, remove_job, remove_leftover
from ..errors import InputError
from ..plan.room import free_at
from ..schema import read_values
from ..text import duration, parse_size, size_text
from .options import GENERATE, RunOptions, Sampling
from .progress import line_end

ABOVE_LIMIT = 1
"""Exit code of ``list --limit``."""
HALF = "half-written"
PIPED = 1000
"""Width of a table that another program reads: no line is broken."""


def list_found(folders: list[str], limit: str, as_json: bool) -> int:
    """Prints the jobs; returns the exit code."""
    most, jobs = size_of(limit), _find(folders)
    halves = find_leftovers(folders)
    total = sum(job.size for job in jobs) + sum(map(_size, halves))
    above = most is not None and total > most
    if as_json:
        print(json.dumps([*map(_plain, jobs), *map(_plain_half, halves)], indent=1))
        return ABOVE_LIMIT if above else 0
    if jobs or halves:
        table = Table("job", "segments", "size", "untouched for", "state", "folder", box=None, pad_edge=False)
        for job in jobs:
            age = duration(max(time.time() - job.changed, 0))
            count = f"{job.finished} of {job.segments}" if job.segments else str(job.finished)
            table.add_row(job.name, count, size_text(job.size), age, _state(job), str(job.folder))
        for half in halves:
            age = duration(max(time.time() - half.stat().st_mtime, 0))
            table.add_row(half.name, "", size_text(_size(half)), age, HALF, str(half.parent))
        Console(width=None if sys.stdout.isatty() else PIPED, highlight=False, markup=False).print(table)
    free = free_at(Path(folders[0]) / "clip.mp4")
    left = "" if free is None else f"; {size_text(free)} free"
    print(f"{len(jobs)} job{'s' * (len(jobs) != 1)}, {size_text(total)}{left}")
    if above and most is not None:
        line_end(f"wan-animate: the jobs take more than {size_text(most)}: clear the oldest with jobs clear --limit.")
        return ABOVE_LIMIT
    return 0


def resume_found(folders: list[str], names: list[str], every: bool) -> None:
    """Goes on with stopped jobs."""
    jobs = [job for job in _named(_find(folders), names) if job.state == "stopped"]
    known = [job for job in jobs if job.command]
    if not known:
        other = " Those of ComfyUI go on when their workflow is queued again." if jobs else ""
        raise InputError(f"there is no stopped job of the shell in {', '.join(folders)}: see jobs list.{other}")
    if len(known) > 1 and not (every or names):
        raise InputError(
            f"there are {len(known)} stopped jobs ({', '.join(job.name for job in known)}): give --name, or --all."
        )
    for job in known:
        line_end(f"wan-animate: {job.name}: {job.finished} of {job.segments} segments are finished")
        _go_on(job)


def clear_found(folders: list[str], names: list[str], every: bool, limit: str, older: float, yes: bool) -> None:
    """Deletes jobs, after a question."""
    most = size_of(limit)
    if not (names or every or older or most is not None):
        raise InputError("nothing says which jobs to clear: give --name, --limit, --older or --all.")
    jobs = _named(_find(folders), names)
    if most is not None:
        jobs = above_limit(jobs, most)
    jobs = [job for job in jobs if not job.running and time.time() - job.changed >= older * 86400]
    halves = [] if names else find_leftovers(folders, max(older * 86400, LEFT_ALONE))
    if not (jobs or halves):
        print("nothing to clear")
        return
    for job in jobs:
        print(f"{job.name}: {job.finished} of {job.segments} segments, {size_text(job.size)}, {job.folder}")
    for half in halves:
        print(f"{half.name}: {HALF}, {size_text(_size(half))}, {half.parent}")
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("clear asks before it deletes, and there is nobody to ask: add --yes.")
        import typer

        if not typer.confirm(f"Delete {len(jobs) + len(halves)} of them?"):
            return
    freed = sum(job.size for job in jobs if remove_job(job))
    for half in halves:
        freed += _size(half)
        remove_leftover(half)
    print(f"{size_text(freed)} freed")


def _state(job: FoundJob) -> str:
    return f"{job.state}, of an older version" if job.older else job.state


def _size(path: Path) -> int:
    """Bytes of a half-written file, or a folder of such."""
    with suppress(OSError):
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    return 0


def _plain_half(path: Path) -> dict[str, Any]:
    return {"name": path.name, "state": HALF, "folder": str(path.parent), "bytes": _size(path)}


def _plain(job: FoundJob) -> dict[str, Any]:
    named: dict[str, Any] = {"name": job.name, "state": job.state, "folder": str(job.folder)}
    named["older"] = job.older
    return named | {"finished": job.finished, "segments": job.segments, "bytes": job.size, "changed": job.changed}


def size_of(text: str) -> int | None:
    """Bytes of ``100GB``; None for "".

    Raises:
        InputError: no size.
    """
    size = parse_size(text) if text else None
    if text and size is None:
        raise InputError(f"--limit is {text!r}: give a size such as 500MB or 100GB.")
    return size


def _find(folders: list[str]) -> list[FoundJob]:
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(f"{folder} is no folder: give one in which clips are written.")
    return find_jobs(folders)


def _named(jobs: list[FoundJob], names: list[str]) -> list[FoundJob]:
    missing = [name for name in names if not any(name in (job.name, job.folder.name) for job in jobs)]
    if missing:
        known = ", ".join(job.name for job in jobs) or "none"
        raise InputError(f"there is no job {', '.join(missing)}: there are {known}.")
    return [job for job in jobs if not names or job.name in names or job.folder.name in names]


def _go_on(job: FoundJob) -> None:
    from .generating import prepared
    from .make import run

    remedy = "run its command again as it was given, or clear it"
    try:
        for kind, of in ((RunOptions, "options"), (Sampling, "sampling")):
            kind(**job.command[of])  # a name that is not known is not let be
        folder = str(job.command["cwd"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{job.folder} is of another version: {remedy}.") from error
    what = f"the command in {job.folder}"
    options = read_values(job.command["options"], RunOptions, what, remedy)
    sampling = read_values(job.command["sampling"], Sampling, what, remedy)
    with _in_folder(folder):
        run(options, source=prepared if sampling.command == GENERATE else None, sampling=sampling)


@contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """Paths of the command may be relative to where it was given."""
    before = os.getcwd()
    try:
        os.chdir(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"the job was started in {folder}, which is gone: run its command again.") from error
    try:
        yield
    finally:
        os.chdir(before)
