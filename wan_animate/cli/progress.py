"""What the shell prints while it works: a bar in a terminal, the last line of each stage elsewhere."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..chain.clock import RunClock
    from ..chain.generate import Progress


class Bar:
    """One line on stderr, by rich. The one before it ends where it begins.

    Args:
        stages: there are several, one after the other; :func:`close` ends it.
    """

    _open: Bar | None = None

    def __init__(self, stages: bool = False) -> None:
        self._stages = stages
        self._bar: Any = None
        self._task: Any = None

    def show(self, text: str, done: int, total: int, last: bool) -> None:
        """
        Args:
            last: the stage is over.
        """
        if not sys.stderr.isatty():
            if last:
                print(text, file=sys.stderr, flush=True)
            return
        if self._bar is None:
            self._begin(text, total)
        self._bar.update(self._task, description=text, completed=done, total=total)
        if last and not self._stages:
            self.end()

    def _begin(self, text: str, total: int) -> None:
        from ..interrupt import whole_imports

        with whole_imports():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        close()
        words = TextColumn("{task.description}", markup=False)
        console = Console(stderr=True, highlight=False)
        self._bar = Progress(BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), words, console=console)
        self._task = self._bar.add_task(text, total=total)
        self._bar.start()
        Bar._open = self

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if Bar._open is self:
            Bar._open = None


def close() -> None:
    """Ends an unfinished bar; what is printed next is below it."""
    if Bar._open is not None:
        Bar._open.end()


def counting(what: str) -> Callable[[int, int], None]:
    """The progress callback of a stage."""
    bar = Bar()
    return lambda done, total: bar.show(f"{what} {done}/{total}", done, total, done == total)


def print_colors(records: list[dict[str, Any]]) -> None:
    from ..preview.color_report import ColorReport

    report = ColorReport.of(records)
    if report is not None:
        line_end(f"wan-animate: {report.text()}")


def printing(clock: RunClock) -> Callable[[Progress], None]:
    """The progress callback of a job."""
    bar = Bar(stages=True)

    def report(progress: Progress) -> None:
        clock(progress)
        bar.show(clock.text(), progress.done, progress.total, progress.stage == "save")

    return report


def line_end(text: str) -> None:
    """A line below an unfinished bar."""
    close()
    print(text, file=sys.stderr, flush=True)
