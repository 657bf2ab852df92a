"""What the shell prints while it works."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..chain.clock import RunClock
    from ..chain.generate import Progress


def counting(what: str) -> Callable[[int, int], None]:
    return lambda done, total: line(f"{what} {done}/{total}", done == total)


def print_colors(records: list[dict[str, Any]]) -> None:
    from ..preview.color_report import ColorReport

    report = ColorReport.of(records)
    if report is not None:
        line_end(f"wan-animate: {report.text()}")


def printing(clock: RunClock) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        clock(progress)
        line(clock.text(), progress.stage == "save")

    return report


def line(text: str, last: bool) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    elif last:
        print(text, file=sys.stderr, flush=True)


def line_end(text: str) -> None:
    """A last line, below an unfinished one of :func:`line`."""
    print(("\r\033[K" if sys.stderr.isatty() else "") + text, file=sys.stderr, flush=True)
