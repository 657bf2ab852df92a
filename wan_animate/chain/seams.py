"""Where one segment ends and the next begins: the cross-fade, and whether the boundary shows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
import torch

from ..video.frames import FrameSource, as_uint8
from .boundaries import LEAST, Boundary
from .control_sources import BACKGROUND, POSE, Controls
from .segments import Segment, SegmentPlan

AROUND = 8  # frames on each side that a boundary is compared with
SETTLE = 24  # new frames over which a segment comes to its own shading
CELL = 1 / 12  # of the shorter side: finer differences are not shading
STRONGEST = 8 / 255  # a difference in shading; more is another picture
RETURN = 8  # frames over which a segment made again fades back into its former frames
_KEPT = 16


def crossfade(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """``before`` to ``after``, ``[n, ...]`` both, with weights that rise from frame to frame.

    They are the mean of even steps and a raised cosine: steps are smaller at the ends, where the blend averages less of
    the frames' grain out than in the middle, so that an error and grain together change evenly.
    """
    count = len(after)
    even = torch.arange(1, count + 1, dtype=torch.float32).div_(count + 1)
    weight = 0.5 * (even + 0.5 * (1 - torch.cos(torch.pi * even)))
    return torch.lerp(before.float(), after.float(), weight.view(-1, *[1] * (after.ndim - 1)))


def shading(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """What ``before`` is lighter than ``after``, ``[n, H, W, 3]`` both: smooth over the picture, ``[H, W, 3]``."""
    difference = (before.float() - after.float()).mean(dim=0).numpy()
    height, width = difference.shape[:2]
    cells = max(round(width / min(width, height) / CELL), 3), max(round(height / min(width, height) / CELL), 3)
    coarse = cv2.medianBlur(cv2.resize(difference, cells, interpolation=cv2.INTER_AREA), 3)
    coarse = cv2.GaussianBlur(coarse.clip(-STRONGEST, STRONGEST), (3, 3), 0)
    return torch.from_numpy(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))


def join(segment: Segment, frames: torch.Tensor, previous: torch.Tensor) -> None:
    """Cross-fade a segment's frames ``[needed, H, W, 3]`` in place with the previous frames as they were.

    The shading of the frames that both have is made equal first: the segment comes to its own over the
    :data:`SETTLE` new frames that follow, which a blend of two frames could not do without doubling edges. What is
    handed on to the next segment stays as it is.
    """
    known, fade = segment.previous_frames, segment.fade
    settle = min(SETTLE, segment.length - 2 * known - 1)
    if settle > 0:
        light = shading(previous, frames[:known])
        share = torch.arange(settle, 0, -1, dtype=torch.float32).div_(settle + 1)
        frames[:known] += light
        new = frames[known : known + settle]  # fewer where the clip ends before
        new += light * share[: len(new)].view(-1, 1, 1, 1)
        frames[: known + settle].clamp_(0.0, 1.0)
    frames[known - fade : known] = crossfade(previous[-fade:], frames[known - fade : known])


class FrameDifferences:
    """The mean absolute difference of each frame to the one before it, 0..255."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}
        self._last: tuple[int, np.ndarray] | None = None

    def add(self, first: int, frames: np.ndarray) -> None:
        """Frames ``first`` on, ``[n, H, W, 3]``; those that follow the ones added before are compared with them."""
        for number, frame in enumerate(frames, first):
            frame = np.ascontiguousarray(as_uint8(frame))
            if self._last is not None and self._last[0] == number - 1:
                self._known[number] = cv2.norm(self._last[1], frame, cv2.NORM_L1) / frame.size
            self._last = number, frame
        if self._last is not None:
            self._last = self._last[0], self._last[1].copy()  # else a whole segment stays in memory

    def read(
        self, source: FrameSource, numbers: Iterable[int], offset: int = 0, check: Callable[[], None] = lambda: None
    ) -> None:
        """Read what is not known yet; frame ``n`` is frame ``n - offset`` of ``source``."""
        for number in sorted(set(numbers) - self._known.keys()):
            check()
            before = self._last is not None and self._last[0] == number - 1
            first = number if before else number - 1
            self.add(first, source.read(first - offset, number + 1 - offset))

    def close(self) -> None:
        """Drop the last frame."""
        self._last = None

    def of(self, numbers: Iterable[int]) -> list[float]:
        """Those of ``numbers`` that are known."""
        return [self._known[number] for number in numbers if number in self._known]


class DriverMotion:
    """Frame differences of a clip's controls, by fingerprint: those of former jobs are remembered."""

    _kept: OrderedDict[str, FrameDifferences] = OrderedDict()

    def __init__(self, controls: Controls) -> None:
        self._sources = {name: source for name, source in controls.sources.items() if name in (POSE, BACKGROUND)}
        self._motion = {name: self._remembered(controls.fingerprints[name]) for name in self._sources}

    @classmethod
    def _remembered(cls, fingerprint: str) -> FrameDifferences:
        motion = cls._kept.setdefault(fingerprint, FrameDifferences())
        cls._kept.move_to_end(fingerprint)
        while len(cls._kept) > _KEPT:
            cls._kept.popitem(last=False)
        return motion

    def watching(self, segment: Segment, take: Callable[[str], np.ndarray]) -> Callable[[str], np.ndarray]:
        """:meth:`.control_reader.ControlReader.take` that is looked at on the way."""

        def taken(name: str) -> np.ndarray:
            frames = take(name)
            if name in self._motion:
                end = len(self._sources[name]) if segment.shot is None else segment.shot[1]
                self._motion[name].add(segment.start, frames[: end - segment.start])
            return frames

        return taken

    def close(self) -> None:
        """Drop frames; what was measured stays."""
        for motion in self._motion.values():
            motion.close()

    def ratio(self, here: Sequence[int], around: Sequence[int], check: Callable[[], None] = lambda: None) -> float:
        """The largest difference ``here`` over the median ``around``, of the control that moves most; at least 1."""
        most = 1.0
        for name, source in self._sources.items():
            self._motion[name].read(source, [*here, *around], check=check)
            usual = max(float(np.median(self._motion[name].of(around))), LEAST)
            most = max(most, max(self._motion[name].of(here), default=0.0) / usual)
        return most


def boundary_frames(plan: SegmentPlan, returning: Iterable[int] = ()) -> dict[Segment, range]:
    """The frames that a boundary may show at, by the segment that begins there; each differs from the one before it.

    Args:
        returning: segments that fade back into their former frames at their end.
    """
    frames, back = {}, set(returning)
    for segment in plan:
        if segment.previous_frames:
            first = segment.first - (RETURN if segment.index - 1 in back else 0)
            frames[segment] = range(max(first, plan.first), segment.start + segment.previous_frames + 1)
    return frames


def measure_boundaries(
    plan: SegmentPlan,
    clip: FrameSource,
    differences: FrameDifferences,
    driver: DriverMotion,
    returning: Iterable[int] = (),
    before: np.ndarray | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[Boundary]:
    """Compare each boundary with the frames around it, and with what the driver does there.

    Args:
        clip: the result, from the plan's first frame on.
        differences: those that are known of it; the rest is read.
        before: the frame ``[H, W, 3]`` before its first, of the clip that it continues.
        check: called at every frame that is read; may raise to stop.
    """
    if before is not None:
        differences.add(plan.first - 1, before[None])
        differences.add(plan.first, clip.read(0, 1))
    stop = plan.first + len(clip)
    places = boundary_frames(plan, returning)
    taken = {frame for frames in places.values() for frame in frames}
    found = []
    for segment, frames in places.items():
        begin, end = segment.shot or (0, stop)
        here = [frame for frame in frames if plan.first < frame < stop or differences.of([frame])]
        near = range(max(frames.start - AROUND, begin + 1, plan.first + 1), min(frames.stop + AROUND, end, stop))
        around = [frame for frame in near if frame not in taken]
        if not here or not around:
            continue
        unknown = [frame for frame in (*here, *around) if plan.first < frame]
        differences.read(clip, unknown, plan.first, check)
        usual = float(np.median(differences.of(around)))
        first_new = segment.start + segment.previous_frames
        motion = driver.ratio([frame for frame in here if frame], around, check)
        found.append(Boundary(segment.index, first_new, max(differences.of(here)), usual, motion))
    return found
