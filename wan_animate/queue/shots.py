"""Shots of one clip on several servers, and joined: bit for bit the clip of one server.

Each shot's finished segments come here and go to the server that makes the whole clip, into the folder where Animate
Character looks for segments of other jobs. They are known by their keys, so what is there is not made again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ..chain.job_folder import KEYS, JobFolder
from ..chain.job_list import COMFYUI
from ..errors import InputError
from ..files import make_folder, replacing
from ..json_text import parse_json
from ..record.server import ATTENTION
from .client import ComfyClient
from .cuts import PLAN, Cut, cut_of, finding_graph, is_timed, shot_graph
from .jobs import Job

WORK = ".work"
"""In the results' folder: what is unfinished."""
CHOSEN = "attention.json"
"""Beside a clip's segments."""
SHOWN = "wan_animate_kit"
"""In a history's entry: what a node of this pack tells its panel."""


@dataclass(frozen=True)
class FindShots(Job):
    """Plans a clip; its file holds the first and last segment of each shot. ``node``: Plan Clip."""

    clip: str = ""
    node: str = ""
    last = False

    @property
    def job(self) -> str:
        return self.clip

    def collect(self, client: ComfyClient, entry: dict[str, Any], folder: Path) -> list[Path]:
        path = make_folder(folder / WORK, "the shots") / f"{self.key}.json"
        chains = _shown(entry, self.node).get("chains") or []  # none: the server has an older pack
        with replacing(path, "the list of shots", durable=True) as temporary:
            Path(temporary).write_text(json.dumps(chains))
        return [path]


@dataclass(frozen=True)
class MakeShot(Job):
    """Makes segments ``first`` to ``final`` of a clip, from 0; its files are theirs.

    Args:
        work: folder of this machine for the clip's segments.
        leads: the clip's other shots take the attention that this one's server chose.
    """

    clip: str = ""
    node: str = ""
    work: Path = Path()
    first: int = 0
    final: int = 0
    leads: bool = False
    last = False

    @property
    def job(self) -> str:
        return self.clip

    @property
    def note(self) -> str:
        """Name of the file in ``work`` that says where its segments were made."""
        return f"{self.first}-{self.final}.made"

    def extra(self) -> dict[str, Any] | None:
        path = self.work / CHOSEN
        return {"extra_pnginfo": {ATTENTION: parse_json(path.read_text())}} if path.exists() else None

    def collect(self, client: ComfyClient, entry: dict[str, Any], folder: Path) -> list[Path]:
        found = (_shown(entry, self.node).get("clip") or {}).get("file") or {}
        if "subfolder" not in found:
            raise InputError(f"{client.url} does not say where its segments are: update WanAnimateKit there.")
        here = JobFolder(make_folder(self.work, "the finished segments"))
        names = [KEYS]
        for index in range(self.first, self.final + 1):
            tail = [here.tail_path(index)] if index < self.final else []
            names += [path.name for path in (*tail, here.record_path(index), here.frames_path(index))]
        paths = []
        for name in names:
            client.save({**found, "filename": name}, here.folder / name, f"a segment of {self.name}")
            paths.append(here.folder / name)
        made = {"server": client.url, "place": found, "files": names}
        own = bool(_shown(entry, self.node).get("unmatched_attention"))
        notes: dict[str, Any] = {self.note: {**made, "own_attention": own}}
        if self.leads:
            notes[CHOSEN] = _shown(entry, self.node).get("attention") or {}
        for name, content in notes.items():
            with replacing(here.folder / name, "the list of segments", durable=True) as temporary:
                Path(temporary).write_text(json.dumps(content))
        return [*paths, *(here.folder / name for name in notes)]


@dataclass(frozen=True)
class JoinShots(Job):
    """The whole clip, of the shots in ``work``, a folder of this machine. With none it makes them."""

    work: Path = Path()

    def send(self, client: ComfyClient) -> None:
        super().send(client)
        there = {"subfolder": f"{COMFYUI.as_posix()}/{self.key}-shots", "type": "output"}
        made = [parse_json(path.read_text()) for path in sorted(self.work.glob("*.made"))]
        elsewhere = [shot for shot in made if shot["server"] != client.url or not self._all(client, shot)]
        for name in sorted({name for shot in elsewhere for name in shot["files"]} - {KEYS}):
            self._upload(client, name, there)
        if elsewhere:  # last: without it nobody looks into the folder
            self._upload(client, KEYS, there)

    def _all(self, client: ComfyClient, shot: dict[str, Any]) -> bool:
        """Whether a server still has what it made."""
        return all(
            client.size({**shot["place"], "filename": name}) == (self.work / name).stat().st_size
            for name in shot["files"]
        )

    def _upload(self, client: ComfyClient, name: str, there: dict[str, str]) -> None:
        path = self.work / name
        if client.size({**there, "filename": name}) != path.stat().st_size:
            client.upload(path, name, there["type"], there["subfolder"])


class Shots:
    """Which jobs a batch has on servers, and which come after one.

    Args:
        folder: of the results.
        apart: make shots apart; False: whole clips, of which only those shots are apart that are finished already.
        warn: gets a sentence about a shot whose server could not take the attention of the first one's.
    """

    def __init__(
        self, jobs: Iterable[Job], folder: Path, apart: bool = True, warn: Callable[[str], None] = lambda text: None
    ):
        self._folder, self._apart, self._warn, self._lock = folder, apart, warn, Lock()
        self._cuts: dict[str, tuple[Job, Cut]] = {}  # by the clip's key
        self._left: dict[str, set[str]] = {}  # clip -> its shots that are not done
        self._after: dict[str, list[Job]] = {}  # shot that leads -> the clip's others
        self._of: dict[str, str] = {}  # job -> clip
        self._jobs = list(jobs)

    def begin(self, last: Callable[[str], dict[str, Any]], done: Callable[[str], bool]) -> list[Job]:
        """The first jobs.

        Args:
            last: the newest event of a key: a clip that is at a server is followed there.
            done: whether the result of this key is whole: then its shots are not looked for.
        """
        return [
            self._first(job, not self._apart or done(job.key) or last(job.key).get("event") == "sent")
            for job in self._jobs
        ]

    def _first(self, job: Job, whole: bool) -> Job:
        cut = cut_of(job.graph)
        if cut is None:
            return job
        self._cuts[job.key] = job, cut
        if whole:
            return self._join(job)
        graph, node = finding_graph(job.graph, cut)
        found = FindShots(
            f"{job.key}.shots", f"{job.name}: its shots", graph, job.files, job.priority, clip=job.name, node=node
        )
        self._of[found.key] = job.key
        return found

    def then(self, done: Job, files: Sequence[Path]) -> list[Job]:
        """As ``then`` of :class:`.dispatch.Dispatcher`."""
        with self._lock:
            key = self._of.get(done.key)
            if key is None:
                return []
            if isinstance(done, FindShots):
                return self._shots(key, [(first, last) for first, last in parse_json(files[0].read_text())])
            if isinstance(done, MakeShot):
                self._left[key].discard(done.key)
                self._tell_own(done)
                if done.leads:
                    return self._after[done.key]
                return [] if self._left[key] else [self._join(self._cuts[key][0])]
        self.tidy(key)
        return []

    def _tell_own(self, shot: MakeShot) -> None:
        path = shot.work / shot.note
        made = parse_json(path.read_text()) if path.exists() else {}
        if made.get("own_attention"):
            self._warn(
                f"{shot.name}: {made['server']} has another kind of card or other packages than the server of shot 1, "
                "so it chose its attention for itself and frames may differ in their last bits: name a kernel in "
                "attention that all have, or give the servers the same packages."
            )

    def _shots(self, key: str, chains: list[tuple[int, int]]) -> list[Job]:
        job, cut = self._cuts[key]
        if len(chains) < 2:
            return [self._join(job)]
        leads = is_timed(job.graph)
        shots: list[Job] = [
            MakeShot(
                f"{key}.{first}-{final}", f"{job.name}: shot {at} of {len(chains)}",
                shot_graph(job.graph, cut, first, final), job.files, job.priority,
                clip=job.name, node=cut.animate, work=self._folder / WORK / key, first=first, final=final,
                leads=leads and at == 1,
            )
            for at, (first, final) in enumerate(chains, 1)
        ]  # fmt: skip
        self._left[key] = {shot.key for shot in shots}
        self._of |= {shot.key: key for shot in shots}
        if leads:
            self._after[shots[0].key] = shots[1:]
        return shots[:1] if leads else shots

    def _join(self, job: Job) -> Job:
        self._of[job.key] = job.key
        values = {name: getattr(job, name) for name in ("key", "name", "graph", "files", "priority")}
        return JoinShots(**values, work=self._folder / WORK / job.key)

    def tidy(self, key: str) -> None:
        """Removes what a whole clip does not need any more."""
        work = self._folder / WORK
        shutil.rmtree(work / key, ignore_errors=True)
        (work / f"{key}.shots.json").unlink(missing_ok=True)
        with suppress(OSError):
            work.rmdir()


def can_split(infos: Iterable[dict[str, Any]]) -> bool:
    """Whether all servers (``/object_info``) can plan a clip."""
    return all(PLAN in info for info in infos)


def _shown(entry: dict[str, Any], node: str) -> dict[str, Any]:
    shown = (entry.get("outputs") or {}).get(node) or {}
    found = (shown.get(SHOWN) or [{}])[0]
    return found if isinstance(found, dict) else {}
