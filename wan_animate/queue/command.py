"""``wan-animate queue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..interrupt import whole_imports

app = typer.Typer(add_completion=False)

UNFINISHED = 1
"""Exit code where a job failed or is left."""
EXAMPLES = """
Examples:

wan-animate queue animate_api.json --set image=me.png --set video=dance.mp4 --set seed=7 --name me_dances --out clips

... --set "Animate Character.steps=4" --set 12.limit=77: by a node's title, class or id

... --jobs clips.csv --servers http://10.0.0.5:8188,http://10.0.0.6:8188: a line each, two servers kept busy

clips.csv: name,image,video,seed,Cached Prompt (positive).text

The workflow is ComfyUI's Workflow > Export (API), or one in workflows/api. The same command again goes on: what is
done is not run again, what runs on a server is followed.

Exit codes: 0 all done, 1 a job failed or is left, 2 input that does not work.
"""


@app.command("queue", epilog=EXAMPLES)
def queue(
    workflow: Annotated[Path | None, typer.Argument(help="In API format. None where each row has its own.")] = None,
    servers: Annotated[
        list[str], typer.Option("--servers", "--server", help="Addresses of ComfyUI servers; repeated or with commas.")
    ] = ["http://127.0.0.1:8188"],  # noqa: B006  (typer reads it)
    out: Annotated[
        Path, typer.Option(help="Folder of the results, and of queue.jsonl, which says what is done.")
    ] = Path("clips"),
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="NODE.INPUT=VALUE",
            help="A parameter of every job: node by title, class or id. image, video, seed need no node. A file here "
            "where the node takes an upload, or behind @.",
        ),
    ] = [],  # noqa: B006
    jobs: Annotated[
        Path | None,
        typer.Option(
            help="A table, CSV or JSON lines (.jsonl): columns as in --set, name, workflow. Files are relative to it."
        ),
    ] = None,  # fmt: skip
    name: Annotated[str, typer.Option(help="Of the one result, without ending; default: the workflow's.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Jobs at once; 0: each server has one running, one waiting.")] = 0,
    retries: Annotated[int, typer.Option(min=0, help="Of a job whose server went down while at it.")] = 3,
    patience: Annotated[float, typer.Option(min=0, help="Seconds without any server before giving up.")] = 300.0,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds a server may be silent before others do its job.")
    ] = 10.0,
) -> int:
    """Send a workflow to one or several ComfyUI servers: files uploaded, results fetched, nothing run twice.

    Bad input is refused before anything is uploaded. A dead server's job goes to others; a bad one fails alone. Where
    Clip Options has a clip's shots start anew, several servers share them."""
    with whole_imports():
        from ..errors import InputError
        from .display import Display, summary_text
        from .jobs import Row, parse_setting, read_table
        from .sending import Sending, send

    if jobs is not None and name:
        raise InputError("--name is of one job: name those of a table in its column name.")
    if jobs is None and workflow is None:
        raise InputError("there is no workflow: give one in API format, or --jobs with a workflow in each row.")
    rows = read_table(jobs) if jobs is not None else [Row(name or str(workflow and workflow.stem), [])]
    given = Sending(
        rows=rows,
        servers=[url for text in servers for url in text.split(",")],
        workflow=workflow,
        out=out,
        settings=[parse_setting(text, Path.cwd()) for text in settings],
        limit=limit,
        retries=retries,
        patience=patience,
        grace=grace,
    )
    with Display(len(rows), len(given.servers) > 1) as display:
        summary = send(given, display, display.warn)
    print(summary_text(summary, str(out)))
    return UNFINISHED if summary.failed or summary.left else 0
