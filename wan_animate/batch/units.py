"""What is given to a worker at a time: a clip, or the shots of one and then the clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ..json_text import parse_json
from .clips import Clip

CLIP, SHOTS, SHOT = "clip", "shots", "shot"
"""Kinds: make a clip, whatever of it is finished; find its shots; make the segments of one."""
PLAN = "shots.json"


@dataclass(frozen=True)
class Unit:
    """Runs once on one worker. Plain values only: it travels to other processes and machines.

    Attributes:
        key, name, job, last, priority: as :class:`..queue.dispatch.Task` has them; ``job`` is the clip's name.
        kind: :data:`CLIP`, :data:`SHOTS` or :data:`SHOT`.
        options: of ``run``.
        place: the folder of the clip's unfinished work, a path or an fsspec URL; all its units share it.
        segments: of a shot, the first and the last.
    """

    key: str
    name: str
    job: str
    kind: str
    options: dict[str, Any]
    place: str
    priority: int = 0
    segments: tuple[int, int] = (0, 0)

    @property
    def last(self) -> bool:
        return self.kind == CLIP


class Flow:
    """Which units a batch has, and which come after one.

    Args:
        place: of a clip's unfinished work, by its key.
        tidy: gets each clip's key when its mp4 is whole.
        files: where a clip's files are, by its key, for options that name another place.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        place: Callable[[str], str],
        tidy: Callable[[str], None],
        files: Mapping[str, Mapping[str, str]],
    ):
        self._clips = {clip.key: clip for clip in clips}
        self._place, self._tidy, self._files = place, tidy, files
        self._left: dict[str, set[str]] = {}  # clip -> its shots that are not done
        self._of: dict[str, str] = {}  # unit -> clip
        self._lock = Lock()

    def begin(self, done: Callable[[str], bool]) -> list[Unit]:
        """The first units.

        Args:
            done: whether the clip of this key is whole: then its shots are not looked for.
        """
        return [
            self._unit(clip, SHOTS if clip.options.at_cuts == "anew" and not done(clip.key) else CLIP)
            for clip in self._clips.values()
        ]

    def then(self, unit: Unit, files: list[Path]) -> list[Unit]:
        """As ``then`` of :class:`..queue.dispatch.Dispatcher`."""
        with self._lock:
            key = self._of[unit.key]
            clip = self._clips[key]
            if unit.kind == SHOTS:
                chains = [(first, last) for first, last in parse_json(files[0].read_text())]
                if len(chains) < 2:
                    return [self._unit(clip, CLIP)]
                shots = [self._unit(clip, SHOT, at, chain, len(chains)) for at, chain in enumerate(chains, 1)]
                self._left[key] = {shot.key for shot in shots}
                return shots
            if unit.kind == SHOT:
                self._left[key].discard(unit.key)
                return [] if self._left[key] else [self._unit(clip, CLIP)]
        self._tidy(key)
        return []

    def _unit(self, clip: Clip, kind: str, number: int = 0, segments: tuple[int, int] = (0, 0), count: int = 0) -> Unit:
        key = {CLIP: clip.key, SHOTS: f"{clip.key}.shots", SHOT: f"{clip.key}.{segments[0]}-{segments[1]}"}[kind]
        more = {CLIP: "", SHOTS: ": its shots", SHOT: f": shot {number} of {count}"}[kind]
        self._of[key] = clip.key
        options = {**asdict(clip.options), **self._files.get(clip.key, {})}
        return Unit(key, clip.name + more, clip.name, kind, options, self._place(clip.key), clip.priority, segments)
