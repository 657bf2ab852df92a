"""Quality of a pose track in numbers and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..mask.coverage import Coverage, checked_masks
from ..pose.repair import SEEN, body_height
from ..pose.track import PoseTrack
from ..text import found_too_little
from ..video.derived import RepeatedSource
from ..video.frames import FrameSource

PARTS = {
    "body": [*range(17)],
    "hands": [*range(91, 133)],
    "face": [*range(23, 91)],
    "feet": [*range(17, 23)],
}
MASK_BATCH = 8
FAR = 0.05  # of the body's height: a point that cleaning moved farther had been wrong
MASK_JUMP = 0.35  # of its size in one frame: a mask that changes so much has lost or caught something


def jitter(track: PoseTrack) -> dict[str, np.ndarray]:
    """Part -> jitter in pixels, float64 ``[T]``; NaN at the ends, at cuts, and where nothing was found.

    Third difference of each point's path over sqrt(20), which is 1.25 standard deviations (of one coordinate) for white
    noise; mean over the points found.
    """
    points = track.keypoints[..., :2].astype(np.float64)
    known = track.keypoints[..., 2] >= SEEN
    out = {part: np.full(len(track), np.nan) for part in PARTS}
    for start, stop in track.shots:
        if stop - start < 4:
            continue
        size = np.linalg.norm(np.diff(points[start:stop], 3, axis=0), axis=2) / np.sqrt(20)
        shot = known[start:stop]
        whole = shot[:-3] & shot[1:-2] & shot[2:-1] & shot[3:]
        for part, members in PARTS.items():
            count = whole[:, members].sum(axis=1)
            total = np.where(whole[:, members], size[:, members], 0).sum(axis=1)
            out[part][start + 1 : stop - 2] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out


def mask_areas(mask: FrameSource, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """float64 ``[T]`` 0..1: masked share of the picture."""
    out = np.empty(len(mask))
    for start, stop, masks in mask.batches(MASK_BATCH):
        out[start:stop] = masks.reshape(stop - start, -1).mean(axis=1) / (255 if masks.dtype == np.uint8 else 1)
        if progress is not None:
            progress(stop, len(mask))
    return out


@dataclass(frozen=True, eq=False)
class PoseReport:
    """Result of :func:`pose_report`.

    Attributes:
        found: "body", "face", "left hand", "right hand" -> bool ``[T]``.
        jitter: part -> float64 ``[T]`` in pixels, NaN where unknown.
        raw_jitter: before cleaning, or None.
        filled, dropped, moved: points that cleaning added, removed, and moved by over 1/20 of the body's height, or
            None.
        mask_area: ``[T]`` 0..1, or None.
        coverage: whether the mask holds the person, or None.
    """

    frames: int
    width: int
    height: int
    fps: float
    cuts: tuple[int, ...]
    found: dict[str, np.ndarray]
    jitter: dict[str, np.ndarray]
    raw_jitter: dict[str, np.ndarray] | None = None
    filled: int | None = None
    dropped: int | None = None
    moved: int | None = None
    mask_area: np.ndarray | None = None
    coverage: Coverage | None = None

    @property
    def missing(self) -> dict[str, int]:
        """Frames in which each part was not found."""
        return {part: int((~found).sum()) for part, found in self.found.items()}

    @property
    def warnings(self) -> list[str]:
        """Sentences about what to check before sampling."""
        empty = empty_mask(self.mask_area)
        said = [text for text in (found_too_little(self.found["body"]), empty) if text]
        return said + (self.coverage.warnings if self.coverage is not None and not empty else [])

    def text(self) -> str:
        """The report in plain English, warnings first."""
        shots = len(self.cuts) + 1
        lines = [f"Warning: {warning}" for warning in self.warnings]
        lines += [
            f"{self.frames} frames of {self.width}x{self.height} at {self.fps:g} a second, "
            + ("one shot." if shots == 1 else f"{shots} shots (cuts at {listed(self.cuts)}).")
        ]
        for part, found in self.found.items():
            lost = np.flatnonzero(~found)
            lines.append(
                f"{part}: found in every frame."
                if len(lost) == 0
                else f"{part}: not found in any frame."
                if len(lost) == len(found)
                else f"{part}: not found in {len(lost)} frames ({spans(lost)})."
            )
        for part, values in self.jitter.items():
            after = mean(values)
            if after is None:
                continue
            before = None if self.raw_jitter is None else mean(self.raw_jitter[part])
            lines.append(
                f"jitter of the {part}: {after:.2f} pixels"
                + ("." if before is None else f", {before:.2f} before cleaning.")
            )
        if self.filled is not None:
            lines.append(
                f"cleaning filled in {self.filled} points, took out {self.dropped} and put {self.moved} elsewhere."
            )
        if self.mask_area is not None:
            lines.append(self._mask_line(self.mask_area))
        if self.coverage is not None:
            outside = np.flatnonzero(self.coverage.uncovered)
            lines.append(
                "in the mask: the whole person, in every frame."
                if len(outside) == 0
                else f"in the mask: not the whole person in {len(outside)} frames ({spans(outside)})."
            )
        return "\n".join(lines)

    def _mask_line(self, area: np.ndarray) -> str:
        line = f"mask: {area.mean():.1%} of the picture on average ({area.min():.1%} to {area.max():.1%})"
        empty = np.flatnonzero(area == 0)
        if len(empty) == len(area):
            return "mask: empty in every frame."
        if len(empty):
            return f"{line}; empty in {len(empty)} frames ({spans(empty)})."
        step = np.abs(np.diff(area)) / np.maximum(np.maximum(area[1:], area[:-1]), 1e-9)
        jumps = [int(at) + 1 for at in np.flatnonzero(step > MASK_JUMP) if int(at) + 1 not in self.cuts]
        return f"{line}; it jumps at {listed(jumps)}." if jumps else f"{line}, without jumps."


def pose_report(
    track: PoseTrack,
    raw: PoseTrack | None = None,
    mask: FrameSource | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PoseReport:
    """Measure a track against ``raw``, the track before cleaning, and the character mask.

    Raises:
        InputError: lengths differ, or ``mask`` is no mask.
    """
    frames = len(track)
    if mask is not None and len(mask) == 1 and frames > 1:
        mask = RepeatedSource(mask, frames)
    for name, other in (("raw", raw), ("mask", mask)):
        if other is not None and len(other) != frames:
            raise InputError(
                f"pose report: the pose has {frames} frames and {name} has {len(other)}; connect those of one clip."
            )
    if mask is not None and mask.kind != "mask":
        raise InputError("pose report: mask carries pictures; connect a mask of the same clip.")
    hands = track.hands_found
    found = {
        "body": track.body_found,
        "face": track.face_found,
        "left hand": hands[:, 0],
        "right hand": hands[:, 1],
    }
    changes: tuple[int | None, int | None, int | None] = (None, None, None)
    if raw is not None:
        if (raw.width, raw.height) != (track.width, track.height):
            raw = raw.scaled(track.width, track.height)
        before, after = raw.keypoints[..., 2] >= SEEN, track.keypoints[..., 2] >= SEEN
        points = raw.keypoints[..., 0] + 1j * raw.keypoints[..., 1]
        distance = np.linalg.norm(track.keypoints[..., :2] - raw.keypoints[..., :2], axis=2)
        far = distance > FAR * body_height(points, raw.keypoints[..., 2])
        filled, dropped, moved = after & ~before, before & ~after, before & after & far
        changes = int(filled.sum()), int(dropped.sum()), int(moved.sum())
    masks = None if mask is None else checked_masks(mask, track)
    area = None if masks is None else mask_areas(masks, progress)
    return PoseReport(
        frames,
        track.width,
        track.height,
        float(track.fps),
        track.cuts,
        found,
        jitter(track),
        None if raw is None else jitter(raw),
        *changes,
        area,
        None if masks is None else masks.coverage(),
    )


def empty_mask(area: np.ndarray | None) -> str | None:
    """A warning if all areas ``[T]`` are 0."""
    if area is None or area.any():
        return None
    return (
        "the mask is empty in every frame, so nobody would be put into the scene. Choose another person or point, or "
        "invert it if black is the character."
    )


def mean(values: np.ndarray) -> float | None:
    """Mean without NaN, or None."""
    known = np.isfinite(values)
    return float(values[known].mean()) if known.any() else None


def spans(frames: np.ndarray, most: int = 6) -> str:
    """Frame numbers as ranges: ``3-7, 12``."""
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    ranges = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return ", ".join(ranges[:most]) + (", ..." if len(ranges) > most else "")


def listed(numbers: Sequence[int], most: int = 8) -> str:
    """``3, 7, 12``."""
    return ", ".join(map(str, list(numbers)[:most])) + (", ..." if len(numbers) > most else "")
