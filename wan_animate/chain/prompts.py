"""Which of several prompts a segment is made with."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .segments import Segment

FrameRange = tuple[int, int]
"""First and last driving frame, both included; the last may be -1, the end of the clip."""

DEFAULT_PROMPT = "People in the video are doing actions."
"""Of a clip that is given none; what upstream's default says, in English."""


def check_range(frames: FrameRange) -> None:
    """Raises InputError for a range without frames."""
    first, last = frames
    if first < 0 or (last != -1 and last < first):
        raise InputError(
            f"a prompt is given for frames {first} to {last}, which are none: the first must be 0 or more and the last "
            "not before it (-1 stands for the end)."
        )


def prompts_for(segment: Segment, ranges: Sequence[FrameRange | None], frame_count: int) -> list[int]:
    """The prompts that hold for a segment: those with the range that covers most of its new frames.

    Args:
        ranges: of every prompt; None holds where no other does.
        frame_count: of the clip.

    Returns:
        Their places in ``ranges``: several where several have that range.

    Raises:
        InputError: none covers any.
    """
    new = set(range(segment.start + segment.previous_frames, min(segment.stop, segment.end(frame_count))))
    covered: dict[FrameRange | None, int] = {}
    rest = set(new)
    for frames in ranges:
        if frames is not None:
            last = frame_count - 1 if frames[1] == -1 else frames[1]
            own = {at for at in new if frames[0] <= at <= last}
            covered[frames] = len(own)
            rest -= own
    if None in ranges:
        covered[None] = len(rest)
    best = max(covered, key=lambda frames: covered[frames])
    if not covered[best] and None not in covered:
        raise InputError(
            f"no prompt is given for frames {min(new)} to {max(new)}: give one for them, or one without frames, which "
            "holds wherever no other does."
        )
    best = best if covered[best] else None
    return [at for at, frames in enumerate(ranges) if frames == best]
