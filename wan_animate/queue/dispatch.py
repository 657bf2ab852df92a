"""Jobs given to workers, each kept busy; a dead one's work goes to others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any, Protocol

from ..errors import Cancelled, InputError
from .state import State

PROBE, PROBE_MOST = 0.5, 15.0  # seconds before the first look at a dead worker, and between the later ones


class WorkerLost(Exception):
    """A worker is gone. ``started``: it was at the job, which may be what ended it."""

    def __init__(self, text: str, started: bool):
        self.started = started
        super().__init__(text)


class Task(Protocol):
    """What is run once: a job, or a part of one.

    Its ``key`` is its identity, ``name`` is shown, ``job`` is the name of the job that it belongs to; ``last``: the job
    is done with it. Of two, the one with the higher ``priority`` goes first.
    """

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def job(self) -> str: ...
    @property
    def last(self) -> bool: ...
    @property
    def priority(self) -> int: ...


class Worker(Protocol):
    """Runs jobs: a server, a card, a Ray actor. ``slots`` jobs are given to it at a time, so that it never waits."""

    name: str
    slots: int

    def run(self, job: Any, state: State, report: Callable[[str, float], None], stop: Event) -> list[Path]:
        """Make the job's files.

        Args:
            report: what it does now, and how much of that is done, 0 to 1.
            stop: set when it must end; then ``Cancelled`` is raised.

        Raises:
            WorkerLost: others may do it.
            InputError: the job cannot be done.
        """
        ...

    def alive(self) -> bool:
        """Whether it can be given work again."""
        ...


@dataclass(frozen=True)
class News:
    """What happened to a job: ``started``, ``working``, ``done``, ``kept`` (was done), ``lost``, ``failed``.

    ``last``: the job is over with it.
    """

    kind: str
    job: str
    worker: str
    text: str = ""
    part: float = 0.0
    last: bool = True


@dataclass
class Summary:
    """How it ended. Names of jobs; ``failed`` and ``left`` with a sentence each."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    seconds: float = 0.0


class Dispatcher:
    """Runs every job once.

    Args:
        limit: jobs at once; 0: as many as the workers take.
        retries: how often a job is given to a worker again after one was lost while at it.
        patience: seconds without any worker after which the rest is left.
        tell: gets news, from several threads, one at a time.
        then: what can be done after a task, given it and its files.
        called: what a worker is, in messages.
        awaited: a worker gets its first job when it is :meth:`Worker.alive`.
    """

    def __init__(
        self,
        jobs: Sequence[Task],
        workers: list[Any],
        state: State,
        limit: int = 0,
        retries: int = 3,
        patience: float = 300.0,
        tell: Callable[[News], None] = lambda news: None,
        then: Callable[[Any, list[Path]], Sequence[Task]] = lambda job, files: (),
        called: str = "server",
        awaited: bool = False,
    ):
        self._jobs, self._workers, self._state = list(jobs), workers, state
        self._then, self._called, self._awaited = then, called, awaited
        self._limit, self._retries, self._patience, self._tell = limit, retries, patience, tell
        self._pending: list[Task] = []
        self._losses: dict[str, int] = {}
        self._running = 0
        self._busy = {worker.name: 0 for worker in workers}
        self._lost: dict[str, float] = {}  # worker -> since when
        self._abandoned = False
        self._change, self._stop = Condition(), Event()
        self._error: BaseException | None = None
        self.summary = Summary()

    def run(self) -> Summary:
        """Returns when all is done, failed or left. An error of ours, and Ctrl+C, end all jobs and are raised."""
        begun = time.monotonic()
        for job in self._jobs:
            self._enter(job)
        if self._awaited:
            self._lost = dict.fromkeys((worker.name for worker in self._workers), begun)
        threads = [
            Thread(target=self._work, args=(worker,), name=f"{worker.name} {slot}", daemon=True)
            for worker in self._workers
            for slot in range(worker.slots)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        finally:
            self._halt()
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error
        self.summary.left = {job.job: self._last_word() for job in self._pending}
        self.summary.seconds = time.monotonic() - begun
        return self.summary

    def _enter(self, job: Task, first: bool = False) -> None:
        """Among what is to be done, unless it is done; ``first``: before others of its priority."""
        files = self._state.done(job.key)
        if files is not None:
            if job.last:
                self.summary.kept.append(job.job)
                self._tell(News("kept", job.job, ""))
            for more in self._then(job, files):
                self._enter(more, first)
            return
        ranks = [other.priority for other in self._pending]
        behind = (at for at, rank in enumerate(ranks) if rank < job.priority or (first and rank == job.priority))
        self._pending.insert(next(behind, len(ranks)), job)

    # -- a worker's thread

    def _work(self, worker: Worker) -> None:
        try:
            if self._awaited:
                self._wait_for(worker)
            while (job := self._take(worker)) is not None:
                self._one(worker, job)
        except Cancelled:
            pass
        except BaseException as error:
            self._error = self._error or error
            self._halt()

    def _one(self, worker: Worker, job: Task) -> None:
        def report(text: str, part: float) -> None:
            self._news("working", job, worker, text, part)

        self._news("started", job, worker)
        begun = time.monotonic()
        try:
            files = worker.run(job, self._state, report, self._stop)
        except WorkerLost as lost:
            self._give_back(worker, job, lost)
            self._wait_for(worker)
            return
        except InputError as error:
            self._fail(worker, job, str(error))
        except BaseException:
            with self._change:
                self._over(worker)
                self._pending.append(job)
            raise
        else:
            folder, seconds = self._state.folder, round(time.monotonic() - begun, 3)
            sizes = [[path.relative_to(folder).as_posix(), path.stat().st_size] for path in files]
            self._state.tell(job.key, "done", name=job.name, worker=worker.name, files=sizes, seconds=seconds)
            following = self._then(job, files)
            with self._change:
                self._over(worker)
                if job.last:
                    self.summary.done.append(job.job)
                for more in reversed(following):
                    self._enter(more, first=True)
                self._change.notify_all()
            self._news("done", job, worker, ", ".join(path.name for path in files if job.last))

    def _take(self, worker: Worker) -> Task | None:
        """The next job; None when there is no more. A job that this worker was at already comes first."""
        with self._change:
            while not self._stop.is_set():
                if not self._pending and not self._running:
                    self._change.notify_all()
                    return None
                job = self._next(worker)
                if job is not None:
                    self._pending.remove(job)
                    self._running += 1
                    self._busy[worker.name] += 1
                    return job
                self._change.wait(0.2)
        return None

    def _over(self, worker: Worker) -> None:
        self._running -= 1
        self._busy[worker.name] -= 1

    def _next(self, worker: Worker) -> Task | None:
        if self._limit and self._running >= self._limit:
            return None
        alive = [one.name for one in self._workers if one.name not in self._lost]
        if worker.name not in alive:
            return None
        sent = {job.key: self._sent_to(job) for job in self._pending}
        for job in self._pending:
            if sent[job.key] == worker.name:
                return job
        free = [job for job in self._pending if sent[job.key] not in alive]
        idle = sum(not self._busy[name] for name in alive)
        if self._busy[worker.name] and (len(free) < len(alive) or len(free) <= idle):
            return None  # the last ones go to whoever is free first
        return free[0] if free else None

    def _sent_to(self, job: Task) -> str | None:
        last = self._state.last(job.key)
        return str(last["worker"]) if last.get("event") == "sent" else None

    def _give_back(self, worker: Worker, job: Task, lost: WorkerLost) -> None:
        with self._change:
            self._lost.setdefault(worker.name, time.monotonic())
            self._losses[job.key] = self._losses.get(job.key, 0) + lost.started
            again = self._losses[job.key] <= self._retries
            if again:
                self._over(worker)
                self._enter(job, first=True)
                self.summary.retries += 1
                self._change.notify_all()
        if again:
            self._news("lost", job, worker, str(lost))
        else:
            times = self._losses[job.key]
            self._fail(worker, job, f"{times} {self._called}s went down while they were at it, the last: {lost}")

    def _wait_for(self, worker: Worker) -> None:
        """Until the worker is back, or nothing is to be done."""
        pause = PROBE
        while not self._stop.wait(pause):
            if worker.alive():
                break
            pause = min(2 * pause, PROBE_MOST)
            with self._change:
                if not self._pending and not self._running:
                    return
                latest = max(self._lost.values(), default=0.0)
                everyone = len(self._lost) == len({one.name for one in self._workers})
                if everyone and time.monotonic() - latest > self._patience:
                    self._abandoned = True
                    self._stop.set()
        with self._change:
            self._lost.pop(worker.name, None)
            self._change.notify_all()

    def _fail(self, worker: Worker, job: Task, why: str) -> None:
        why = " ".join(why.split())
        self._state.tell(job.key, "failed", name=job.name, worker=worker.name, why=why)
        with self._change:
            self._over(worker)
            first = job.job not in self.summary.failed
            self.summary.failed.setdefault(job.job, why)
            self._pending = [other for other in self._pending if other.job != job.job]
            self._change.notify_all()
        if first:
            self._news("failed", job, worker, why)

    def _last_word(self) -> str:
        return f"no {self._called} was there for {self._patience:.0f} s" if self._abandoned else "it was not begun"

    def _halt(self) -> None:
        self._stop.set()
        with self._change:
            self._change.notify_all()

    def _news(self, kind: str, job: Task, worker: Worker, text: str = "", part: float = 0.0) -> None:
        with self._change:
            last = job.last or kind == "failed"
            self._tell(News(kind, job.name, worker.name, text, part, last))
