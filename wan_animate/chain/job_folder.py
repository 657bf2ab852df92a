"""What lies in a job's folder.

``segment_0000.mkv`` has the frames that a segment shows (lossless), ``tail_0000.safetensors``, where another segment
starts from it, that one's previous frames, before rounding, and what else it needs to know; ``segment_0000.json`` what
was measured in the segment; ``former_0000.mkv`` the frames it had before it was made again. ``boundaries.json`` has
what :mod:`.seams` measured, ``segments.json`` the keys by which other jobs find segments (:mod:`.reuse`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..weights.header import read_header
from .boundaries import Boundary
from .segments import Segment


class JobFolder:
    """A job's folder, read only."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def frames_path(self, index: int) -> Path:
        return self.folder / f"segment_{index:04d}.mkv"

    def tail_path(self, index: int) -> Path:
        return self.folder / f"tail_{index:04d}.safetensors"

    def record_path(self, index: int) -> Path:
        return self.folder / f"segment_{index:04d}.json"

    def former_path(self, index: int) -> Path:
        """The frames of a segment that is made again with another seed, as they were."""
        return self.folder / f"former_{index:04d}.mkv"

    def is_whole(self, segment: Segment) -> bool:
        """Whether a segment is finished, its tail included."""
        return self.frames_path(segment.index).exists() and (not segment.hands_over or self.has_tail(segment.index))

    def finished(self, plan: Iterable[Segment] | None = None) -> int:
        """How many segments from the first on are whole.

        Args:
            plan: the job's; None: not known, all have a tail.
        """
        segments = plan if plan is not None else (Segment(index, 0, 0, 0, 0, hands_over=True) for index in count())
        return sum(1 for _ in takewhile(self.is_whole, segments))

    def has_tail(self, index: int) -> bool:
        """Whether the previous frames for the segment after ``index`` are there."""
        try:
            return self.tail_path(index).exists() and "frames" in read_header(str(self.tail_path(index))).tensors
        except InputError:
            return False

    def boundaries(self) -> list[Boundary] | None:
        """What was measured where segments meet; None before the end."""
        try:
            return [Boundary(**values) for values in self._read_json("boundaries.json")]
        except (OSError, ValueError, TypeError):
            return None

    def keys(self) -> dict[str, dict[int, str]]:
        """``{"made": ..., "former": ...}``: keys of segments (:meth:`.generate.AnimateJob.segment_keys`) by number."""
        try:
            read = self._read_json("segments.json")
            return {name: {int(at): str(key) for at, key in read[name].items()} for name in ("made", "former")}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {"made": {}, "former": {}}

    def _read_json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())
