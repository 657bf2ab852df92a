"""What is shown of jobs: a bar for each that runs in a terminal, a line for each event elsewhere."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ..text import duration
from .dispatch import News, Summary

WIDE = 1000  # of what is no terminal: no line is broken


class Display:
    """Shows news on stderr, inside ``with``.

    Args:
        called: what a worker is.
    """

    def __init__(self, jobs: int, several: bool, called: str = "server"):
        self._jobs, self._several, self._called, self._over = jobs, several, called, 0
        self._console = Console(stderr=True, highlight=False, markup=False)
        if not self._console.is_terminal:
            self._console = Console(stderr=True, highlight=False, markup=False, width=WIDE)
        words = TextColumn("{task.description}", markup=False)
        self._bars = Progress(BarColumn(20), TaskProgressColumn(), TimeElapsedColumn(), words, console=self._console,
                              transient=True, disable=not self._console.is_terminal)  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def warn(self, text: str) -> None:
        self._console.print(f"wan-animate: {text}", soft_wrap=True)

    def __call__(self, news: News) -> None:
        at = f" on {news.worker}" if self._several and news.worker else ""
        if news.kind == "working":
            self._working(news, at)
            return
        if news.kind == "started":
            self._tasks[news.job] = self._bars.add_task(f"{news.job}{at}: waits", total=1.0)
            return
        if news.job in self._tasks:
            self._bars.remove_task(self._tasks.pop(news.job))
            self._shown.pop(news.job, None)
        self._over += news.last and news.kind != "lost"
        text = {
            "done": f"{news.job}: {news.text or 'done'}{at}",
            "kept": f"{news.job}: was done before",
            "lost": f"{news.job}: {news.text} It is given to a {self._called} again.",
            "failed": f"{news.job}: failed: {news.text}",
        }[news.kind]
        self._console.print(f"{self._over}/{self._jobs} {text}", soft_wrap=True)

    def _working(self, news: News, at: str) -> None:
        if self._console.is_terminal:
            self._bars.update(self._tasks[news.job], completed=news.part, description=f"{news.job}{at}: {news.text}")
        elif self._shown.get(news.job) != news.text:  # the percents of one node are one line
            self._console.print(f"{news.job}{at}: {news.text} ({news.part:.0%})", soft_wrap=True)
            self._shown[news.job] = news.text


def summary_text(summary: Summary, out: str) -> str:
    """The last lines."""
    made, kept = len(summary.done), len(summary.kept)
    lines = [
        f"{made + kept} of {made + kept + len(summary.failed) + len(summary.left)} jobs are in {out}"
        + (f" ({kept} from before)" if kept else "")
        + f"; {duration(summary.seconds)}, {summary.retries} retries, {len(summary.failed)} failures"
    ]
    lines += [f"  {name}: {why}" for name, why in summary.failed.items()]
    if summary.left:
        why = next(iter(summary.left.values()))
        lines.append(f"  {len(summary.left)} are left ({why}): run the same command again to go on.")
    return "\n".join(lines)
