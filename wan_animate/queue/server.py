"""A ComfyUI server as a worker."""

from __future__ import annotations

import time
import urllib.error
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from ..errors import Cancelled, InputError
from .client import (
    ComfyClient,
    PromptInterrupted,
    PromptRejected,
    ServerError,
    ServerGone,
    check_ended_well,
)
from .dispatch import WorkerLost
from .jobs import Job
from .listen import Listener, NodeProgress
from .state import State
from .workflow import title

POLL = 0.5  # seconds between two looks at a prompt
GRACE = 10.0  # seconds that a server may be silent before its job is given to others


class ComfyServer:
    """One server.

    A prompt's id is noted before it is sent: what was sent is found again by it, and never sent twice to a server that
    has it.

    Args:
        slots: jobs in its queue: with two the next is there when one ends.
        grace: seconds that it may be silent before its job is given to others.
    """

    def __init__(self, url: str, slots: int = 2, grace: float = GRACE, client: ComfyClient | None = None):
        self.client = client or ComfyClient(url)
        self.name, self.slots, self._grace = self.client.url, slots, grace
        self._client_id = uuid.uuid4().hex
        self._listener: Listener | None = None
        self._given_up: set[str] = set()

    def start(self) -> None:
        """Hears its progress from now on."""
        self._listener = Listener(self.client, self._client_id)
        self._listener.wait(5)

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def alive(self) -> bool:
        """Whether it is back; what others do meanwhile is cancelled on it."""
        try:
            self.client.check()
            for prompt in list(self._given_up):
                self.client.cancel(prompt)
                self._given_up.discard(prompt)
        except (ServerError, urllib.error.HTTPError):
            return False
        return True

    def run(self, job: Job, state: State, report: Callable[[str, float], None], stop: Event) -> list[Path]:
        """As :meth:`.dispatch.Worker.run`."""
        watch = _Watch(self._grace)
        prompt = ""
        try:
            prompt, attempt, there = self._find(job, state)
            if not there:
                state.tell(job.key, "sent", name=job.name, worker=self.name, prompt=prompt, attempt=attempt)
                self._send(job, prompt)
            self._listen(job, prompt, report)
            entry = self._wait(prompt, watch, stop)
            check_ended_well(entry)
            return self._collected(job, entry, state.folder, watch, stop)
        except ServerGone as error:
            if prompt:
                self._given_up.add(prompt)
            last = state.last(job.key)
            attempt = last.get("attempt", 0)
            state.tell(job.key, "lost", name=job.name, worker=self.name, prompt=prompt, attempt=attempt)
            raise WorkerLost(str(error), watch.seen_running) from error
        except PromptInterrupted as error:
            raise InputError(f"somebody stopped it on {self.name}: run the same command again.") from error
        except Cancelled:
            self._cancel(job, state, prompt)
            raise
        except urllib.error.HTTPError as error:
            raise ServerError(f"{self.name} answered {error.code} {error.reason}.") from error
        finally:
            if self._listener is not None:
                self._listener.remove(prompt)

    def _find(self, job: Job, state: State) -> tuple[str, int, bool]:
        """(prompt id, how often it was tried, whether the server has it)."""
        last = state.last(job.key)
        attempt = int(last.get("attempt", 0))
        if last.get("worker") == self.name and last.get("prompt"):
            prompt = str(last["prompt"])
            place, entry = self.client.state(prompt)
            running = place in ("running", "pending") and last["event"] == "sent"  # else it is being cancelled
            if running or (last["event"] in ("sent", "lost", "stopped") and _succeeded(entry)):
                return prompt, attempt, True
        return str(uuid.uuid4()), attempt + 1, False

    def _send(self, job: Job, prompt: str) -> None:
        job.send(self.client)
        try:
            self.client.post_prompt(job.graph, self._client_id, prompt, job.extra())
        except PromptRejected as error:
            raise InputError(f"{self.name} refused it: {error}") from error

    def _listen(self, job: Job, prompt: str, report: Callable[[str, float], None]) -> None:
        if self._listener is not None:
            titles = {node: title(job.graph, node) for node in job.graph}
            self._listener.add(prompt, NodeProgress(titles, report))

    def _wait(self, prompt: str, watch: _Watch, stop: Event) -> dict[str, Any]:
        while not stop.wait(POLL):
            try:
                place, entry = self.client.state(prompt)
            except ServerGone as error:
                watch.silent(error)
                continue
            watch.heard(place)
            if entry is not None:
                return entry
            if not place:
                if watch.was_silent:
                    raise ServerGone(f"{self.name} was started anew and knows the job no more")
                raise InputError(f"it was taken out of the queue of {self.name}: run the command again.")
        raise Cancelled

    def _collected(self, job: Job, entry: dict[str, Any], folder: Path, watch: _Watch, stop: Event) -> list[Path]:
        while True:
            try:
                return job.collect(self.client, entry, folder)
            except ServerGone as error:
                watch.silent(error)
            if stop.wait(POLL):
                raise Cancelled

    def _cancel(self, job: Job, state: State, prompt: str) -> None:
        last = state.last(job.key)
        if last.get("prompt") != prompt:
            return
        state.tell(job.key, "stopped", **{name: last[name] for name in ("name", "worker", "prompt", "attempt")})
        try:
            self.client.cancel(prompt)
        except (ServerError, urllib.error.HTTPError):
            pass  # it is gone, and the job with it


class _Watch:
    """How long a server has been silent."""

    def __init__(self, grace: float):
        self._grace = grace
        self._heard = time.monotonic()
        self.seen_running = self.was_silent = False

    def heard(self, place: str) -> None:
        self._heard = time.monotonic()
        self.seen_running = self.seen_running or place == "running"

    def silent(self, error: ServerGone) -> None:
        """Raises ``error`` when it has lasted too long."""
        self.was_silent = True
        if time.monotonic() - self._heard > self._grace:
            raise error


def _succeeded(entry: dict[str, Any] | None) -> bool:
    return entry is not None and (entry.get("status") or {}).get("status_str") == "success"
