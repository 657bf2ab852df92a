"""``wan-animate models``: what is here, and fetching what is named and confirmed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table as RichTable

    from .check import Folders
    from .hashing import HashCache
    from .manifest import ModelFile
    from .report import Report
    from .view import Cell, Table, View

CHECK_EXAMPLES = """[bold]Examples[/]

wan-animate models check --folder ~/ComfyUI/models

wan-animate models check --vram 8 --hash all

Exit codes: 0 everything that a clip needs is here, 1 something is missing or wrong, 2 input that does not work."""

DOWNLOAD_EXAMPLES = """[bold]Examples[/]

wan-animate models download wan_2.1_vae.safetensors clip_vision_h.safetensors --folder ~/ComfyUI/models

wan-animate models download --missing --vram 16 --dry-run

Fetches nothing but what is named and confirmed. HF_ENDPOINT names another hub, HF_TOKEN who asks, HF_HUB_OFFLINE=1 asks nobody."""  # noqa: E501

app = typer.Typer(
    name="models",
    help="Weight files: what is here, what fits the card, and fetching what is named and confirmed.",
    epilog="Examples: wan-animate models check --vram 8, wan-animate models download --missing --dry-run",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

FolderOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder",
        help="ComfyUI's models folder, or one laid out like it; several are looked through, the first is fetched to. "
        "Else that of COMFYUI_PATH, of the ComfyUI around this folder, or of ~/comfy/ComfyUI.",
    ),
]
VramOption = Annotated[
    float | None, typer.Option("--vram", min=0.0, max=1024.0, help="The card's memory in GB; else that of this card.")
]


@app.command("check", epilog=CHECK_EXAMPLES)
def check_command(
    folder: FolderOption = None,
    vram: VramOption = None,
    hash: Annotated[  # noqa: A002
        str, typer.Option("--hash", help="Which files are hashed: no, changed (since they last were), or all.")
    ] = "changed",
    as_json: Annotated[bool, typer.Option("--json", help="For a program: one JSON object.")] = False,
) -> None:
    """What is missing, of the wrong size, corrupt, in another folder or under another name; what fits the card."""
    report = _report(folder, vram, hash)
    if as_json:
        print(json.dumps(_as_json(report), indent=1))
    else:
        _show(report.view())
    if report.faults or not report.complete:
        raise typer.Exit(1)


@app.command("download", epilog=DOWNLOAD_EXAMPLES)
def download_command(
    names: Annotated[list[str] | None, typer.Argument(help="Files by name, as `models check` lists them.")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="All that a clip needs and is not here, as it fits the card.")
    ] = False,
    folder: FolderOption = None,
    vram: VramOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm beforehand.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and fetch nothing.")] = False,
) -> None:
    """Fetch files into their folders. Stopped, the same command goes on. A file gets its name once its size and SHA-256
    are right."""
    from ..errors import InputError
    from .download import check_disk
    from .manifest import named, read_manifest
    from .report import offer

    folders, models = _folders(folder), read_manifest()
    wanted = named(models, names or [])
    if missing:
        wanted += [one for one in _report(folder, vram, "changed").lacking() if one not in wanted]
    if not wanted and not missing:
        raise InputError("no file is named: name files as `wan-animate models check` lists them, or give --missing.")
    if not wanted:
        return _say("Everything that a clip needs is here.")
    _show(offer(wanted, folders))
    if dry_run:
        return
    if not yes and not _confirmed():
        raise typer.Exit(2)
    check_disk(wanted, folders)
    _fetch(wanted, folders)


def _confirmed() -> bool:
    from ..errors import InputError

    if not sys.stdin.isatty():
        raise InputError("nothing is fetched without your word: answer at a terminal, or add --yes.")
    return typer.confirm("Fetch these?")


def _fetch(models: list[ModelFile], folders: Folders) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from .download import THERE, download

    cache = _cache()
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console()) as bars:
        for model in models:
            bar = bars.add_task(model.name, total=model.size)
            found = download(model, folders, _on(bars, bar), cache)
            who = {"manifest": "the kit's list", "hub": "the hub's listing"}[found.vouched]
            was = "was here" if found.how == THERE else f"{found.how}, as {who} has it"
            bars.console.print(f"{found.path}: {was}", markup=False, highlight=False, soft_wrap=True)


def _on(bars: Progress, bar: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: bars.update(bar, completed=done, total=total)


def _report(folder: list[Path] | None, vram: float | None, hashing: str) -> Report:
    from .check import check
    from .manifest import read_manifest
    from .report import Report

    folders = _folders(folder)
    with _counting() as report:
        found = check(read_manifest(), folders, hashing, _cache(), report)
    return Report(tuple(found), folders, _vram(vram))


@contextmanager
def _counting() -> Iterator[Callable[[int, int, str], None]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=_console(), transient=True
    ) as bars:
        bar = bars.add_task("hashing", total=None, visible=False)
        yield lambda done, total, name: bars.update(
            bar, completed=done, total=total, description=f"hashing {name}", visible=True
        )


def _folders(given: list[Path] | None) -> Folders:
    """Raises InputError where no models folder is named or found."""
    from ..errors import InputError
    from .check import below
    from .manifest import read_manifest

    roots = [root.expanduser() for root in given or []]
    for root in roots:
        if not root.is_dir():
            raise InputError(f"--folder {root} is no folder: name ComfyUI's models folder.")
    roots = roots or [root for root in _likely_roots() if root.is_dir()][:1]
    if not roots:
        raise InputError("no models folder was found: name ComfyUI's by --folder, or set COMFYUI_PATH.")
    kinds = dict.fromkeys(model.folder for model in read_manifest())
    layouts = [below(root.absolute(), kinds) for root in roots]
    return {kind: [path for layout in layouts for path in layout[kind]] for kind in kinds}


def _likely_roots() -> list[Path]:
    given = os.environ.get("COMFYUI_PATH")
    around = Path(__file__).absolute().parents[2]
    inside = [around.parents[1] / "models"] if around.parent.name == "custom_nodes" else []
    return [*([Path(given) / "models"] if given else []), *inside, Path.home() / "comfy" / "ComfyUI" / "models"]


def _vram(given: float | None) -> int:
    if given is not None:
        return int(given * 2**30)
    from ..plan.cards import device_here

    return device_here().memory


def _cache() -> HashCache:
    from ..files import cache_folder
    from .hashing import HashCache

    return HashCache(cache_folder() / "hashes.json")


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _show(view: View) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(f"[bold]{escape(view.title)}[/]", highlight=False)
    for line in view.notes:
        _say(line)
    for rows in view.tables:
        console.print()
        table = _table(rows)
        wide = console.measure(table, options=console.options.update(width=10_000)).maximum
        if wide <= console.width:
            console.print(table)
            if rows is view.tables[0]:
                _say("\n".join(_addresses(rows)))
        else:
            _say("\n".join(_block(rows.head, row) for row in rows.rows))
    console.print()
    for line in view.after:
        _say(line)


def _addresses(rows: Table) -> list[str]:
    """Of the files that are not here."""
    from .view import Link

    absent = [row for row in rows.rows if any(isinstance(cell, str) and "missing" in cell for cell in row)]
    return [f"{cell.text}: {cell.url}" for row in absent for cell in row if isinstance(cell, Link)]


def _table(rows: Table) -> RichTable:
    from rich.markup import escape
    from rich.table import Table as RichTable

    from .view import Link

    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for name in rows.head:
        table.add_column(name, no_wrap=True)
    for row in rows.rows:
        cells = [escape(cell.text) if isinstance(cell, Link) else escape(cell) for cell in row]
        table.add_row(*cells, style="green" if "good" in row else "")
    return table


def _block(head: Sequence[str], row: Sequence[Cell]) -> str:
    """A row that is too wide for the terminal: a line a cell, links with their address."""
    from .view import Link

    lines: list[str] = []
    for name, cell in zip(head, row):
        shown = f"{cell.text}, {cell.url}" if isinstance(cell, Link) else cell
        lines += [f"{'  ' if lines else ''}{name}: {shown}"] if shown else []
    return "\n".join(lines)


def _say(text: str) -> None:
    from rich.console import Console

    Console().print(text, markup=False, highlight=False, soft_wrap=True)


def _as_json(report: Report) -> dict:
    from .fit import fit

    return {
        "complete": report.complete,
        "vram": report.vram,
        "title": report.view().title,
        "models": [
            {
                "name": one.model.name,
                "role": one.model.role,
                "state": one.state,
                "path": None if one.path is None else str(one.path),
                "detail": one.detail,
                "hash_verified": one.model.verified,
                "fits": fit(one.model, report.vram).how,
            }
            for one in report.found
        ],
    }


if __name__ == "__main__":
    app()
