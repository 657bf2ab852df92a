"""Finished segments on disk: a job that was stopped goes on from them.

The files of a segment are renamed into place, its frames last: it is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..files import reading, remove_empty, replacing, sync_folder
from ..log import get_logger
from ..text import size_text
from ..video.frames import FrameSource
from .boundaries import Boundary
from .job_folder import (
    CLIPS,
    FILES,
    FORMER,
    FRAMES,
    KEYS,
    MADE,
    SEGMENT,
    TAIL,
    VERSION,
    JobFolder,
    file_record,
    record_text,
)
from .job_lock import JobLock
from .segments import Segment

log = get_logger(__name__)
T = TypeVar("T")

GO_ON = "free space there and run the same job again, it goes on from the finished segments"
POLL = 0.5  # seconds between two looks whether another process is done
TRIES = 20  # another process may remove an empty folder between two steps of ours


class SegmentStore(JobFolder):
    """The segments of one job.

    As a context manager it is :meth:`locked`, and at the end removes a folder without a finished segment.

    Args:
        folder: of this job alone; name it after :meth:`.generate.AnimateJob.key`.
        waiting: called while another process works on the job, may raise to stop; None: do not wait.

    Attributes:
        waited: whether another process had to be waited for.

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike, waiting: Callable[[], None] | None = None) -> None:
        super().__init__(folder)
        self.waited = False
        self._waiting, self._lock = waiting, JobLock(self.folder)
        self._made: list[Path] = []
        self._largest = 0
        self._make_folder()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes off the job; removes what a killed one left half-written.

        Raises:
            InputError: another process works on it and is not waited for; the folder cannot be written.
        """
        self._acquire()
        try:
            yield
        finally:
            self._lock.release()

    def __enter__(self) -> SegmentStore:
        self._acquire()
        return self

    def __exit__(self, *_: object) -> None:
        empty = not any(self.folder.glob("segment_*.mkv")) and not any(self.folder.glob(CLIPS))
        if empty:
            for leftover in (
                *self.folder.glob("tail_*.safetensors"),
                *self.folder.glob("former_*.mkv"),
                *self.folder.glob("*.json"),
                *self.folder.glob(".*.part*"),
            ):
                with suppress(OSError):
                    leftover.unlink()
        self._lock.release()
        if empty:
            remove_empty([self.folder, *self._made])

    def _make_folder(self) -> None:
        with self._writing():
            self._made += [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
            _again(self._probe)

    def _probe(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder):
            pass
        for folder in self._made:
            sync_folder(folder.parent)

    def _acquire(self) -> None:
        first = not self._lock.held
        while not self._try_lock():
            self._wait()
        if not first:
            return
        try:
            self._keys = None  # whoever was waited for may have written others
            self._make_folder()
            with self._writing():
                for leftover in self.folder.glob(".*.part*"):
                    leftover.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise

    def _try_lock(self) -> bool:
        def lock() -> bool:
            self.folder.mkdir(parents=True, exist_ok=True)
            return self._lock.acquire()

        with self._writing():
            return _again(lock)

    def _wait(self) -> None:
        if self._waiting is None:
            raise InputError(
                f"another process is making this clip already, in {self.folder}: wait until it is done, or stop it and "
                "run again."
            )
        if not self.waited:
            log.warning("another process is making this clip already, in %s: waiting until it is done", self.folder)
        self.waited = True
        self._waiting()
        time.sleep(POLL)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remove_empty(self._made)
            raise InputError(
                f"the folder for finished segments, {self.folder}, cannot be written ({error.strerror or error}): free "
                "space there, correct its permissions, or choose another output folder."
            ) from error

    def save(
        self,
        index: int,
        frames: np.ndarray,
        tail: torch.Tensor | None,
        fps: Fraction,
        state: dict[str, torch.Tensor] | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        """Write a finished segment.

        Args:
            frames: uint8 ``[n, H, W, 3]``.
            tail: float32 ``[previous_frames, H, W, 3]`` in 0..1; None where no segment starts from it.
            state: for :meth:`state`, kept with the tail.
            record: for :meth:`records`, what JSON can hold.

        Raises:
            InputError: it cannot be written; nothing of it stays.
        """
        from .segment_files import write_lossless

        files = {}

        def write_record(frames_file: str) -> None:
            files[FRAMES] = file_record(frames_file)
            known = {**(record or {}), SEGMENT: self.segment_mark(index, len(frames)), FILES: files}
            with replacing(self.record_path(index), "the segment's record", GO_ON) as temporary:
                Path(temporary).write_text(record_text(known), encoding="utf-8")

        if tail is not None:
            with replacing(self.tail_path(index), "the segment's last frames", GO_ON) as temporary:
                save_file({"frames": tail.contiguous().cpu(), **(state or {})}, temporary)
                files[TAIL] = file_record(temporary)
        try:
            write_lossless(self.frames_path(index), frames, fps, GO_ON, write_record)
            self._largest = max(self._largest, sum(file["bytes"] for file in files.values()))
        except BaseException:
            if tail is not None:
                self.tail_path(index).unlink(missing_ok=True)
            self.record_path(index).unlink(missing_ok=True)
            raise

    def check_room(self) -> None:
        """Raises InputError where less is free than the segment that is being written and the next one may take."""
        with suppress(OSError):
            free = shutil.disk_usage(self.folder).free
            if free < 2 * self._largest:
                raise InputError(
                    f"{size_text(free)} are free at {self.folder}, and a segment of this clip takes up to "
                    f"{size_text(self._largest)}: {GO_ON}."
                )

    def has_clip(self, path: str | os.PathLike, plan: Iterable[Segment], recorded: bool) -> bool:
        """Whether :meth:`save_clip` has noted this mp4, of these frames, and every byte is what it was."""
        path = Path(path)
        noted = self._record(f"{path.stem}.json")
        same = noted.get("frames") == self._frames_hashes(plan) and noted.get("recorded") == recorded
        try:
            return same and path.parent == self.folder and file_record(path) == noted.get("file")
        except OSError:
            return False

    def save_clip(
        self, path: str | os.PathLike, plan: Iterable[Segment], recorded: bool, check: Callable[[], None] = lambda: None
    ) -> None:
        """Notes a finished mp4 in the folder, so that it is not written again.

        Args:
            recorded: whether it says how it was made.
            check: called while it is read; may raise to stop.

        Raises:
            InputError: it cannot be noted.
        """
        path = Path(path)
        if path.parent != self.folder:
            return
        noted = {"file": file_record(path, check), "frames": self._frames_hashes(plan), "recorded": recorded}
        with replacing(path.with_suffix(".json"), "the clip's record", GO_ON) as temporary:
            Path(temporary).write_text(record_text(noted), encoding="utf-8")

    def _frames_hashes(self, plan: Iterable[Segment]) -> list[str | None]:
        return [self.frames_hash(one.index) for one in plan]

    def tail(self, index: int) -> torch.Tensor:
        """Float32 ``[previous_frames, H, W, 3]`` in 0..1, for the segment after ``index``.

        Raises:
            InputError: they cannot be read.
        """
        return self._tensors(index)["frames"]

    def state(self, index: int) -> dict[str, torch.Tensor]:
        """What :meth:`save` was given beside the tail, for the segment after ``index``.

        Raises:
            InputError: it cannot be read.
        """
        return {name: tensor for name, tensor in self._tensors(index).items() if name != "frames"}

    def _tensors(self, index: int) -> dict[str, torch.Tensor]:
        with reading(self.tail_path(index), "the segment's last frames", "delete this file and run again") as path:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict

    def verify(self, plan: Iterable[Segment], check: Callable[[], None] = lambda: None) -> list[int]:
        """Reads the finished segments of ``plan`` whole, and removes those that are not what was written.

        Args:
            check: called while it reads; may raise to stop.

        Returns:
            The segments that were removed.

        Raises:
            InputError: a damaged file cannot be removed.
        """
        removed = []
        for segment in plan:
            index, damaged = segment.index, []
            if self.is_intact(segment, check):
                continue  # its former frames are not needed any more
            if self.frames_path(index).exists():
                old = not self.record_path(index).exists()
                why = "has no record of its content, as in older versions" if old else "is damaged"
                log.warning("segment %d in %s %s, it is made again", index + 1, self.folder, why)
                damaged += [self.frames_path(index), self.record_path(index)]
                if self.owns_tail(index):
                    damaged.append(self.tail_path(index))
                removed.append(index)
            if self.former_path(index).exists() and not self.is_former_intact(segment, check):
                log.warning("the former frames of segment %d in %s are damaged", index + 1, self.folder)
                damaged += [self.former_path(index), self.former_record_path(index), self.tail_path(index)]
            with self._writing():
                for file in damaged:
                    file.unlink(missing_ok=True)
        return removed

    def clip(self, plan: Iterable[Segment], fps: Fraction, count: int | None = None) -> FrameSource:
        """The frames of finished segments, uint8; with ``count``, the frames of the whole clip, they know their place
        in it."""
        from .segment_files import LosslessSource

        segments = list(plan)
        found = LosslessSource([(self.frames_path(s.index), 0, s.keep) for s in segments], fps)
        found.part_of = None if count is None else (segments[0].first, count)
        return found

    def former(self, segment: Segment, fps: Fraction) -> FrameSource:
        """The frames of a segment that is made again, as they were."""
        from .segment_files import LosslessSource

        return LosslessSource([(self.former_path(segment.index), 0, segment.keep)], fps)

    def save_boundaries(self, boundaries: Iterable[Boundary]) -> None:
        """Raises InputError: they cannot be written."""
        self._write_json("boundaries.json", [asdict(boundary) for boundary in boundaries])

    def save_keys(self, made: dict[int, str], former: dict[int, str]) -> None:
        """Raises InputError: they cannot be written."""
        self._write_json(KEYS, {MADE: made, FORMER: former, "version": VERSION})
        self._keys = {MADE: made, FORMER: former}

    def _write_json(self, name: str, content: Any) -> None:
        with replacing(self.folder / name, "the list of segments", GO_ON) as temporary:
            Path(temporary).write_text(json.dumps(content))

    def remove(self) -> None:
        """Delete the job's files."""
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_empty(self._made)


def _again(step: Callable[[], T]) -> T:
    """What ``step`` returns, as soon as no other process removes a folder under it."""
    for _ in range(TRIES - 1):
        with suppress(FileNotFoundError, FileExistsError):
            return step()
    return step()
