"""What a running job's steps and segments take, and how long it will be."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from .generate import Progress

PHASES = {"encode": "reading and encoding", "decode": "decoding", "save": "saving", "write": "writing to disk"}


class RunClock:
    """Follows a job by its progress.

    Args:
        step, other: seconds of a step and of a segment beside its steps, as known before; None: not known.
        now: the clock, in seconds.
    """

    def __init__(
        self, step: float | None = None, other: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._step, self._other, self._now = step, other, now
        self._steps: list[float] = []
        self._others: list[float] = []
        self._starts: list[float] = []  # of first segments' first steps, which load and compile
        self._total = self._segments = 0
        self._segment, self._begun, self._last = -1, 0.0, 0.0
        self._own_steps = 0  # of this segment
        self._sampled_for = 0.0
        self._at: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """As :func:`.generate.generate`'s progress callback."""
        now = self._now()
        if progress.stage == "encode" and progress.segment != self._segment:
            self._segment, self._begun, self._last, self._own_steps = progress.segment, now, now, 0
        elif progress.stage == "denoise":
            if self._own_steps:
                self._steps.append(now - self._last)
            else:
                self._starts.append(now - self._begun)
            self._own_steps += 1
            self._last = now
        elif progress.stage == "save":
            self._end_segment(now)
        self._total, self._segments, self._at = progress.total, progress.segments, progress

    def _end_segment(self, now: float) -> None:
        spent = now - self._begun
        step = self.step_seconds
        if step is None:  # one step a segment: what lies before its end is the step
            self._steps.append(spent)
            step = spent
        if len(self._starts) > 1 or self._segments == 1 or not self._others:
            # The first segment's first step loads and compiles; its time is known when the second is there.
            self._others.append(max(spent - self._own_steps * step, 0.0))
        self._begun = now

    @property
    def step_seconds(self) -> float | None:
        """The median of the steps but each segment's first; before the second step as known before."""
        return median(self._steps) if self._steps else self._step

    @property
    def other_seconds(self) -> float | None:
        """The median of the segments but the first, which loads and compiles, if there are others."""
        later = self._others[1:] or self._others
        return median(later) if later else self._other

    @property
    def start_seconds(self) -> float:
        """What the first segment took beyond the later ones; 0 with one segment."""
        return max(self._others[0] - median(self._others[1:]), 0.0) if len(self._others) > 1 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None until a step was measured, here or before."""
        at, step = self._at, self.step_seconds
        if at is None or step is None or at.stage in ("save", "write") and at.segment + 1 == at.segments:
            return 0.0 if at is not None and at.stage in ("save", "write") else None
        others = at.segments - at.segment - (at.stage in ("save", "write"))
        other = self.other_seconds or 0.0
        return max((at.total - at.done) * step + others * other - (self._now() - self._last_event), 0.0)

    @property
    def _last_event(self) -> float:
        return max(self._last, self._begun)

    def text(self) -> str:
        """``segment 2 of 5: step 3 of 20, 4 min 10 s left``."""
        at = self._at
        if at is None:
            return ""
        steps = at.total // at.segments
        phase = f"step {at.done - at.segment * steps} of {steps}" if at.stage == "denoise" else PHASES[at.stage]
        left = self.seconds_left
        words = f"segment {at.segment + 1} of {at.segments}: {phase}"
        return words if left is None or left < 1 else f"{words}, {duration(left)} left"


def duration(seconds: float) -> str:
    """``40 s``, ``4 min 20 s``, ``2 h 5 min``."""
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
