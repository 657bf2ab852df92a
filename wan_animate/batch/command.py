"""``wan-animate batch``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..interrupt import whole_imports

app = typer.Typer(add_completion=False)

UNFINISHED = 1
"""Exit code where a clip failed or is left."""
RAY, HERE = "--ray", "auto"
ADDRESS = re.compile(r"auto|ray://\S+|[^\s/=]+:\d+")
EXAMPLES = """
Examples:

wan-animate batch clips.csv --out clips --models Wan2.2-Animate-14B-Diffusers --detector yolov10m.onnx --pose
vitpose-l-wholebody.onnx --steps 6: what is behind --out is for all clips, as wan-animate run takes it

clips.csv: name,image,video,seed,mode,priority

wan-animate batch folder ...: dance.mp4 with dance.png, and so on; --image me.png: one picture for all videos

... --at-cuts anew --workers 2: shots begin on their own, and are made side by side on two cards

... --ray 10.0.0.5:6379 --shared s3://bucket/work: on a Ray cluster (extra ray); a lost worker's clip goes on elsewhere

... --servers http://10.0.0.5:8188,http://10.0.0.6:8188 --workflow animate_api.json: on ComfyUI servers, with --at-cuts
anew a clip's shots on all of them; more columns as wan-animate queue has them

The same command again goes on. Exit codes: 0 all done, 1 a clip failed or is left, 2 input that does not work.
"""


class BatchCommand(TyperCommand):
    """Options of ``run`` are for all clips; ``--ray`` needs no address."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ignore_unknown_options = self.allow_extra_args = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given: list[str] = []
        for at, word in enumerate(args):
            given.append(word)
            if word == RAY and not (at + 1 < len(args) and ADDRESS.fullmatch(args[at + 1])):
                given.append(HERE)
        return super().parse_args(ctx, given)


@app.command("batch", cls=BatchCommand, epilog=EXAMPLES)
def batch(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CLIPS",
            help="A table, CSV or JSON lines (.jsonl): a line for each clip, columns as run's options, name, priority. "
            "Or a folder of videos and pictures.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the mp4s, and of queue.jsonl, which says what is done.")] = Path(
        "clips"
    ),
    workers: Annotated[
        int, typer.Option(min=0, help="Cards, or processes on the CPU; 0: one, with --ray all cards of the cluster.")
    ] = 0,
    ray: Annotated[
        str, typer.Option(RAY, metavar="[ADDRESS]", help="Work on a Ray cluster; without an address this machine's.")
    ] = "",
    servers: Annotated[
        list[str], typer.Option("--servers", "--server", help="Work on ComfyUI servers; repeated or with commas.")
    ] = [],  # noqa: B006
    workflow: Annotated[
        Path | None, typer.Option(help="With --servers: a workflow in API format; default: the pack's own, by mode.")
    ] = None,
    shared: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where unfinished clips lie, a folder or fsspec URL that all workers see; default: --out.",
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--at-once", min=0, help="Clips or shots at once; 0: one a worker.")] = 0,
    retries: Annotated[int, typer.Option(min=0, help="Of a clip or shot whose worker went down while at it.")] = 3,
    patience: Annotated[float, typer.Option(min=0, help="Seconds without any worker before giving up.")] = 600.0,
) -> int:
    """Make many clips, on one card, several, a Ray cluster or ComfyUI servers: nothing twice, a bad one fails alone.

    Bad input is refused before anything begins. All other options are those of wan-animate run, for every clip."""
    with whole_imports():
        from ..errors import InputError
        from ..queue.display import Display, summary_text
        from .clips import read_rows
        from .making import Batch, make, on_servers

    if ray and servers:
        raise InputError("both --ray and --servers are given: choose one.")
    rows = read_rows(source)
    given = Batch(rows, list(context.args), out, workers, ray, shared, limit, retries, patience)
    called = "server" if servers else "worker"
    with Display(len(rows), len(servers) > 1 or workers > 1 or bool(ray), called) as display:
        if servers:
            addresses = [url for text in servers for url in text.split(",")]
            summary = on_servers(given, addresses, workflow, display, display.warn)
        else:
            summary = make(given, display, display.warn)
    print(summary_text(summary, str(out)))
    return UNFINISHED if summary.failed or summary.left else 0
