"""``wan-animate jobs``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..interrupt import whole_imports

app = typer.Typer(no_args_is_help=True)

EXAMPLES = """
Examples:

wan-animate jobs list clips ComfyUI/output

wan-animate jobs list clips --limit 100GB: exit code 1 if they take more

wan-animate jobs resume clips --name clip.mp4

wan-animate jobs clear clips --limit 100GB --yes: finished ones go, then the oldest, until the rest takes less

wan-animate jobs clear clips --older 14
"""

Folders = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FOLDER]...", help="Where clips are written (the shell's --out, ComfyUI's output folder)."),
]
Named = Annotated[list[str] | None, typer.Option("--name", help="Only this job, by its clip or folder; repeatable.")]
Limit = Annotated[str, typer.Option("--limit", metavar="SIZE", help="Such as 100GB: what all of them may take.")]


@app.callback(epilog=EXAMPLES)
def jobs() -> None:
    """Jobs that were stopped or kept: list, resume, clear.

    A job's finished segments lie, lossless, in a hidden folder beside its clip until that is done.
    """


@app.command("list", epilog=EXAMPLES)
def list_jobs(
    folders: Folders = None,
    limit: Limit = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Name, segments, size, age and state of each job, what killed processes left half-written, and what all take."""
    with whole_imports():
        from .job_commands import list_found

    return list_found(folders or ["."], limit, as_json)


@app.command("resume", epilog=EXAMPLES)
def resume(
    folders: Folders = None,
    name: Named = None,
    every: Annotated[bool, typer.Option("--all", help="One after the other.")] = False,
) -> None:
    """Run the command of a stopped job again: it goes on from its last finished segment."""
    with whole_imports():
        from .job_commands import resume_found

    resume_found(folders or ["."], name or [], every)


@app.command("clear", epilog=EXAMPLES)
def clear(
    folders: Folders = None,
    name: Named = None,
    every: Annotated[bool, typer.Option("--all", help="All that are not running.")] = False,
    limit: Limit = "",
    older: Annotated[float, typer.Option("--older", metavar="DAYS", help="Only those left alone for so long.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete finished segments of jobs, never of one that runs, and half-written files left alone for a day; clips
    stay."""
    with whole_imports():
        from .job_commands import clear_found

    clear_found(folders or ["."], name or [], every, limit, older, yes)
