"""What a running job's steps and segments take, and how long it will be."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from ..text import duration
from .generate import Progress

PHASES = {
    "verify": "reading finished segments",
    "encode": "encoding",
    "decode": "decoding",
    "save": "saving",
    "write": "writing",
    "measure": "comparing where segments meet",
}
LOADING = {"encode": "loading the VAE, ", "load": "loading the model, "}
"""While nothing was sampled yet."""


class RunClock:
    """Follows a job by its progress.

    Args:
        step, other: seconds of a step, and of a segment beside its steps, as known before; None: not known.
        now: the clock, in seconds.
    """

    def __init__(
        self, step: float | None = None, other: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._known = step, other
        self._now = now
        self._at: Progress | None = None
        self._steps: list[float] = []
        self._others: list[float] = []
        self._begun = self._stepped = 0.0
        self._own_steps = 0  # of this segment

    def __call__(self, progress: Progress) -> None:
        """As :func:`.generate.generate`'s progress callback."""
        now = self._now()
        if progress.stage == "encode":
            self._begun, self._own_steps = now, 0
        elif progress.stage == "denoise":
            if self._own_steps:  # the first one has the encoding before it
                self._steps.append(now - self._stepped)
            self._own_steps, self._stepped = self._own_steps + 1, now
        elif progress.stage == "save" and self._own_steps:
            spent = now - self._begun
            if not self._steps:
                self._steps.append(spent / self._own_steps)
            self._others.append(max(spent - self._own_steps * median(self._steps), 0.0))
        self._at = progress

    @property
    def step_seconds(self) -> float | None:
        """The median of the steps but each segment's first."""
        return median(self._steps) if self._steps else self._known[0]

    @property
    def other_seconds(self) -> float | None:
        """Of a segment beside its steps: the median of those but the first, which loads and compiles."""
        measured = self._others[1:] or self._others
        return median(measured) if measured else self._known[1]

    @property
    def start_seconds(self) -> float:
        """What the first segment took beyond the later ones; 0 with one segment."""
        return max(self._others[0] - median(self._others[1:]), 0.0) if len(self._others) > 1 else 0.0

    @property
    def measured(self) -> bool:
        """Whether a segment was made."""
        return bool(self._others)

    @property
    def segment_seconds(self) -> float | None:
        """Of a whole segment; None before anything is known of a step."""
        step, steps = self.step_seconds, 0 if self._at is None else _steps(self._at)
        return None if step is None else steps * step + (self.other_seconds or 0.0)

    @property
    def segment_seconds_left(self) -> float | None:
        """Of the segment that is made; None before anything is known of a step."""
        at, step, segment = self._at, self.step_seconds, self.segment_seconds
        if at is None or step is None or segment is None or at.stage in ("verify", "measure"):
            return None
        if at.stage in ("save", "write"):
            return 0.0
        return max(segment - (self._now() - self._begun), (_steps(at) - self._steps_done(at)) * step)

    @property
    def seconds_left(self) -> float | None:
        """Of the job; None before anything is known of a step."""
        at, segment, own = self._at, self.segment_seconds, self.segment_seconds_left
        if at is None or segment is None or own is None:
            return None
        begun = at.done - self._steps_done(at)
        return ((at.total - begun) // _steps(at) - 1 if at.later is None else at.later) * segment + own

    @property
    def steps_left(self) -> float:
        """Steps of the job that are not made, in parts of one: what comes before and after the steps of a segment
        counts as one step each. Only a finished job has none left."""
        at = self._at
        if at is None:
            return 0.0
        steps = _steps(at)
        done = self._steps_done(at)
        passed = {"verify": 0.0, "encode": 0.0, "load": 0.5, "denoise": 1.0 + done, "decode": steps + 1.0}
        return at.total - (at.done - done) - steps * passed.get(at.stage, steps + 1.5) / (steps + 2)

    @staticmethod
    def _steps_done(at: Progress) -> int:
        """Of the segment that is made."""
        steps = _steps(at)
        return 0 if at.stage in ("verify", "encode", "load") else (at.done - 1) % steps + 1 if at.done else 0

    def text(self, left: bool = True) -> str:
        """``segment 2 of 5: sampling, step 3 of 20, 4 min 10 s left``, or without what is left; the step is the one
        that is made."""
        at = self._at
        if at is None:
            return ""
        steps = _steps(at)
        step = min(self._steps_done(at) + 1, steps)
        phase = f"sampling, step {step} of {steps}" if at.stage in ("load", "denoise") else PHASES[at.stage]
        loading = LOADING.get(at.stage, "") if not self._steps and not self._own_steps else ""
        seconds = self.seconds_left if left else None
        words = f"segment {at.segment + 1} of {at.segments}: {loading}{phase}"
        return words if seconds is None or seconds < 1 else f"{words}, {duration(seconds)} left"


def _steps(progress: Progress) -> int:
    """Of a segment."""
    return progress.steps or progress.total // progress.segments
