"""Threads that work on one task together: all end well, or all end."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..log import get_logger
from .meeting import Meeting, Stopped

GRACE = 30.0  # seconds in which the others notice that one failed

log = get_logger(__name__)


class MemberError(RuntimeError):
    """A member's error, named by its device."""


class Team:
    """One thread for each device but the first, whose part the caller computes. After an error it is of no more use.

    Args:
        devices: of the members; a device may occur more than once.
        timeout: seconds for which a member may be waited for.
        passed: errors that are raised as they are, whoever meets them.
        work: what the members do, in an error.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        timeout: float = 600.0,
        passed: tuple[type[BaseException], ...] = (),
        work: str = "a step",
    ) -> None:
        self.devices, self.passed, self.work = tuple(devices), passed, work
        self.meeting = Meeting(timeout)
        self._queues: list[queue.SimpleQueue] = []
        self._threads: list[threading.Thread] = []
        for rank, device in enumerate(self.devices[1:], 1):
            tasks: queue.SimpleQueue = queue.SimpleQueue()
            # A daemon: one that hangs in a driver does not keep the process alive.
            thread = threading.Thread(target=_work, args=(device, tasks), name=f"split {rank} {device}", daemon=True)
            thread.start()
            self._queues.append(tasks)
            self._threads.append(thread)

    def run(self, tasks: Sequence[Callable[[], Any]]) -> list[Any]:
        """The results of all tasks, one for each member.

        Raises:
            MemberError: a member failed or did not answer. Errors of kind ``passed`` come through.
        """
        parts = [_Part(task, rank, self.meeting) for rank, task in enumerate(tasks)]
        for part, waiting in zip(parts[1:], self._queues):
            waiting.put(part)
        parts[0].run()
        end = time.monotonic() + (self.meeting.timeout if self.meeting.error is None else GRACE)
        for part in parts[1:]:
            while not part.ended.wait(0.2):
                if self.meeting.error is not None:
                    end = min(end, time.monotonic() + GRACE)
                if time.monotonic() > end:
                    self.meeting.stop(TimeoutError(f"{self.devices[part.rank]} did not end its part"))
                    log.warning("the part of %s is still running and is left alone.", self.devices[part.rank])
                    break
        if self.meeting.error is not None:
            self.close()
            self._raise(parts)
        return [part.result for part in parts]

    def _raise(self, parts: Sequence[_Part]) -> None:
        error = self.meeting.error
        assert error is not None
        if isinstance(error, self.passed) or not isinstance(error, Exception):
            raise error
        rank = next((part.rank for part in parts if part.error is error), None)
        who = "a card" if rank is None else f"card {rank + 1} of {len(parts)} ({self.devices[rank]})"
        reason = " ".join(str(error).split()).rstrip(".")
        raise MemberError(
            f"{who} failed in its part of {self.work}, so the others were stopped ({type(error).__name__}: {reason}): "
            "run it again, or split over fewer cards."
        ) from error

    def close(self) -> bool:
        """Ends the threads, without waiting for one that hangs. Whether all have ended."""
        self.meeting.stop(Stopped("the team is closed"))
        for waiting in self._queues:
            waiting.put(None)
        for thread in self._threads:
            thread.join(timeout=0.5)
        return not any(thread.is_alive() for thread in self._threads)


class _Part:
    """A task, run as its caller would."""

    def __init__(self, task: Callable[[], Any], rank: int, meeting: Meeting) -> None:
        self.task, self.rank, self.meeting = task, rank, meeting
        self.context = contextvars.copy_context()
        self.inference, self.grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
        self.ended = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            if self.rank == 0:
                self.result = self.task()
            else:
                self.result = self.context.run(self._as_caller)
        except BaseException as error:
            self.error = error
            if not isinstance(error, Stopped) or self.meeting.error is None:
                self.meeting.stop(error)
        finally:
            self.ended.set()

    def _as_caller(self) -> Any:
        with torch.inference_mode(self.inference), torch.set_grad_enabled(self.grad and not self.inference):
            return self.task()


def _work(device: torch.device, tasks: queue.SimpleQueue) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).set_device(device)
    while (part := tasks.get()) is not None:
        part.run()
        del part
