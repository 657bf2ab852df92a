"""Workers on a Ray cluster: an actor each, with a card.

Actors rather than tasks, because Ray ends the process after each task that has a GPU (``max_calls`` is 1 for them), and
35 GB of weights would be loaded for every shot. An actor that died is made again, on any node that has room.
"""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from ..errors import Cancelled, InputError
from ..queue.dispatch import WorkerLost
from .units import Unit
from .workers import GRACE, POLL, Told, UnitWorker

ANSWER = 10.0  # seconds for a cluster's head to answer
ROOM = 5.0  # seconds to wait for an actor at a look; a cluster that grows takes minutes


class Cluster:
    """A Ray cluster: one that runs, or one of this machine for the while.

    Args:
        address: of its head (``10.0.0.5:6379``, ``ray://10.0.0.5:10001``); ``auto``: the one of this machine or of
            ``RAY_ADDRESS``, else one is started here.

    Raises:
        InputError: Ray is not installed, or nobody answers.
    """

    def __init__(self, address: str):
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray needs Ray: pip install 'wan-animate-kit[ray]', or leave --ray out.") from error
        self.ray = ray
        package = Path(__file__).parents[1]
        given: dict[str, Any] = {
            "logging_level": "error",
            "log_to_driver": False,
            "runtime_env": {"py_modules": [str(package)]},  # every node runs this code
            "namespace": "wan-animate",
        }
        try:
            context = self._connect(address, given)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"there is no Ray cluster at {address} ({reason}): give its head's address.") from error
        link = getattr(context, "dashboard_url", "") or ""
        self.dashboard = f"http://{link}" if link and "://" not in link else link

    def _connect(self, address: str, given: dict[str, Any]) -> Any:
        if address != "auto":
            host, _, port = address.rpartition("/")[2].rpartition(":")
            socket.create_connection((host, int(port or 10001)), timeout=ANSWER).close()  # Ray itself tries for minutes
            return self.ray.init(address, **given)
        try:
            return self.ray.init("auto", **given)
        except ConnectionError:
            return self.ray.init(**given)

    @property
    def cards(self) -> int:
        """GPUs of all nodes."""
        return int(self.ray.cluster_resources().get("GPU", 0))

    def workers(self, count: int, device: str, warn: Callable[[str], None]) -> list[RayWorker]:
        """
        Args:
            count: 0: one for each card, or one without any.
            device: ``cpu`` asks for no cards.
        """
        cards = 0 if device == "cpu" else self.cards
        count = count or max(cards, 1)
        return [RayWorker(self.ray, f"ray {at}", 1 if cards else 0, device, warn) for at in range(1, count + 1)]

    def close(self) -> None:
        self.ray.shutdown()


class RayWorker(UnitWorker):
    """One actor, made when it is looked at first.

    Args:
        cards: GPUs that it asks for.
    """

    def __init__(self, ray: Any, name: str, cards: int, device: str, warn: Callable[[str], None]):
        super().__init__(name, warn)
        self._ray, self._cards, self._device = ray, cards, device
        self._actor: Any = None
        self._ready: Any = None

    def alive(self) -> bool:
        if self._actor is None:
            options = {"num_gpus": self._cards, "num_cpus": 1, "max_concurrency": 3, "max_restarts": 0}
            self._actor = self._ray.remote(Hand).options(**options).remote(self._device)
            self._ready = self._actor.ready.remote()
        try:
            found, _ = self._ray.wait([self._ready], timeout=ROOM)
            return bool(found) and bool(self._ray.get(self._ready))
        except self._ray.exceptions.RayError:
            self.close()
            return False

    def close(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
        self._actor = self._ready = None

    def _make(self, unit: Unit, report: Callable[[str, float], None], stop: Event) -> None:
        if self._actor is None:
            raise WorkerLost(f"{self.name} is not there.", started=False)
        actor = self._actor
        try:
            made = actor.do.remote(unit)
            while not self._ray.wait([made], timeout=POLL)[0]:
                if stop.is_set():
                    actor.stop.remote()
                    self._ray.wait([made], timeout=GRACE)
                    self.close()
                    raise Cancelled
                self._look(actor, unit, report)
            self._look(actor, unit, report)
            kind, what = self._ray.get(made)
        except self._ray.exceptions.RayError as error:
            self.close()
            reason = " ".join(str(error).split())[:160]
            raise WorkerLost(f"{self.name} ended ({reason}).", started=True) from error
        if kind == "failed":
            sentence, trace, sound = what
            if not sound:
                self._warn(f"{unit.name}:\n{trace}")
                self.close()
                self.alive()
            raise InputError(sentence)

    def _look(self, actor: Any, unit: Unit, report: Callable[[str, float], None]) -> None:
        at, notes = self._ray.get(actor.look.remote())
        if at is not None:
            report(*at)
        for note in notes:
            self._warn(f"{unit.job}: {note}")


class Hand:
    """The actor. ``do`` works in one of its threads, the driver asks in others how far it is."""

    def __init__(self, device: str):
        from ..cli.checks import default_device
        from ..cli.shared import KeptWeights

        self._device, self._weights = device or default_device(), KeptWeights()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._at: tuple[str, float] | None = None
        self._notes: list[str] = []

    def ready(self) -> bool:
        """Answers when it has imported what it needs."""
        from . import work  # noqa: F401

        return True

    def do(self, unit: Unit) -> Told:
        """As a worker's process tells it: ``done`` or ``failed``."""
        from .work import do, said

        self._stop.clear()
        self._at = None
        try:
            do(unit, self._weights, self._report, self._notes.append, self._device)
        except (InputError, Cancelled) as error:
            return "failed", (said(error), "", True)
        except Exception as error:
            return "failed", (said(error), traceback.format_exc(), False)
        return "done", None

    def look(self) -> tuple[tuple[str, float] | None, list[str]]:
        with self._lock:
            notes, self._notes[:] = list(self._notes), []
            return self._at, notes

    def stop(self) -> None:
        self._stop.set()

    def _report(self, text: str, part: float) -> None:
        if self._stop.is_set():
            raise Cancelled
        self._at = text, part
