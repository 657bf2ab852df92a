"""What the pack's own source says: the sentences of its warnings, findings and notes, with {} for each value."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import ModuleType

from demo.importing import ROOT

ENGINE, NODES = ROOT / "wan_animate", ROOT / "nodes"
SHELL = {"__main__.py", "cli", "backends", "batch", "queue", "plan/look.py"}
"""Of the engine what no node runs."""
LEVELS = {"warning", "error", "exception", "critical"}
DRAWS = {"Shown", "below", "preview", "with_notes"}
"""Of nodes/below.py: what they are given is shown below a node."""


@dataclass(frozen=True)
class Said:
    """``shapes``: the sentences in each of their forms, empty where the source does not tell; ``parts``: texts among
    their values."""

    place: str
    source: str
    shapes: tuple[str, ...]
    parts: tuple[str, ...] = ()


def scripts() -> list[Path]:
    """What runs in ComfyUI."""
    return [*engine(), *sorted(NODES.rglob("*.py"))]


def engine(room: str = "") -> list[Path]:
    inside = [(path, path.relative_to(ENGINE)) for path in (ENGINE / room).rglob("*.py")]
    return sorted(path for path, name in inside if not SHELL & {name.parts[0], name.as_posix()})


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Source:
    """One script, with what its names mean."""

    def __init__(self, path: Path) -> None:
        self.path, self.tree = path, ast.parse(path.read_text(encoding="utf-8"))
        self.functions = [one for one in ast.walk(self.tree) if isinstance(one, ast.FunctionDef)]
        self.loggers = {
            target.id
            for one in ast.walk(self.tree)
            if isinstance(one, ast.Assign) and _calls(one.value, "get_logger")
            for target in one.targets
            if isinstance(target, ast.Name)
        }

    @property
    def module(self) -> ModuleType | None:
        """None of a node's, which needs ComfyUI."""
        if not self.path.is_relative_to(ENGINE):
            return None
        return importlib.import_module(place(self.path).removesuffix(".py").replace("/", "."))

    def around(self, node: ast.AST) -> ast.AST:
        """The innermost function, or the script."""
        inside = [one for one in self.functions if one.lineno <= node.lineno <= (one.end_lineno or 0)]
        return max(inside, key=lambda one: one.lineno, default=self.tree)

    def shapes(self, value: ast.AST) -> list[str]:
        """Of an expression: its texts, none where the source does not tell."""
        if isinstance(value, ast.Constant):
            return [value.value] if isinstance(value.value, str) else []
        if isinstance(value, ast.JoinedStr):
            return ["".join(parts) for parts in product(*map(self._part, value.values))]
        if isinstance(value, ast.IfExp):
            both = self.shapes(value.body), self.shapes(value.orelse)
            return [*both[0], *both[1]] if all(both) else []
        if isinstance(value, ast.Name):
            given = [
                one.value
                for one in ast.walk(self.around(value))
                if isinstance(one, ast.Assign) and any(getattr(to, "id", "") == value.id for to in one.targets)
            ]
            if given:
                texts = [self.shapes(one) for one in given]
                return [text for one in texts for text in one] if all(texts) else []
            found = getattr(self.module, value.id, None)
            return [found] if isinstance(found, str) else []
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            made = getattr(self.module, value.func.id, None)
            words = inspect.signature(made).parameters.values() if inspect.isfunction(made) else ()
            if words and all(one.annotation in (str, "str") for one in words):
                return [made(*["{}" for _ in value.args])]
        return []

    def _part(self, value: ast.AST) -> list[str]:
        """Of an f-string; a name stands for its texts where all of them are known."""
        if isinstance(value, ast.FormattedValue):
            return (self.shapes(value.value) if isinstance(value.value, ast.Name) else []) or ["{}"]
        return self.shapes(value)

    def texts(self, value: ast.AST) -> list[str]:
        """All texts within an expression, and within what its names are given."""
        found = [
            text
            for one in ast.walk(value)
            if isinstance(one, ast.Constant | ast.JoinedStr)
            for text in self.shapes(one)
        ]
        names = [one for one in ast.walk(value) if isinstance(one, ast.Name)]
        return found + [text for one in names for text in self.shapes(one)]


def _calls(value: ast.AST, name: str) -> bool:
    return isinstance(value, ast.Call) and getattr(value.func, "id", getattr(value.func, "attr", "")) == name


def _printed(text: str) -> str:
    """A message of logging: its %s and %d are values."""
    return re.sub(r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z]", "{}", text).replace("%%", "%")


def warnings() -> Iterator[Said]:
    """Whatever is logged so that a node hears it."""
    for source in map(Source, scripts()):
        called = {
            id(one): call for call in ast.walk(source.tree) if isinstance(call, ast.Call) for one in ast.walk(call.func)
        }
        for one in ast.walk(source.tree):
            if not isinstance(one, ast.Attribute) or one.attr not in LEVELS:
                continue
            if not (_calls(one.value, "get_logger") or getattr(one.value, "id", None) in source.loggers):
                continue
            call = called.get(id(one))
            if call is None:
                yield Said(place(source.path), ast.unparse(one), ())
                continue
            head, *values = call.args
            for given in call.keywords:  # extra=about(the sentence as it is shown)
                if given.arg == "extra" and _calls(given.value, "about") and given.value.args:
                    head, values = given.value.args[0], []
            shapes = [_printed(text) for text in source.shapes(head)]
            parts = [text for value in values for text in source.texts(value)]
            if shapes == ["{}"]:
                shapes = source.shapes(values[0])
            told = ast.unparse(values[-1] if values and not shapes else head)
            yield Said(place(source.path), told, tuple(shapes), tuple(parts))


def findings() -> Iterator[Said]:
    """Of Plan Clip."""
    for path in engine("plan"):
        source = Source(path)
        for call in ast.walk(source.tree):
            if not _calls(call, "Finding"):
                continue
            what, remedy = (source.shapes(one) for one in call.args[1:3])
            yield Said(place(path), ast.unparse(call), tuple(f"{a}: {b}." for a, b in product(what, remedy)))


def notes() -> Iterator[Said]:
    """What functions named so give, and what is put on a list named so."""
    for source in map(Source, scripts()):
        for one in source.functions:
            if not one.name.endswith(("_note", "_notes")) or one.name == "with_notes":
                continue
            for inner in ast.walk(one):
                value = None
                if isinstance(inner, ast.Return):
                    value = inner.value
                elif isinstance(inner, ast.Call) and ast.unparse(inner.func) == "notes.append":
                    value = inner.args[0]
                if value is not None and not (isinstance(value, ast.Constant) and not value.value):
                    yield Said(place(source.path), ast.unparse(value), tuple(filter(None, source.shapes(value))))


def drawn() -> set[tuple[str, str]]:
    """Where a node gives lines or warnings to what is shown below it: its script, and the expression."""
    found = set()
    for source in map(Source, sorted(NODES.rglob("*.py"))):
        if source.path.name == "below.py":
            continue
        for call in ast.walk(source.tree):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in DRAWS:
                continue
            at = 1 if call.func.id == "with_notes" else 2  # type: ignore[union-attr]
            given = [*call.args[at:], *(one.value for one in call.keywords if one.arg in ("lines", "warnings"))]
            found |= {(place(source.path), ast.unparse(one)) for one in given if ast.unparse(one) != "[]"}
    return found
