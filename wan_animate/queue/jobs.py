"""Jobs: from a command line or a table, each with its key."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import reading, short_name
from ..json_text import parse_json
from .client import ComfyClient, Graph, output_items
from .cuts import with_cuts
from .workflow import Prepared, Setting, prepare

NAME, WORKFLOW, PRIORITY = "name", "workflow", "priority"
"""Columns of a table that are no parameters: the result's name, a workflow of the row's own, and which go first."""
TABLES = (".csv", ".jsonl", ".ndjson")
FORBIDDEN = '/\\:*?"<>|'
UPLOADED = "wan_animate_kit_"


@dataclass(frozen=True)
class Row:
    """What is given for one job; nothing of it is checked. ``at_cuts``: ``anew`` or ``chain``, whatever the workflow
    has; "": as it has it."""

    name: str
    settings: list[Setting]
    workflow: Path | None = None
    priority: int = 0
    at_cuts: str = ""


@dataclass(frozen=True)
class Job:
    """A workflow to run once.

    Args:
        key: equal for equal work, whatever the files are called.
        name: of the result, without ending.
        graph: with the uploaded files' names.
        files: what to upload: name on the server -> file.
        priority: higher ones go first.
    """

    key: str
    name: str
    graph: Graph
    files: dict[str, Path]
    priority: int = 0
    last = True

    @property
    def job(self) -> str:
        return self.name

    def send(self, client: ComfyClient) -> None:
        """Uploads what a server has to have before it runs the graph."""
        for name, path in self.files.items():
            if client.input_size(name) != path.stat().st_size:
                client.upload(path, name)

    def extra(self) -> dict[str, Any] | None:
        """What the prompt brings along beside the graph (``extra_data``)."""
        return None

    def collect(self, client: ComfyClient, entry: dict[str, Any], folder: Path) -> list[Path]:
        """Fetches what it made: what the graph saved, or only previewed if it saved nothing.

        Args:
            entry: of the history.
            folder: of the results.

        Raises:
            InputError: it saved nothing, or a file cannot be written.
            ServerGone: the server ended meanwhile.
        """
        items = output_items(entry)
        items = [item for item in items if item.get("type") == "output"] or items
        if not items:
            raise InputError("it ran, but saved nothing: end the workflow in Save Video or another node that saves.")
        paths = []
        for number, item in enumerate(items, 1):
            ending = Path(str(item["filename"])).suffix
            path = folder / (f"{self.name}{ending}" if len(items) == 1 else f"{self.name}_{number}{ending}")
            client.save(item, path, f"the result of {self.name}")
            paths.append(path)
        return paths


def read_table(path: str | Path) -> list[Row]:
    """A table of jobs: CSV with a header, or JSON lines. A column or member is a parameter, ``node.input`` or short
    (``image``, ``video``, ``seed``); ``name`` names the result, ``workflow`` a workflow of the row's own, and rows with
    a higher ``priority`` go first. Empty cells are left as the workflow has them. Relative files are in the table's
    folder.

    Raises:
        InputError: no such file, no table, or nothing in it.
    """
    path = Path(path)
    if path.suffix.lower() not in TABLES:
        raise InputError(f"the table {path} is none of {', '.join(TABLES)}: write CSV with a header, or JSON lines.")
    with reading(path, "the table", "give CSV with a header, or JSON lines"):
        text = path.read_text(encoding="utf-8-sig")
        lines = list(_csv(text, path) if path.suffix.lower() == ".csv" else _json_lines(text, path))
    if not lines:
        raise InputError(f"the table {path} has no job: write a line for each.")
    folder = path.absolute().parent
    rows = []
    for number, cells in enumerate(lines, 1):
        workflow = cells.pop(WORKFLOW, None)
        name = str(cells.pop(NAME, None) or f"{path.stem}_{number:0{len(str(len(lines)))}d}")
        priority = _priority(cells.pop(PRIORITY, None) or 0, name)
        settings = [Setting(key, value, folder) for key, value in cells.items() if value not in ("", None)]
        rows.append(Row(name, settings, folder / workflow if workflow else None, priority))
    return rows


def _priority(value: Any, name: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise InputError(f"{name}: its priority is {value!r}: give a whole number, higher ones go first.") from None


def _csv(text: str, path: Path) -> Iterable[dict[str, Any]]:
    reader = csv.DictReader(text.splitlines())
    try:
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:  # a cell of more than 131,072 characters
        raise InputError(f"line {reader.line_num + 1} of {path} cannot be read ({error}): correct it.") from error
    for line, cells in rows:
        if None in cells or None in cells.values():
            raise InputError(f"line {line} of {path} has another number of cells than the header.")
        if any(cells.values()):
            yield {key.strip(): value.strip() for key, value in cells.items()}


def _json_lines(text: str, path: Path) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = parse_json(line)
        except ValueError:
            cells = None
        if not isinstance(cells, dict) or any(isinstance(value, (dict, list)) for value in cells.values()):
            raise InputError(f"line {number} of {path} is no JSON object of plain values.")
        yield cells


def parse_setting(text: str, folder: Path) -> Setting:
    """``node.input=value``. Raises InputError."""
    name, found, value = text.partition("=")
    if not found or not name.strip():
        raise InputError(f"--set {text!r} is no parameter: give node.input=value, such as --set seed=7.")
    return Setting(name.strip(), value, folder)


class JobMaker:
    """Makes jobs of rows; a file is read once for its digest.

    Args:
        graph: of rows that have none of their own.
        load: reads a row's own workflow.
        settings: of every job; a row's go on top.
        info: a server's ``/object_info``.
    """

    def __init__(self, graph: Graph, load: Any, settings: list[Setting], info: dict[str, Any]):
        self._graph, self._load, self._settings, self._info = graph, load, settings, info
        self._digests: dict[Path, str] = {}

    def make(self, rows: list[Row]) -> list[Job]:
        """Raises InputError for the first row that cannot work, or two that are the same."""
        check_names([row.name for row in rows])
        prepared = []
        for row in rows:
            graph = self._graph if row.workflow is None else self._load(row.workflow)
            if row.at_cuts:
                graph = with_cuts(graph, row.at_cuts == "anew", self._info, row.name)
            prepared.append(prepare(graph, self._settings + row.settings, self._info, row.name))
        jobs: list[Job] = []
        keys: dict[str, str] = {}
        for row, made in zip(rows, prepared):
            job = self._job(row, made)
            if job.key in keys:
                raise InputError(
                    f"{job.name} and {keys[job.key]} are the same job: take one out, or give it another seed."
                )
            keys[job.key] = job.name
            jobs.append(job)
        return jobs

    def _job(self, row: Row, made: Prepared) -> Job:
        files = {}
        for (node, entry), path in made.files.items():
            on_server = f"{UPLOADED}{self._digest(path)}{path.suffix.lower()}"
            made.graph[node]["inputs"][entry] = on_server
            files[on_server] = path
        return Job(graph_key(made.graph), row.name, made.graph, files, row.priority)

    def _digest(self, path: Path) -> str:
        path = path.resolve()
        if path not in self._digests:
            digest = hashlib.blake2b(digest_size=12)
            with reading(path, "the input", "name a file that exists"), open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            self._digests[path] = digest.hexdigest()
        return self._digests[path]


def graph_key(graph: Graph) -> str:
    """Equal for graphs that do the same work; titles do not count."""
    plain = {node: [what["class_type"], what["inputs"]] for node, what in graph.items()}
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=12).hexdigest()


def check_names(names: list[str]) -> None:
    """Raises InputError for a name that no result can have, or that two have."""
    seen: set[str] = set()
    for name in names:
        _check_name(name)
        if name.lower() in seen:
            raise InputError(f"two jobs are named {name}: their results would be one file; name them apart.")
        seen.add(name.lower())


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or set(name) & set(FORBIDDEN) or name != name.strip() or not name.isprintable():
        raise InputError(f"a job is named {name!r}, which is no plain file name: use letters, digits, - and _.")
    if len(name.encode()) > 200:
        raise InputError(f"the name of the job {short_name(name)}... is too long: use fewer than 200 characters.")
