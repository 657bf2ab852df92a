"""What is shown of models: sentences and tables, for Markdown, a terminal or a canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Link:
    """A cell's text and where it leads."""

    text: str
    url: str


Cell = str | Link


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class View:
    """A title, sentences, tables, and sentences below them."""

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    after: tuple[str, ...] = ()
    good: bool = field(default=True, compare=False)

    def markdown(self) -> str:
        blocks = [f"**{self.title}**", *_bullets(self.notes)]
        for table in self.tables:
            lines = [_row(table.head), _row(["---"] * len(table.head)), *map(_row, table.rows)]
            blocks.append("\n".join(lines))
        return "\n\n".join([*blocks, *self.after])

    def data(self) -> dict[str, Any]:
        """For a canvas: lists, strings and ``{"text", "url"}``."""
        return {
            "title": self.title,
            "good": self.good,
            "notes": list(self.notes),
            "tables": [
                {"head": list(table.head), "rows": [[_plain(cell) for cell in row] for row in table.rows]}
                for table in self.tables
            ],
            "after": list(self.after),
        }


def _bullets(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _row(cells: Sequence[Cell]) -> str:
    shown = [f"[{cell.text}]({cell.url})" if isinstance(cell, Link) else cell for cell in cells]
    return f"| {' | '.join(shown)} |"


def _plain(cell: Cell) -> str | dict[str, str]:
    return {"text": cell.text, "url": cell.url} if isinstance(cell, Link) else cell
