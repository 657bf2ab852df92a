"""Finished segments on disk, so that a job that was stopped goes on where it was.

A job folder holds, for each finished segment, its new frames (lossless) and, for each but the last, in
``tail_NNNN.safetensors``, the frames that guide the next segment exactly as they were decoded. Both are written under a
temporary name and then renamed, the frames last: a segment is there whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..errors import InputError
from ..files import reading, remove_empty, replacing
from ..log import get_logger
from ..video.frames import FrameSource
from ..weights.header import read_header
from .segments import Segment

log = get_logger(__name__)

GO_ON = "free space there and run the same job again, it goes on from the finished segments"


class SegmentStore:
    """The segments of one job.

    Args:
        folder: the job's own folder; made when missing. Two jobs that differ in anything must not share one: name it
            after a hash of all that goes into the job (:meth:`wan_animate.chain.generate.AnimateJob.key`).

    As a context manager it leaves nothing behind of a job that was stopped, or failed, before a segment was finished:
    neither its folder nor those above it that had to be made for it.

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._made: list[Path] = []
        try:
            self._made = [one for one in (self.folder, *self.folder.parents) if not one.exists()]
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.touch()
            probe.unlink()
            for leftover in self.folder.glob(".*.part*"):  # of a killed process
                leftover.unlink(missing_ok=True)
        except OSError as error:
            remove_empty(self._made)
            raise InputError(
                f"the folder for finished segments, {self.folder}, cannot be written ({error.strerror or error}): free "
                "space there, correct its permissions, or choose another output folder."
            ) from error

    def __enter__(self) -> SegmentStore:
        return self

    def __exit__(self, *_) -> None:
        if any(self.folder.glob("segment_*.mkv")) or (self.folder / "clip.mp4").exists():
            return
        for leftover in (*self.folder.glob("tail_*.safetensors"), *self.folder.glob(".*.part*")):
            with suppress(OSError):
                leftover.unlink()
        remove_empty([self.folder, *self._made])

    def frames_path(self, index: int) -> Path:
        return self.folder / f"segment_{index:04d}.mkv"

    def tail_path(self, index: int) -> Path:
        return self.folder / f"tail_{index:04d}.safetensors"

    def finished(self, segments: int | None = None) -> int:
        """How many segments, counted from the first without a gap, are complete.

        One whose last frames cannot be read (a machine that lost its power) does not count, and is made again.

        Args:
            segments: how many the whole job has: the last of them guides none, and needs no such frames. None: not
                known.
        """
        count = 0
        while count != segments and self.frames_path(count).exists():
            if count + 1 != segments and not self._has_tail(count):
                break
            count += 1
        return count

    def _has_tail(self, index: int) -> bool:
        try:
            return self.tail_path(index).exists() and "frames" in read_header(str(self.tail_path(index))).tensors
        except InputError:
            return False

    def save(self, index: int, frames: np.ndarray, tail: torch.Tensor | None, fps: Fraction) -> None:
        """Keep a finished segment.

        Args:
            frames: its new frames, uint8 ``[n, H, W, 3]``.
            tail: the frames that guide the next segment, float32 ``[previous_frames, H, W, 3]`` in 0..1; None for the
                last, which none follows.

        Raises:
            InputError: the disk is full, or the folder cannot be written any more; nothing of this segment stays.
        """
        from ..video.lossless import write_lossless

        if tail is not None:
            with replacing(self.tail_path(index), "the segment's last frames", GO_ON) as temporary:
                save_file({"frames": tail.contiguous().cpu()}, temporary)
        try:
            write_lossless(self.frames_path(index), frames, fps, GO_ON)
        except BaseException:
            self.tail_path(index).unlink(missing_ok=True)
            raise

    def tail(self, index: int) -> torch.Tensor:
        """The last frames of a finished segment, float32 ``[previous_frames, H, W, 3]`` in 0..1.

        Raises:
            InputError: they cannot be read.
        """
        with reading(self.tail_path(index), "the segment's last frames", "delete this file and run again") as path:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor("frames")

    def clip(self, plan: Iterable[Segment], fps: Fraction) -> FrameSource:
        """The frames of finished segments, uint8: with a whole plan, exactly as many as its driving clip has."""
        from ..video.lossless import LosslessSource

        return LosslessSource([(self.frames_path(s.index), 0, s.keep) for s in plan], fps)

    def remove(self) -> None:
        """Delete the job's files, once its clip is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_empty(self._made)

    def move_to(self, folder: str | os.PathLike) -> SegmentStore:
        """Move the job's files, for a finished job whose folder is not to be found again; returns the store there.

        Where they cannot be moved (a full disk on the other side) they stay where they are, and so does the store: the
        clip is whole, and nothing is lost but space.
        """
        folder = Path(folder)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.folder, folder)
            remove_empty(self._made)
        except (OSError, shutil.Error) as error:
            if not self.folder.exists():  # only what was moved already could not be deleted behind it
                return SegmentStore(folder)
            shutil.rmtree(folder, ignore_errors=True)
            log.warning("the finished clip stays in %s: it cannot be moved to %s (%s)", self.folder, folder, error)
            return self
        return SegmentStore(folder)
