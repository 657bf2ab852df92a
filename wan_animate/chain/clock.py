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
    "write": "waiting for the disk",
    "measure": "comparing where segments meet",
}


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
    def seconds_left(self) -> float | None:
        """None before anything is known of a step."""
        at, step = self._at, self.step_seconds
        if at is None or step is None or at.stage in ("verify", "measure"):
            return None
        steps = _steps(at)
        begun = at.done if at.stage == "encode" else (at.done - 1) // steps * steps
        segment = steps * step + (self.other_seconds or 0.0)
        later = ((at.total - begun) // steps - 1 if at.later is None else at.later) * segment
        if at.stage in ("save", "write"):
            return later
        own = (steps - (at.done - begun)) * step
        return later + max(segment - (self._now() - self._begun), own)

    def text(self) -> str:
        """``segment 2 of 5: step 3 of 20, 4 min 10 s left``."""
        at = self._at
        if at is None:
            return ""
        steps = _steps(at)
        phase = f"step {(at.done - 1) % steps + 1} of {steps}" if at.stage == "denoise" else PHASES[at.stage]
        left = self.seconds_left
        words = f"segment {at.segment + 1} of {at.segments}: {phase}"
        return words if left is None or left < 1 else f"{words}, {duration(left)} left"


def _steps(progress: Progress) -> int:
    """Of a segment."""
    return progress.steps or progress.total // progress.segments
