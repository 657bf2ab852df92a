"""What lies in a job's folder.

``segment_0000.mkv`` has the frames that a segment shows (lossless), ``tail_0000.safetensors``, where another segment
starts from it, that one's previous frames, before rounding, and what else it needs to know; ``segment_0000.json`` the
sizes and hashes of these files, and what was measured in the segment; ``former_0000.mkv`` and ``.json`` the frames it
had before it was made again. ``boundaries.json`` has what :mod:`.seams` measured, ``segments.json`` the keys by which
other jobs find segments (:mod:`.reuse`); :func:`clip_name` is the finished clip.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from ..video.audio import audio_digest
from .boundaries import Boundary
from .segments import Segment

FRAMES, TAIL = "frames", "tail"
"""Files in a segment's record."""
CLIPS = "clip*.mp4"


def clip_name(audio: dict | None) -> str:
    """Of the mp4: another for each sound. Raises InputError for what is no sound."""
    return "clip.mp4" if audio is None else f"clip-{audio_digest(audio)}.mp4"


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

    def former_record_path(self, index: int) -> Path:
        return self.folder / f"former_{index:04d}.json"

    def records(self, count: int) -> list[dict[str, Any]]:
        """What was measured in the first ``count`` segments; empty where nothing was, or it cannot be read."""
        return [
            {key: value for key, value in self._segment_record(index).items() if key != "files"}
            for index in range(count)
        ]

    def is_whole(self, segment: Segment) -> bool:
        """Whether a segment is finished, its tail included: all files there, and of the size that they had."""
        whole = _has_size(self.frames_path(segment.index), self._segment_record(segment.index), FRAMES)
        return whole and (not segment.hands_over or self.has_tail(segment.index))

    def is_intact(self, segment: Segment, check: Callable[[], None] = lambda: None) -> bool:
        """Whether :meth:`is_whole`, and every byte is what was written.

        Args:
            check: called every few megabytes; may raise to stop.
        """
        frames, record = self.frames_path(segment.index), self._segment_record(segment.index)
        return self.is_whole(segment) and _has_hash(frames, record, FRAMES, check) and self._tail_fits(segment, check)

    def is_former_intact(self, segment: Segment, check: Callable[[], None] = lambda: None) -> bool:
        """As :meth:`is_intact`, of the frames that a segment had before it was made again."""
        path, record = self.former_path(segment.index), self._former_record(segment.index)
        return _has_hash(path, record, FRAMES, check) and self._tail_fits(segment, check)

    def owns_tail(self, index: int) -> bool:
        """Whether a segment's tail is its own, not that of its former frames."""
        return TAIL in _files(self._segment_record(index)) or TAIL not in _files(self._former_record(index))

    def finished(self, plan: Iterable[Segment] | None = None) -> int:
        """How many segments from the first on are whole.

        Args:
            plan: the job's; None: not known, all have a tail.
        """
        segments = plan if plan is not None else (Segment(index, 0, 0, 0, 0, hands_over=True) for index in count())
        return sum(1 for _ in takewhile(self.is_whole, segments))

    def has_tail(self, index: int) -> bool:
        """Whether the previous frames for the segment after ``index`` are there."""
        return _has_size(self.tail_path(index), self._tail_record(index), TAIL)

    def _tail_record(self, index: int) -> dict[str, Any]:
        """A segment that is made again within a clip leaves the tail that the next one started from."""
        return self._segment_record(index) if self.owns_tail(index) else self._former_record(index)

    def _tail_fits(self, segment: Segment, check: Callable[[], None]) -> bool:
        path, record = self.tail_path(segment.index), self._tail_record(segment.index)
        return not segment.hands_over or _has_hash(path, record, TAIL, check)

    def _segment_record(self, index: int) -> dict[str, Any]:
        return self._record(self.record_path(index).name)

    def _former_record(self, index: int) -> dict[str, Any]:
        return self._record(self.former_record_path(index).name)

    def _record(self, name: str) -> dict[str, Any]:
        try:
            record = self._read_json(name)
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

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
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def file_record(path: str | os.PathLike, check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Size and BLAKE2b of a file, for a segment's record."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    with open(path, "rb") as file:
        while data := file.read(4 << 20):
            check()
            digest.update(data)
            size += len(data)
    return {"bytes": size, "blake2b": digest.hexdigest()}


def _files(record: dict[str, Any]) -> dict[str, Any]:
    files = record.get("files")
    return files if isinstance(files, dict) else {}


def _has_size(path: Path, record: dict[str, Any], name: str) -> bool:
    known = _files(record).get(name)
    try:
        return isinstance(known, dict) and path.stat().st_size == known.get("bytes")
    except OSError:
        return False


def _has_hash(path: Path, record: dict[str, Any], name: str, check: Callable[[], None]) -> bool:
    try:
        return file_record(path, check) == _files(record).get(name)
    except OSError:
        return False
