"""What a clip goes on from: segments that other settings made before it, to be made again for its sake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .job import AnimateJob


def earlier_jobs(job: AnimateJob, first: int, last: int) -> list[AnimateJob]:
    """The jobs that must be finished, one after the other, so that the job makes the same clip as in their folders.

    With ``keep_rest`` that is the clip without segment seeds; of a part of the clip, what joins on to it.

    Args:
        first, last: the segments that the clip shows, from 0; those that the job itself makes are among them.
    """
    options, plan = job.options, job.plan()
    wanted = job.wanted().segments
    begin = options.first_segment if options.continue_from is not None else min(first, wanted[0].index)
    end = min(max(last, wanted[-1].index), len(plan) - 1)
    shown = replace(options, first_segment=max(begin, 0), last_segment=end)
    found = []
    if options.keep_rest:
        found.append(replace(job, options=replace(shown, segment_seeds={}, keep_rest=False)))
    if (shown.first_segment, end) != (wanted[0].index, wanted[-1].index):
        found.append(replace(job, options=shown))
    return found


def goes_on(options: Mapping[str, Any], first: int, last: int) -> str:
    """What :func:`earlier_jobs` would find, in words; empty if nothing.

    Args:
        options: of :class:`.options.ClipOptions`, as a record has them.
        first, last: as for :func:`earlier_jobs`.
    """
    if options.get("keep_rest"):
        return "the rest of a clip that had been made without segment seeds"
    begin, end = options.get("first_segment", 0), options.get("last_segment", -1)
    if (begin > first and options.get("continue_from") is None) or -1 < end < last:
        return "segments that had been finished before"
    return ""
