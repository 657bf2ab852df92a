"""What ``wan-animate queue`` does: rows and servers to results. ``wan-animate batch --servers`` is the same."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import remove_empty
from .client import Graph, ServerError, ServerGone
from .dispatch import Dispatcher, News, Summary
from .jobs import Job, JobMaker, Row
from .server import GRACE, ComfyServer
from .shots import WORK, Shots, can_split
from .state import State
from .workflow import Setting, check_choices, check_classes, load_workflow


@dataclass(frozen=True)
class Sending:
    """
    Args:
        rows: a job each.
        servers: addresses.
        workflow: of rows without one of their own; may be None if all have.
        settings: parameters of every job; a row's go on top.
        limit: jobs at once; 0: two a server, of which one runs.
        retries: of a job whose server went down while at it.
        patience: seconds without any server after which the rest is left.
        grace: seconds that a server may be silent before its job is given to others.
    """

    rows: list[Row]
    servers: list[str]
    workflow: Path | None
    out: Path
    settings: list[Setting] = field(default_factory=list)
    limit: int = 0
    retries: int = 3
    patience: float = 300.0
    grace: float = GRACE


def send(given: Sending, tell: Callable[[News], None], warn: Callable[[str], None]) -> Summary:
    """Runs the jobs; what is done already is not run again.

    Args:
        warn: gets a sentence about a server that is not there (others are), or that chose its attention for itself.

    Raises:
        InputError: something given cannot work; nothing is uploaded then.
    """
    graph: Graph = {} if given.workflow is None else load_workflow(given.workflow)
    if given.workflow is None and any(row.workflow is None for row in given.rows):
        raise InputError("there is no workflow: give one, or one in each row (the column workflow).")
    workers = _workers(given)
    infos = _node_infos(workers, warn)
    jobs = JobMaker(graph, load_workflow, given.settings, next(iter(infos.values()))).make(given.rows)
    for url, info in infos.items():
        for job in jobs:
            _check(job, info, f"{job.name} on {url}" if len(infos) > 1 else job.name)
    state = State(given.out)
    try:
        state.sweep([job.name for job in jobs])
        shots = Shots(jobs, state.folder, len(workers) > 1 and can_split(infos.values()), warn)
        begun = shots.begin(state.last, lambda key: state.done(key) is not None)
        for worker in workers:
            worker.start()
        try:
            return Dispatcher(begun, workers, state, given.limit, given.retries, given.patience, tell, shots.then).run()
        finally:
            remove_empty([state.folder / WORK])
    finally:
        for worker in workers:
            worker.close()
        state.close()


def _workers(given: Sending) -> list[ComfyServer]:
    urls = list(dict.fromkeys(url.strip().rstrip("/") for url in given.servers if url.strip()))
    if not urls:
        raise InputError("there is no server: give its address, such as http://127.0.0.1:8188.")
    return [ComfyServer(url, grace=given.grace) for url in urls]


def _node_infos(workers: list[ComfyServer], warn: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """``/object_info`` of the servers that are there, by address."""
    infos, gone = {}, []
    for worker in workers:
        try:
            worker.client.check()
            infos[worker.name] = worker.client.node_info()
        except ServerGone as error:
            gone.append(error)
        except (urllib.error.HTTPError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise ServerError(f"{worker.name} does not say which nodes it has ({error}): update ComfyUI.") from error
    if not infos:
        raise gone[0]
    for one in gone:
        warn(f"{one} Its work goes to the others.")
    return infos


def _check(job: Job, info: dict[str, Any], where: str) -> None:
    check_classes(job.graph, info, where)
    check_choices(job.graph, info, where)
