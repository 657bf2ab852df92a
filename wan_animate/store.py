"""Finished segments on disk, so that a job that was stopped goes on where it was.

A job folder holds, for each finished segment, its new frames (lossless) and, in ``tail_NNNN.safetensors``, the frames
that guide the next segment exactly as they were decoded. Both are written under a temporary name and then renamed, the
frames last: a segment is there whole or not at all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .errors import InputError
from .files import replacing
from .frames import FrameSource
from .segments import Segment


class SegmentStore:
    """The segments of one job.

    Args:
        folder: the job's own folder; made when missing. Two jobs that differ in anything must not share one: name it
            after a hash of all that goes into the job (:meth:`wan_animate.generate.AnimateJob.key`).

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"the folder for finished segments, {self.folder}, cannot be written ({error.strerror or error}): free "
                "space there, correct its permissions, or choose another output folder."
            ) from error
        for leftover in self.folder.glob(".*.part*"):  # of a killed process
            leftover.unlink(missing_ok=True)

    def frames_path(self, index: int) -> Path:
        return self.folder / f"segment_{index:04d}.mkv"

    def tail_path(self, index: int) -> Path:
        return self.folder / f"tail_{index:04d}.safetensors"

    def finished(self) -> int:
        """How many segments, counted from the first without a gap, are complete."""
        count = 0
        while self.frames_path(count).exists() and self.tail_path(count).exists():
            count += 1
        return count

    def save(self, index: int, frames: np.ndarray, tail: torch.Tensor, fps: Fraction) -> None:
        """Keep a finished segment.

        Args:
            frames: its new frames, uint8 ``[n, H, W, 3]``.
            tail: the frames that guide the next segment, float32 ``[guidance, H, W, 3]`` in 0..1.
        """
        from .lossless import write_lossless

        with replacing(self.tail_path(index), "the segment's last frames") as temporary:
            save_file({"frames": tail.contiguous().cpu()}, temporary)
        write_lossless(self.frames_path(index), frames, fps)

    def tail(self, index: int) -> torch.Tensor:
        """The last frames of a finished segment, float32 ``[guidance, H, W, 3]`` in 0..1."""
        with safe_open(self.tail_path(index), framework="pt") as file:
            return file.get_tensor("frames")

    def clip(self, plan: Iterable[Segment], fps: Fraction) -> FrameSource:
        """The frames of finished segments, uint8: with a whole plan, exactly as many as its driving clip has."""
        from .lossless import LosslessSource

        return LosslessSource([(self.frames_path(s.index), 0, s.keep) for s in plan], fps)

    def remove(self) -> None:
        """Delete the job's files, once its clip is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def move_to(self, folder: str | os.PathLike) -> SegmentStore:
        """Move the job's files, for a finished job whose folder is not to be found again; returns the store there."""
        folder = Path(folder)
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.folder, folder)
        return SegmentStore(folder)
