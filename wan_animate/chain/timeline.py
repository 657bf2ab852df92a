"""Which segments of a job are done, running and to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .clock import RunClock
from .generate import Progress
from .job import AnimateJob

DONE, RUNNING, TO_DO, LEFT_OUT = "done", "running", "to do", "left out"


class Timeline:
    """Follows a job by its progress.

    Args:
        finished: segments that are there before it starts, from 0.
        clock: follows the same job.

    Attributes:
        resumed: how many of the segments that are to be made were there.
    """

    def __init__(self, job: AnimateJob, finished: Iterable[int], clock: RunClock) -> None:
        self._job, self._clock, self._plan = job, clock, job.plan()
        wanted = {segment.index for segment in job.wanted()}
        self._states = [TO_DO if at in wanted else LEFT_OUT for at in range(len(self._plan))]
        for index in finished:
            self._states[index] = DONE
        self.resumed = sum(self._states[index] == DONE for index in wanted)
        self._at: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """As :func:`.generate.generate`'s progress callback, after the clock's."""
        self._at = progress
        if progress.stage == "measure":
            self.finish()
        elif progress.stage != "verify" and self._states[progress.segment] != RUNNING:
            waits = progress.stage == "write"  # for the disk, with a segment that is there
            self._end(DONE)
            self._states[progress.segment] = DONE if waits else RUNNING

    def finish(self) -> None:
        """All segments are on disk."""
        self._end(DONE)

    def _end(self, state: str) -> None:
        self._states = [state if known == RUNNING else known for known in self._states]

    def plan(self) -> dict[str, Any]:
        """What does not change: first frame, number of frames and seed of every segment (a string: 64 bits), the clip's
        seed and rate."""
        job = self._job
        return {
            "first": [segment.first for segment in self._plan],
            "frames": [segment.keep for segment in self._plan],
            "seeds": [str(job.seed_of(segment.index)) for segment in self._plan],
            "seed": str(job.seed),
            "fps": float(job.fps),
            "resumed": self.resumed,
        }

    def state(self) -> dict[str, Any]:
        """What changes: ``states`` of the segments, and of the one that is made ``stage``, ``step``, ``steps`` and
        ``left``, seconds of it; ``total_left``, seconds of the job, and ``segment_seconds``, of a whole segment, None
        while not known."""
        at, clock = self._at, self._clock
        steps = 0 if at is None else at.steps
        return {
            "states": list(self._states),
            "stage": None if at is None else at.stage,
            "step": (at.done - 1) % steps + 1 if at is not None and at.stage == "denoise" and steps else 0,
            "steps": steps,
            "left": clock.segment_seconds_left,
            "total_left": clock.seconds_left,
            "segment_seconds": clock.segment_seconds,
        }
