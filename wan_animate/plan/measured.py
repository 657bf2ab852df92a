"""What this machine's own runs took, kept in a small file, so that the next plan is reckoned from them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import torch

from ..chain.clock import RunClock
from ..chain.job import AnimateJob
from ..chain.job_folder import CLIPS
from ..errors import InputError
from ..files import make_folder, replacing
from ..json_text import parse_json
from ..log import get_logger
from .costs import BLOCKS, WIDTH, tokens

KEPT = 40
FILE_BYTES = 1 << 20  # more is no file of ours
log = get_logger(__name__)


def size_name(width: int, blocks: int) -> str:
    """Of a transformer, for :attr:`TimedModel.size`."""
    return f"{width}x{blocks}"


def weights_name(dtype: torch.dtype | str) -> str:
    """``"bf16"`` for 16 bits and ``"fp8"``, as in :data:`.costs.WEIGHTS`; else the dtype's name."""
    name = str(dtype).removeprefix("torch.")
    return "fp8" if name.startswith("float8") else "bf16" if name in ("bfloat16", "float16") else name


@dataclass(frozen=True)
class TimedModel:
    """What of a model sets the time of a step.

    Attributes:
        size: the transformer's width and blocks (:func:`size_name`).
        weights: as they lie in memory (:func:`weights_name`); empty: not known.
        how: where they lie and how they are computed with, in words; None: not known.
    """

    size: str = size_name(WIDTH, BLOCKS)
    weights: str = ""
    how: str | None = None


@dataclass(frozen=True)
class Run:
    """One finished job.

    Attributes:
        device: the card's name.
        model, weights, how: as of :class:`TimedModel`.
        steps: of a segment.
        mode: ``"animate"`` or ``"replace"``.
        width, height, segment_length: as sampled.
        tokens: of a segment.
        step_seconds: one pass of one step, the median.
        other_seconds: of a segment beside its steps.
        start_seconds: to the first step beyond what a later one takes.
        lossless, video: bytes a pixel on disk, 0 where not known.
        date: ISO, of the day.
    """

    device: str
    model: str
    weights: str
    how: str
    steps: int
    mode: str
    width: int
    height: int
    segment_length: int
    tokens: int
    step_seconds: float
    other_seconds: float
    start_seconds: float
    lossless: float
    video: float
    date: str


class Runs:
    """The runs of a file, the latest last; one for each device, model, mode, size, segment length and number of steps,
    at most :data:`KEPT`.

    A file that cannot be read, or holds something else, counts as empty; one that cannot be written stays as it is.

    Args:
        path: of the JSON file; it need not exist.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def read(self) -> list[Run]:
        try:
            if self.path.stat().st_size > FILE_BYTES:
                return []
            entries = parse_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        found = [_as_run(entry) for entry in entries] if isinstance(entries, list) else []
        return [run for run in found if run is not None][-KEPT:]

    def add(self, run: Run) -> None:
        """Put a run in place of the last of its kind."""
        kept = [other for other in self.read() if _kind(other) != _kind(run)]
        try:
            make_folder(self.path.parent, "the times of this run")
            with replacing(self.path, "the times of this run") as temporary:
                text = json.dumps([asdict(each) for each in [*kept, run][-KEPT:]], indent=1)
                Path(temporary).write_text(text, encoding="utf-8")
        except InputError as error:  # a clip that is whole must not fail for it
            log.warning("the next plan will not know what this run took: %s", error)

    def nearest(
        self,
        device: str,
        mode: str,
        size: tuple[int, int],
        count: int,
        model: TimedModel = TimedModel(),  # noqa: B008  frozen
        steps: int = 0,
    ) -> Run | None:
        """The run that tells most of a job: of this device and a model of this size, else None.

        Of several the one with these weights, then computed so, at this size, of the nearest number of tokens, of this
        mode and number of steps; the latest.
        """
        runs = [run for run in self.read() if run.device == device and run.model == model.size]
        if not runs:
            return None

        def distance(at: int) -> tuple[bool, bool, bool, float, bool, bool, int]:
            run = runs[at]
            weights, how = model.weights or run.weights, run.how if model.how is None else model.how
            same = (run.width, run.height, run.tokens) == (*size, count)
            tokens = abs(math.log(run.tokens / count))
            return (
                run.weights != weights, run.how != how, not same, tokens, run.mode != mode, run.steps != steps, -at
            )  # fmt: skip

        return runs[min(range(len(runs)), key=distance)]


def begin_clock(runs: Runs, device: str, job: AnimateJob, model: TimedModel, passes: int = 1) -> RunClock:
    """A clock that knows what such a job took the last time; ``passes`` a step."""
    size, count = job.controls.size, job_tokens(job)
    run = runs.nearest(device, job.mode, size, count, model)
    if run is None or (run.tokens, run.weights, run.how) != (count, model.weights, model.how):
        return RunClock()
    return RunClock(run.step_seconds * passes, run.other_seconds)


def run_of(
    clock: RunClock, device: str, job: AnimateJob, folder: Path, model: TimedModel, steps: int, passes: int = 1
) -> Run | None:
    """What a finished job took; None if no segment was made.

    Args:
        folder: of the job's segments and its mp4.
    """
    step, other = clock.step_seconds, clock.other_seconds
    if not clock.measured or step is None or other is None:
        return None
    width, height = job.controls.size
    pixels = width * height * len(job.controls)
    with suppress(OSError):
        lossless = sum(path.stat().st_size for path in folder.glob("segment_*.mkv"))
        video = max((path.stat().st_size for path in folder.glob(CLIPS)), default=0)
        return Run(
            device=device,
            model=model.size,
            weights=model.weights,
            how=model.how or "",
            steps=steps,
            mode=job.mode,
            width=width,
            height=height,
            segment_length=job.segment_length,
            tokens=job_tokens(job),
            step_seconds=step / passes,
            other_seconds=other,
            start_seconds=clock.start_seconds,
            lossless=lossless / pixels,
            video=video / pixels,
            date=date.today().isoformat(),
        )
    return None


def job_tokens(job: AnimateJob) -> int:
    return tokens(job.controls.size, job.plan().segments[0].latent_frames, job.reference_latents)


def _kind(run: Run) -> Sequence[Any]:
    model = run.model, run.weights, run.how
    return run.device, *model, run.steps, run.mode, run.width, run.height, run.segment_length


def _as_run(entry: object) -> Run | None:
    if not isinstance(entry, dict):
        return None
    values: dict[str, Any] = {}
    with suppress(TypeError, ValueError, OverflowError):
        for field in fields(Run):
            kind = {"str": str, "int": int, "float": float}[str(field.type)]
            values[field.name] = kind(entry.get(field.name, ""))
    if len(values) < len(fields(Run)):
        return None
    run = Run(**values)
    numbers = (run.step_seconds, run.other_seconds, run.start_seconds, run.lossless, run.video)
    sound = all(math.isfinite(number) and number >= 0 for number in numbers)
    sound = sound and min(run.width, run.height, run.segment_length, run.tokens) > 0
    return run if sound and run.step_seconds > 0 else None
