"""Which frames each segment covers, what it takes over from the one before, and how much of it is kept.

All have one length. A chain is one shot, or the whole clip: each of its segments but the first starts with the last
``previous_frames`` frames of the one before. Its last is filled by playing the shot back and forth
(``wan/animate.py``: ``get_valid_len``, ``inputs_padding``, ``generate``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..limits import MOST_SEGMENT
from ..shots import shots_of
from ..video.frames import FrameSource, read_reflected, reflected_index


@dataclass(frozen=True)
class Segment:
    """One run of the model.

    Attributes:
        index: place in the clip, from 0.
        start, stop: driving frames, previous frames included; ``stop`` may lie past the shot's end.
        previous_frames: how many are known from the segment before (0 in the first of a chain).
        keep: how many frames of the result it makes.
        fade: how many of these are previous frames, cross-faded with the segment before.
        shot: driving frames (first, stop) that are played back and forth; None: the whole clip.
        hands_over: whether the segment after starts from its last frames.
    """

    index: int
    start: int
    stop: int
    previous_frames: int
    keep: int
    fade: int = 0
    shot: tuple[int, int] | None = None
    hands_over: bool = False

    @property
    def first(self) -> int:
        """The first frame of the clip that it makes."""
        return self.start + self.previous_frames - self.fade

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def needed(self) -> int:
        """How many of its frames are decoded: none past the last that the clip shows, where no segment starts there."""
        return self.length if self.hands_over else self.previous_frames - self.fade + self.keep

    @property
    def latent_frames(self) -> int:
        """Without the reference: the first frame alone, then one for every four."""
        return (self.length - 1) // 4 + 1

    @property
    def previous_latents(self) -> int:
        return (self.previous_frames - 1) // 4 + 1 if self.previous_frames else 0

    def end(self, count: int) -> int:
        """The first driving frame past its shot, in a clip of ``count``: from there on it is padding."""
        return count if self.shot is None else self.shot[1]

    def driving_frames(self, count: int) -> list[int]:
        """The driving frame at each of its places, in a clip of ``count``."""
        first, stop = self.shot or (0, count)
        return [first + reflected_index(at - first, stop - first) for at in range(self.start, self.stop)]

    def read(self, source: FrameSource) -> np.ndarray:
        """Its frames of a control."""
        return read_reflected(source, self.start, self.stop, self.shot)


@dataclass(frozen=True)
class SegmentPlan:
    """The segments of a clip of ``frame_count`` frames, or some of them that follow each other."""

    frame_count: int
    segments: tuple[Segment, ...]

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def part(self, first: int, last: int) -> SegmentPlan:
        """Segments ``first`` to ``last``, both included."""
        return SegmentPlan(self.frame_count, self.segments[first : last + 1])

    def chains(self) -> list[tuple[int, int]]:
        """Index of the first and last segment of each chain. Chains share nothing: neither frames nor colours, and a
        segment's noise is drawn from its own number and those before it in the chain."""
        starts = [at for at, segment in enumerate(self.segments) if at == 0 or not segment.previous_frames]
        stops = [*starts[1:], len(self.segments)]
        return [(self.segments[a].index, self.segments[b - 1].index) for a, b in zip(starts, stops)]

    @property
    def first(self) -> int:
        """The first frame of the clip that they make."""
        return self.segments[0].first

    @property
    def keep(self) -> int:
        """How many frames they make."""
        return sum(segment.keep for segment in self.segments)


def check_segment_settings(segment_length: int, previous_frames: int, crossfade: int = 0) -> None:
    """Raises InputError for settings that the model cannot run with."""
    if segment_length < 1 or segment_length % 4 != 1:
        below = max(5, (segment_length - 1) // 4 * 4 + 1)
        raise InputError(
            f"segment length is {segment_length}, but the model works in 4n+1 frames: use {below} or {below + 4} "
            "(77 is what it was trained on)."
        )
    if segment_length > MOST_SEGMENT:
        raise InputError(
            f"segment length is {segment_length:,}, and at most {MOST_SEGMENT} are sampled at once: use 77, as the "
            "model was trained."
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
    most = min(previous_frames, segment_length - previous_frames - 1)
    if not 0 <= crossfade <= most:
        raise InputError(
            f"the cross-fade is over {crossfade} frames, but with {previous_frames} previous frames in segments of "
            f"{segment_length} it can be 0 (a cut) to {most}: set it so, or raise previous frames (to 5 or 9)."
        )


def plan_segments(
    frame_count: int,
    segment_length: int = 77,
    previous_frames: int = 1,
    crossfade: int = 0,
    cuts: Sequence[int] = (),
    continued: int | None = None,
) -> SegmentPlan:
    """Split a clip into segments.

    Args:
        frame_count: frames of the clip, at least 1.
        segment_length: frames a segment, 4n+1.
        previous_frames: 4n+1, below ``segment_length``.
        crossfade: of the frames that two segments share the last so many are cross-faded; 0 cuts.
        cuts: first frames of shots, rising, that start a chain of their own.
        continued: a segment whose previous frames come from another clip; where it is the first of a chain, they are
            the shot's first frames, and the result begins after them.

    Raises:
        InputError: no frames, or settings that the model cannot run with.
    """
    check_segment_settings(segment_length, previous_frames, crossfade)
    if frame_count < 1:
        raise InputError("the driving video has no frames: choose another clip, or a smaller start.")
    if list(cuts) != sorted(set(cuts)) or any(not 0 < cut < frame_count for cut in cuts):
        raise InputError(
            f"the shots begin at frames {', '.join(map(str, cuts))}, but the driving video has frames 0 to "
            f"{frame_count - 1}: detect the pose of this video, or leave its shots out."
        )
    segments: list[Segment] = []
    for shot in shots_of(cuts, frame_count):
        segments += _plan_shot(len(segments), shot, segment_length, previous_frames, crossfade, continued)
    return SegmentPlan(frame_count, tuple(segments))


def _plan_shot(
    first: int, shot: tuple[int, int], length: int, previous_frames: int, crossfade: int, continued: int | None
) -> list[Segment]:
    begin, end = shot
    if continued == first and end - begin <= previous_frames:
        raise InputError(
            f"the clip is continued from {previous_frames} frames, but the driving video has only {end - begin} there "
            "and begins with them: give it a longer driving video, or fewer previous frames."
        )
    step = length - previous_frames
    # A clip no longer than the previous frames still gets a segment (upstream's loop would make none).
    count = max(1, -(-(end - begin - previous_frames) // step))
    segments = []
    for index in range(first, first + count):
        start = begin + (index - first) * step
        chained, hands_over = index > first, index + 1 < first + count
        known = previous_frames if chained or continued == index else 0
        fade = crossfade if chained and continued != index else 0
        stop = start + length - crossfade if hands_over else min(start + length, end)
        keep = stop - (start + known - fade)
        segments.append(Segment(index, start, start + length, known, keep, fade, shot, hands_over))
    return segments
