"""What ``wan-animate batch`` does: rows to clips, by processes, a Ray cluster or ComfyUI servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..cli.checks import default_device
from ..errors import InputError
from ..files import no_empty_folders, remove_empty
from ..queue.dispatch import Dispatcher, News, Summary
from ..queue.jobs import Row, parse_setting
from ..queue.sending import Sending, send
from ..queue.shots import WORK
from ..queue.state import State
from ..queue.workflow import Setting
from .clips import Clip, read_clips
from .place import is_url, join, remove, send_inputs
from .ray_workers import Cluster
from .units import Flow
from .workers import ProcessWorker, UnitWorker

Tell = Callable[[News], None]
Warn = Callable[[str], None]
WORKFLOWS = Path(__file__).parents[2] / "workflows" / "api"
OTHER_NAMES = {
    "prompt": "Cached Prompt (positive).text",
    "segment": "segment_length",
    "previous_frames": "guidance_frames",
    "clean": "Clean Pose.strength",
    "fps": "Load Driving Video.fps",
    "start": "Load Driving Video.start",
    "limit": "Load Driving Video.limit",
}
"""Options of ``run`` -> inputs of the pack's workflows, where they are called otherwise or are in several nodes."""
AT_CUTS = {"anew": "anew", "chain": "chain", "start anew": "anew", "chain on": "chain"}
"""As ``run`` and as Clip Options call it."""


@dataclass(frozen=True)
class Batch:
    """As the shell takes it.

    Args:
        rows: a clip each.
        common: options of ``run`` for all clips.
        workers: 0: one, or all of a cluster's cards.
        ray: the cluster's address; "": processes of this machine.
        shared: the place of unfinished work; "": in ``out``.
    """

    rows: list[Row]
    common: list[str]
    out: Path
    workers: int = 0
    ray: str = ""
    shared: str = ""
    limit: int = 0
    retries: int = 3
    patience: float = 600.0


def make(given: Batch, tell: Tell, warn: Warn) -> Summary:
    """Makes the clips; what is done already is not made again.

    Raises:
        InputError: something given cannot work; nothing is begun then.
    """
    cluster = Cluster(given.ray) if given.ray else None
    try:
        with no_empty_folders(given.out):
            clips = read_clips(given.rows, given.common, given.out, elsewhere=cluster is not None)
            state = State(given.out)
        try:
            return _dispatch(given, clips, state, cluster, tell, warn)
        finally:
            state.close()
    finally:
        if cluster is not None:
            cluster.close()


def _dispatch(
    given: Batch, clips: list[Clip], state: State, cluster: Cluster | None, tell: Tell, warn: Warn
) -> Summary:
    device = clips[0].options.device
    workers: Sequence[UnitWorker]
    if cluster is not None:
        workers = cluster.workers(given.workers, device, warn)
        if cluster.dashboard:
            warn(f"the cluster's dashboard: {cluster.dashboard}")
    else:
        workers = _processes(given.workers or 1, device, warn)
    work = given.out.absolute() / WORK
    root = given.shared if is_url(given.shared) else os.path.abspath(given.shared or work)

    def tidy(key: str) -> None:
        remove(join(root, key))
        (work / f"{key}.shots.json").unlink(missing_ok=True)
        with suppress(OSError):
            work.rmdir()

    left = [clip for clip in clips if state.done(clip.key) is None]
    sent = {clip.key: send_inputs(root, vars(clip.options)) for clip in left} if is_url(root) else {}
    flow = Flow(clips, lambda key: join(root, key), tidy, sent)
    units = flow.begin(lambda key: state.done(key) is not None)
    state.sweep([clip.name for clip in clips])
    try:
        return Dispatcher(
            units, list(workers), state, given.limit, given.retries, given.patience, tell, flow.then, "worker", True
        ).run()
    finally:
        for worker in workers:
            worker.close()
        _sweep(clips, state, root, work, tidy)


def _sweep(clips: list[Clip], state: State, root: str, work: Path, tidy: Callable[[str], None]) -> None:
    """Removes what a killed driver's worker wrote of clips that are whole, and empty folders of those that failed."""
    for clip in clips:
        if not is_url(root) and Path(join(root, clip.key)).exists() and state.done(clip.key) is not None:
            tidy(clip.key)
    if not is_url(root):
        remove_empty([work, *(Path(join(root, clip.key)) for clip in clips)])


def _processes(count: int, device: str, warn: Warn) -> list[ProcessWorker]:
    device = device or default_device()
    several = count > 1 and device == "cuda"
    if several:
        import torch

        if count > torch.cuda.device_count():
            raise InputError(
                f"--workers is {count}, but this machine has {torch.cuda.device_count()} cards: give as many, or fewer."
            )
    names = [f"cuda:{at}" if several else device for at in range(count)]
    return [ProcessWorker(f"worker {at} ({name})", name, warn) for at, name in enumerate(names, 1)]


def on_servers(given: Batch, servers: list[str], workflow: Path | None, tell: Tell, warn: Warn) -> Summary:
    """The same on ComfyUI servers (:func:`..queue.sending.send`). Raises InputError."""
    common = _settings(given.common)
    rows = [_row(row, common, workflow) for row in given.rows]
    sending = Sending(
        rows=rows,
        servers=servers,
        workflow=workflow,
        out=given.out,
        limit=given.limit,
        retries=given.retries,
        patience=given.patience,
    )
    return send(sending, tell, warn)


def _row(row: Row, common: list[Setting], workflow: Path | None) -> Row:
    """With what is common to all clips, inputs as the workflow names them, and the workflow of its mode."""
    settings = {setting.name.strip().replace("-", "_"): setting for setting in [*common, *row.settings]}
    mode = settings.pop("mode", None)
    own = row.workflow
    if own is None and workflow is None:
        name = "animate" if mode is None else str(mode.value)
        own = WORKFLOWS / f"{name}.json"
        if not own.is_file():
            raise InputError(f"{row.name}: there is no workflow {name} beside the pack: give --workflow.")
    cuts = settings.pop("at_cuts", None)
    if cuts is not None and str(cuts.value) not in AT_CUTS:
        raise InputError(f"{row.name}: at_cuts is {cuts.value!r}: choose chain or anew.")
    named = [replace(setting, name=OTHER_NAMES.get(name, setting.name)) for name, setting in settings.items()]
    return replace(row, settings=named, workflow=own, at_cuts="" if cuts is None else AT_CUTS[str(cuts.value)])


def _settings(common: list[str]) -> list[Setting]:
    """``--name value`` and ``--name=value`` as parameters."""
    settings, words, here = [], list(common), Path.cwd()
    while words:
        word = words.pop(0)
        if not word.startswith("--") or ("=" not in word and not words):
            raise InputError(f"{word!r} is no option with a value: give --name value, or a column of the table.")
        text = word[2:] if "=" in word else f"{word[2:]}={words.pop(0)}"
        settings.append(parse_setting(text, here))
    return settings
