"""What a worker does with a unit. Runs in any process that has the models folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import TextIOBase
from pathlib import Path
from typing import Any

from ..chain.generate import Progress
from ..cli.make import chains, run
from ..cli.options import RunOptions
from ..cli.shared import Shared, Weights
from ..errors import InputError
from ..files import sync, sync_folder
from .place import opened
from .units import CLIP, PLAN, SHOTS, Unit

OURS = "wan-animate: "
Report = Callable[[str, float], None]
"""What is done now, and how much of the unit is done, 0 to 1; raises ``Cancelled`` to stop."""


def do(unit: Unit, weights: Weights, report: Report, note: Callable[[str], None], device: str = "") -> None:
    """Make a unit's files in its place: a clip's mp4, its shots' segments, or :data:`.units.PLAN`.

    Args:
        note: gets the lines that the shell would print.
        device: where the options name none.

    Raises:
        InputError: it cannot be made.
        Cancelled: ``report`` raised it.
    """
    with opened(unit.place, unit.options) as place, _lines_to(note):
        options = RunOptions(**{**unit.options, **place.files, "out": str(place.folder / f"{unit.job}.mp4")})
        options.device = options.device or device
        shared = Shared(
            weights=weights,
            folder=place.folder,
            track=place.folder / "track.npz",
            masks=place.folder / "masks.npz",
            waiting=lambda: report("waits for another process that makes it", 0.0),
            progress=_telling(report, place.push),
        )
        if unit.kind == SHOTS:
            report("looking for its shots", 0.0)
            _write(place.folder / PLAN, json.dumps(chains(options, shared)))
        elif unit.kind == CLIP:
            if not Path(options.out).exists():  # else it was made, and who asked for it was gone
                run(options, shared=shared)
        else:
            first, last = unit.segments
            run(replace(options, first_segment=first + 1, last_segment=last + 1), shared=shared, segments_only=True)
        place.push()


def said(error: BaseException) -> str:
    """The sentence for what ended a unit."""
    if isinstance(error, InputError):
        return str(error)
    text = " ".join(str(error).split())[:300]
    if "out of memory" in text.lower():
        return f"the card has too little memory for it ({text}): make it smaller (area, segment) or take a larger card."
    return f"{type(error).__name__}: {text or 'without a word'}: this is a bug of WanAnimateKit, please report it."


def _telling(report: Report, saved: Callable[[], None]) -> Callable[[Progress], None]:
    def progress(at: Progress) -> None:
        report(f"segment {at.segment + 1} of {at.segments}", at.done / max(at.total, 1))
        if at.stage == "encode":  # the segments before are on disk, or are written meanwhile
            saved()

    return progress


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(text)
    sync(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


class _Lines(TextIOBase):
    def __init__(self, note: Callable[[str], None]):
        self._note, self._begun = note, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.startswith(OURS):  # the rest are other packages' bars
                self._note(line.removeprefix(OURS).strip())
        return len(text)


@contextmanager
def _lines_to(note: Callable[[str], None]) -> Iterator[None]:
    """What is printed for a person; the progress bars draw nothing in what is no terminal."""
    errors: Any = _Lines(note)
    with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(errors):
        yield
