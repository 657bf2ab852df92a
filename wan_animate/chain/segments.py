"""Which frames each segment covers, what it takes over from the one before, and how much of it is kept.

All have one length, and each but the first starts with the last ``previous_frames`` frames of the one before. The last
is filled by playing the clip back and forth (``wan/animate.py``: ``get_valid_len``, ``inputs_padding``, ``generate``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Segment:
    """One run of the model.

    Attributes:
        index: place in the chain, from 0.
        start, stop: driving frames, previous frames included; ``stop`` may lie past the end.
        previous_frames: how many are known from the segment before (0 in the first).
        keep: how many new frames belong to the result.
    """

    index: int
    start: int
    stop: int
    previous_frames: int
    keep: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def latent_frames(self) -> int:
        """Without the reference: the first frame alone, then one for every four."""
        return (self.length - 1) // 4 + 1

    @property
    def previous_latents(self) -> int:
        return (self.previous_frames - 1) // 4 + 1 if self.previous_frames else 0


@dataclass(frozen=True)
class SegmentPlan:
    """The segments of a clip of ``frame_count`` frames."""

    frame_count: int
    segments: tuple[Segment, ...]

    @property
    def boundaries(self) -> list[int]:
        """The first new frame of every segment but the first."""
        return [segment.start + segment.previous_frames for segment in self.segments[1:]]

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)


def check_segment_settings(segment_length: int, previous_frames: int) -> None:
    """Raises InputError for settings that the model cannot run with."""
    if segment_length < 1 or segment_length % 4 != 1:
        below = max(5, (segment_length - 1) // 4 * 4 + 1)
        raise InputError(
            f"segment length is {segment_length}, but the model works in 4n+1 frames: use {below} or {below + 4} "
            "(77 is what it was trained on)."
        )
    if previous_frames < 1 or previous_frames % 4 != 1:
        raise InputError(
            f"previous frames is {previous_frames}, but it must be 4n+1: "
            f"use 1 or 5 (as the model was trained), or 9, 13, ..."
        )
    if previous_frames >= segment_length:
        raise InputError(
            f"previous frames ({previous_frames}) must be fewer than the segment length "
            f"({segment_length}), or no new frame "
            "would be made: use 1 or 5 previous frames, or longer segments."
        )


def plan_segments(frame_count: int, segment_length: int = 77, previous_frames: int = 1) -> SegmentPlan:
    """Split a clip into segments.

    Args:
        frame_count: frames of the clip, at least 1.
        segment_length: frames a segment, 4n+1.
        previous_frames: 4n+1, below ``segment_length``.

    Raises:
        InputError: no frames, or settings that the model cannot run with.
    """
    check_segment_settings(segment_length, previous_frames)
    if frame_count < 1:
        raise InputError("the driving video has no frames: choose another clip, or a smaller start.")
    step = segment_length - previous_frames
    # A clip no longer than the previous frames still gets a segment (upstream's loop would make none).
    count = max(1, -(-(frame_count - previous_frames) // step))
    segments = []
    for index in range(count):
        start = index * step
        known = previous_frames if index else 0
        new_from = start + known
        segments.append(
            Segment(index, start, start + segment_length, known, min(start + segment_length, frame_count) - new_from)
        )
    return SegmentPlan(frame_count, tuple(segments))
