"""Workers of a batch as the dispatcher has them: a process of this machine. Ray's are in :mod:`.ray_workers`."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Event
from typing import Any

from ..errors import Cancelled, InputError
from ..queue.dispatch import WorkerLost
from ..queue.shots import WORK
from ..queue.state import State
from .place import fetch
from .units import PLAN, SHOT, SHOTS, Unit

POLL = 0.2  # seconds between two looks at a worker
START = 600.0  # seconds until a process has imported what it needs: a cold disk is slow
GRACE = 15.0  # seconds for a stopped worker to finish the segment that it writes
Told = tuple[str, Any]
"""What a worker's process says: ``ready``; ``at`` (text, part); ``note`` text; ``done``; ``failed`` (sentence,
traceback, whether it goes on)."""


class UnitWorker:
    """Runs units, one at a time; what they made comes to the results' folder here.

    Args:
        warn: gets a sentence about a clip that is made.
    """

    slots = 1

    def __init__(self, name: str, warn: Callable[[str], None]):
        self.name, self._warn = name, warn

    def alive(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def run(self, unit: Unit, state: State, report: Callable[[str, float], None], stop: Event) -> list[Path]:
        """As :meth:`..queue.dispatch.Worker.run`."""
        self._make(unit, report, stop)
        if unit.kind == SHOT:
            return []
        here = state.folder / f"{unit.job}.mp4"
        if unit.kind == SHOTS:
            here = state.folder / WORK / f"{unit.key}.json"
            here.parent.mkdir(exist_ok=True)
        fetch(unit.place, PLAN if unit.kind == SHOTS else here.name, here, f"the result of {unit.name}")
        return [here]

    def _make(self, unit: Unit, report: Callable[[str, float], None], stop: Event) -> None:
        """Raises WorkerLost, InputError or Cancelled."""
        raise NotImplementedError


class ProcessWorker(UnitWorker):
    """A process of this machine, which keeps the model from clip to clip. It ends with this one.

    Args:
        device: for clips that name none.
    """

    def __init__(self, name: str, device: str, warn: Callable[[str], None]):
        super().__init__(name, warn)
        self._device = device
        self._process: Any = None
        self._pipe: Connection | None = None
        self._was_ready = False

    def alive(self) -> bool:
        """Starts a process where none is, and waits until it has imported what it needs."""
        self.close()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._device), name=self.name, daemon=True)
        with _found_by_children():
            self._process.start()
        theirs.close()
        try:
            if self._pipe.poll(START) and self._pipe.recv() == ("ready", None):
                self._was_ready = True
                return True
            ended = "nothing heard"
        except (EOFError, OSError):
            ended = self._ended()
        if not self._was_ready:
            raise InputError(f"{self.name} cannot be started ({ended}): see what it says above.")
        return False

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _make(self, unit: Unit, report: Callable[[str, float], None], stop: Event) -> None:
        if self._pipe is None:
            raise WorkerLost(f"{self.name} is not there.", started=False)
        try:
            self._pipe.send(unit)
            while True:
                if stop.is_set():
                    self._end()
                    raise Cancelled
                if not self._pipe.poll(POLL):
                    continue
                kind, what = self._pipe.recv()
                if kind == "at":
                    report(*what)
                elif kind == "note":
                    self._warn(f"{unit.job}: {what}")
                elif kind == "done":
                    return
                elif kind == "failed":
                    sentence, trace, sound = what
                    if not sound:
                        self._warn(f"{unit.name}:\n{trace}")
                        self.alive()  # its card may be in any state
                    raise InputError(sentence)
        except (EOFError, OSError) as error:
            code = self._ended()
            raise WorkerLost(f"{self.name} ended ({code}).", started=True) from error

    def _end(self) -> None:
        """Asks it to stop, and gives it time to finish what it writes."""
        with suppress(EOFError, OSError):
            assert self._pipe is not None
            self._pipe.send(None)
            end = time.monotonic() + GRACE
            while time.monotonic() < end:
                if self._pipe.poll(POLL) and self._pipe.recv()[0] in ("done", "failed"):
                    break
        self.close()

    def _ended(self) -> str:
        code = None
        if self._process is not None:
            self._process.join(5)
            code = self._process.exitcode
        self.close()
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@contextmanager
def _found_by_children() -> Iterator[None]:
    """A process that is started within can import this package, however it came here."""
    folder = str(Path(__file__).parents[2])
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def serve(pipe: Connection, device: str) -> None:
    """A worker's process: units come, what becomes of them goes."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell's Ctrl+C is the driver's
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ..cli.shared import KeptWeights
    from .work import do, said

    weights = KeptWeights()
    pipe.send(("ready", None))

    def report(text: str, part: float) -> None:
        if pipe.poll():
            pipe.recv()
            raise Cancelled
        pipe.send(("at", (text, part)))

    while True:
        try:
            unit = pipe.recv()
        except (EOFError, OSError):
            return
        if unit is None:
            continue
        told: Told = ("done", None)
        try:
            do(unit, weights, report, lambda line: pipe.send(("note", line)), device)
        except (InputError, Cancelled) as error:
            told = ("failed", (said(error), "", True))
        except Exception as error:
            told = ("failed", (said(error), traceback.format_exc(), False))
        try:
            pipe.send(told)
        except OSError:
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
