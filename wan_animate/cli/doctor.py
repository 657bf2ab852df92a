"""``wan-animate doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..interrupt import whole_imports

app = typer.Typer()

EXAMPLES = """
Examples:

wan-animate doctor

wan-animate doctor --models Wan2.2-Animate-14B-Diffusers --out clips/clip.mp4

wan-animate doctor --json: for a bug report

Exit code 0: nothing is wrong, 1: what is marked with ! has to be mended first.
"""


@app.command("doctor", epilog=EXAMPLES)
def doctor(
    models: Annotated[
        str | None, typer.Option("--models", metavar="FOLDER", help="Also look at this model (diffusers' layout).")
    ] = None,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where clips will be written.")] = "clip.mp4",
    device: Annotated[str, typer.Option("--device", help="The card; by default cuda where it is.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """What this machine has for the job: versions, card, memory, disk, and what will be used and why."""
    with whole_imports():
        from .examination import examine, show

    return show(examine(models, out, device), as_json)
