"""What lies in a job's folder.

``segment_0000.mkv`` has the frames that a segment shows (lossless), ``tail_0000.safetensors``, where another segment
starts from it, that one's previous frames, before rounding, and what else it needs to know; ``segment_0000.json`` the
sizes and hashes of these files, which segment of which clip they are, and what was measured in it; ``former_0000.mkv``
and ``.json`` the frames it had before it was made again. ``boundaries.json`` has what :mod:`.seams` measured,
``segments.json`` the keys by which other jobs find segments (:mod:`.reuse`); :func:`clip_name` is the finished clip.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from ..json_text import parse_json
from ..video.audio import audio_digest
from .boundaries import Boundary
from .segments import Segment

FRAMES, TAIL = "frames", "tail"
"""Files in a segment's record."""
FILES, SEGMENT = "files", "segment"
"""In a segment's record, beside what was measured."""
MADE, FORMER = "made", "former"
"""In the keys."""
KEYS = "segments.json"
VERSION = 2
"""Of the keys: since 2 they see every byte of small files, and all small tensors of large ones."""
CLIPS = "clip*.mp4"


def clip_name(audio: dict | None) -> str:
    """Of the mp4: another for each sound. Raises InputError for what is no sound."""
    return "clip.mp4" if audio is None else f"clip-{audio_digest(audio)}.mp4"


class JobFolder:
    """A job's folder, read only."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._keys: dict[str, dict[int, str]] | None = None

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
            {key: value for key, value in self._segment_record(index).items() if key not in (FILES, SEGMENT)}
            for index in range(count)
        ]

    def has_frames(self, index: int) -> bool:
        """Whether a segment's frames are there, of the size that they had."""
        return _has_size(self.frames_path(index), self._segment_record(index), FRAMES)

    def frames_hash(self, index: int) -> str | None:
        """Of the file of a segment's frames; None where it is not known."""
        known = _files(self._segment_record(index)).get(FRAMES)
        found = known.get("blake2b") if isinstance(known, dict) else None
        return found if isinstance(found, str) else None

    def has_former(self, index: int) -> bool:
        """The same of :meth:`former_path`."""
        return _has_size(self.former_path(index), self._former_record(index), FRAMES)

    def is_whole(self, segment: Segment) -> bool:
        """Whether a segment is finished, its tail included: all files there, of the size that they had, and its own."""
        record = self._segment_record(segment.index)
        whole = _has_size(self.frames_path(segment.index), record, FRAMES) and self._belongs(segment, record, MADE)
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
        own = self._belongs(segment, record, FORMER)
        return own and _has_hash(path, record, FRAMES, check) and self._tail_fits(segment, check)

    def owns_tail(self, index: int) -> bool:
        """Whether a segment's tail is its own, not that of its former frames."""
        return TAIL in _files(self._segment_record(index)) or TAIL not in _files(self._former_record(index))

    def finished(self, plan: Iterable[Segment] | None = None) -> int:
        """How many segments from the first on are whole.

        Args:
            plan: the job's; None: not known, all have a tail.
        """
        if plan is not None:
            return sum(1 for _ in takewhile(self.is_whole, plan))
        return sum(1 for _ in takewhile(lambda index: self.has_frames(index) and self.has_tail(index), count()))

    def has_tail(self, index: int) -> bool:
        """Whether the previous frames for the segment after ``index`` are there."""
        return _has_size(self.tail_path(index), self._tail_record(index), TAIL)

    def _tail_record(self, index: int) -> dict[str, Any]:
        """A segment that is made again within a clip leaves the tail that the next one started from."""
        return self._segment_record(index) if self.owns_tail(index) else self._former_record(index)

    def _tail_fits(self, segment: Segment, check: Callable[[], None]) -> bool:
        path, record = self.tail_path(segment.index), self._tail_record(segment.index)
        return not segment.hands_over or _has_hash(path, record, TAIL, check)

    def segment_mark(self, index: int, frames: int) -> dict[str, Any]:
        """Which segment of which clip a record is of."""
        return {"number": index, "frames": frames, "key": self.keys()[MADE].get(index)}

    def _belongs(self, segment: Segment, record: dict[str, Any], name: str) -> bool:
        """Whether a record is of this segment, and not of another that was copied here."""
        mark = record.get(SEGMENT)
        if not isinstance(mark, dict):
            return True  # of an older version
        keys = mark.get("key"), self.keys()[name].get(segment.index)
        same = mark.get("number") == segment.index and mark.get("frames") == segment.keep
        return same and (None in keys or keys[0] == keys[1])

    def _segment_record(self, index: int) -> dict[str, Any]:
        return self._record(self.record_path(index).name)

    def _former_record(self, index: int) -> dict[str, Any]:
        return self._record(self.former_record_path(index).name)

    def _record(self, name: str) -> dict[str, Any]:
        try:
            record = self._read_json(name)
            # edited or damaged: as if there were none
            return record if isinstance(record, dict) and record.pop("blake2b", None) == _digest(record) else {}
        except (OSError, ValueError, RecursionError):
            return {}

    def boundaries(self) -> list[Boundary] | None:
        """What was measured where segments meet; None before the end."""
        try:
            kinds = {"segment": int, "frame": int, "difference": float, "usual": float, "driver": float}
            return [
                Boundary(**{name: kinds[name](value) for name, value in values.items()})
                for values in self._read_json("boundaries.json")
            ]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None

    def keys(self) -> dict[str, dict[int, str]]:
        """``{"made": ..., "former": ...}``: keys of segments (:meth:`.generate.AnimateJob.segment_keys`) by number."""
        if self._keys is None:
            try:
                read = self._read_json(KEYS)
                self._keys = {name: {int(at): str(key) for at, key in read[name].items()} for name in (MADE, FORMER)}
            except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
                self._keys = {MADE: {}, FORMER: {}}
        return self._keys

    @property
    def version(self) -> int:
        """Of the keys; see :data:`VERSION`."""
        try:
            return int(self._read_json(KEYS)["version"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return 1

    def _read_json(self, name: str) -> Any:
        return parse_json((self.folder / name).read_text(encoding="utf-8"))


def file_record(path: str | os.PathLike, check: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Size and BLAKE2b of a file, for a segment's record."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    with open(path, "rb") as file:
        while data := file.read(4 << 20):
            check()
            digest.update(data)
            size += len(data)
    return {"bytes": size, "blake2b": digest.hexdigest()}


def record_text(record: dict[str, Any]) -> str:
    """A segment's record as it is written: JSON with a hash of itself."""
    return json.dumps({**record, "blake2b": _digest(record)}) + "\n"


def _digest(record: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def _files(record: dict[str, Any]) -> dict[str, Any]:
    files = record.get(FILES)
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
