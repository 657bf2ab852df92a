"""``wan-animate plan``."""

from __future__ import annotations

import typer

from ..interrupt import whole_imports
from .options import ClipCommand, RunOptions, with_options

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate plan --image me.png --video dance.mp4

wan-animate plan --image me.png --video dance.mp4 --track dance.npz --mode replace --crop
"""


def planned(options: RunOptions) -> None:
    """Print segments, sizes, time, disk and memory of the job and what is wrong with its inputs.

    Takes the options of run. Loads neither the model nor SAM 2, and detects no pose: with --detector some frames are
    looked through for people, with --track a saved pose is read."""
    with whole_imports():
        from .make import run

    run(options)


app.command("plan", cls=ClipCommand, epilog=EXAMPLES)(
    with_options(
        RunOptions,
        planned,
        defaults={"out": "", "models": ""},
        fixed={"plan": True},
    )
)
