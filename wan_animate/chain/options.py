"""What a clip can be made with beside the usual: seams, shots, parts, other seeds, and a clip that it continues."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from ..errors import InputError
from ..finite import check_finite
from ..video.frames import FrameSource, as_float
from ..video.resample import MOST_CUT, cut_share, place, placement
from .segments import SegmentPlan, plan_segments

SEED_LIMIT = 2**64


@dataclass(frozen=True)
class ClipOptions:
    """Settings of :class:`.generate.AnimateJob` that most clips leave alone.

    Attributes:
        crossfade: of the frames that two segments share, the last so many are cross-faded; 0 cuts, -1 takes all.
        share_noise: the frames that two segments share start from the same noise.
        cuts, cut_frames: first frames of shots that start a chain of their own, and frames of the video that has them
            (0: of any).
        continue_from: a clip whose last frames are the previous frames of the first segment that is made. The driving
            video begins with them, and the result after them.
        first_segment, last_segment: make these only, from 0, both included; -1 stands for the clip's last. Finished
            ones that join on to them are part of the result.
        segment_seeds: seeds in place of ``seed + k``, by segment k from 0.
        keep_rest: with segment seeds: the segments after one with a seed of its own stay as they are, and it fades
            back into its former frames at its end.
    """

    crossfade: int = 0
    share_noise: bool = False
    cuts: tuple[int, ...] = ()
    cut_frames: int = 0
    continue_from: FrameSource | None = None
    first_segment: int = 0
    last_segment: int = -1
    segment_seeds: dict[int, int] = field(default_factory=dict)
    keep_rest: bool = False

    def faded(self, segment_length: int, previous_frames: int) -> int:
        """How many frames are cross-faded."""
        return min(previous_frames, segment_length - previous_frames - 1) if self.crossfade == -1 else self.crossfade

    @property
    def continued(self) -> int | None:
        """The segment whose previous frames come from another clip."""
        return None if self.continue_from is None else self.first_segment

    def plan(self, frames: int, segment_length: int, previous_frames: int) -> SegmentPlan:
        """Every segment of a clip of so many frames (:func:`.segments.plan_segments`)."""
        fade = self.faded(segment_length, previous_frames)
        return plan_segments(frames, segment_length, previous_frames, fade, self.cuts, self.continued)

    def wanted(self, plan: SegmentPlan) -> SegmentPlan:
        """Those of a clip's segments that are to be made."""
        return plan.part(self.first_segment, self.last_segment % len(plan))

    def signature(self) -> str:
        """What differs from the defaults and decides frames; empty for the defaults."""
        given: dict[str, object] = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name != "cut_frames" and getattr(self, item.name) != getattr(DEFAULTS, item.name)
        }
        if self.continue_from is not None:
            given["continue_from"] = self.continue_from.fingerprint()
        if self.segment_seeds:
            given["segment_seeds"] = sorted(self.segment_seeds.items())
        return json.dumps(given, sort_keys=True) if given else ""

    def check(self, frames: int, segments: int, previous_frames: int, width: int, height: int) -> None:
        """Raises InputError for what a clip of so many frames and segments and this size cannot have."""
        if self.cut_frames not in (0, frames):
            raise InputError(
                f"the shots are of a video of {self.cut_frames} frames and the driving video has {frames}: connect the "
                "pose of the same frames."
            )
        last = segments - 1 if self.last_segment == -1 else self.last_segment
        if not 0 <= self.first_segment <= last < segments:
            raise InputError(
                f"segments {self.first_segment + 1} to {last + 1} are to be made, but this clip has segments 1 to "
                f"{segments}: choose some of them, or 0 for all that follow."
            )
        for index, seed in self.segment_seeds.items():
            if not 0 <= index < segments:
                raise InputError(
                    f"segment {index + 1} is given a seed of its own, but this clip has segments 1 to {segments}: name "
                    "one of them."
                )
            if not 0 <= seed < SEED_LIMIT:
                raise InputError(f"the seed of segment {index + 1} is {seed}: give a number from 0 to 2^64 - 1.")
        if self.keep_rest and not self.segment_seeds:
            raise InputError(
                "the rest is to be kept, but no segment is given another seed: name one (as 3:1234), or do not keep "
                "the rest."
            )
        if self.continue_from is not None:
            check_continued(self.continue_from, previous_frames, width, height)


DEFAULTS = ClipOptions()


def parse_segment_seeds(text: str) -> dict[int, int]:
    """Segment seeds by segment from 0, of text as ``3:1234, 5:99``, which counts segments from 1.

    Raises:
        InputError: another text.
    """
    seeds: dict[int, int] = {}
    for part in filter(None, re.split(r"[,;\s]+", text.strip())):
        match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,20})", part)
        if match is None or int(match[1]) < 1 or int(match[1]) - 1 in seeds:
            raise InputError(
                f"segment seeds are {text[:60]!r}, which does not say segment:seed for each once: write 3:1234 for "
                "seed 1234 in the third segment, and a comma before the next."
            )
        seeds[int(match[1]) - 1] = int(match[2])
    return seeds


def check_continued(clip: FrameSource, previous_frames: int, width: int, height: int) -> None:
    """Raises InputError for a clip that cannot be continued at this size from its last ``previous_frames`` frames."""
    if clip.kind != "image":
        raise InputError("the clip to continue holds masks: connect the FRAMES or IMAGE of a clip.")
    if len(clip) < previous_frames:
        raise InputError(
            f"the clip to continue has {len(clip)} frame{'s' * (len(clip) != 1)}, but {previous_frames} previous "
            "frames are taken over from it: give a longer one, or fewer previous frames."
        )
    if cut_share(clip.width, clip.height, width, height) > MOST_CUT:
        raise InputError(
            f"the clip to continue is {clip.width}x{clip.height}, which does not fit {width}x{height} without black "
            "bars: make this clip of its shape (by the driving video's size), or crop it."
        )


def continued_frames(clip: FrameSource, previous_frames: int, width: int, height: int) -> torch.Tensor:
    """The last frames of a clip at another size, cut to its shape; float32 ``[previous_frames, H, W, 3]`` in 0..1.

    Raises:
        InputError: they hold NaN or infinite values, or cannot be read.
    """
    frames = as_float(clip.read(len(clip) - previous_frames, len(clip)))
    check_finite(frames, "the clip to continue", "connect another, or look at the node that made it")
    if frames.shape[1:3] != (height, width):
        where = placement(clip.width, clip.height, width, height, "fill")
        frames = torch.from_numpy(np.stack([place(frame.numpy(), where, width, height) for frame in frames]))
    return frames.clamp(0.0, 1.0)
