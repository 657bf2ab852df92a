"""What is wrong with a job's inputs, each with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..chain.segments import SegmentPlan
from ..face.boxes import face_boxes
from ..flags import runs_of
from ..pose import wholebody as body
from ..pose.track import PoseTrack
from ..text import NOTHING_KEPT, frame_ranges, white_all_over

SHORT_GAP = 1 / 6  # seconds; Clean Pose fills what is shorter
FACE_SIDE = 60  # pixels; a smaller face shows the motion encoder no brows
TRAINED_AREAS = 832 * 480, 1280 * 720
TRAINED_LENGTH, TRAINED_PREVIOUS, TRAINED_RATE = 77, (1, 5), 30
SEEN = 0.3
LEAVE_OUT = (
    "leave them out with start and limit in Load Driving Video, or choose another person in Detect Pose and Face"
)
LEVELS = (
    ("the head", (body.NOSE, body.LEFT_EYE, body.RIGHT_EYE)),
    ("the shoulders", (body.LEFT_SHOULDER, body.RIGHT_SHOULDER)),
    ("the hips", (body.LEFT_HIP, body.RIGHT_HIP)),
    ("the knees", (body.LEFT_KNEE, body.RIGHT_KNEE)),
    ("the feet", (body.LEFT_ANKLE, body.RIGHT_ANKLE)),
)


@dataclass(frozen=True)
class Finding:
    """A fault: a word for its kind, what was found, and what to do; "" where ``what`` is an error's whole sentence."""

    kind: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}." if self.remedy else self.what


def _long_runs(flags: np.ndarray, at_least: int) -> np.ndarray:
    """``flags`` without the runs of True that are shorter than ``at_least``."""
    out = np.zeros_like(flags)
    for start, stop in runs_of(flags):
        out[start:stop] = stop - start >= at_least
    return out


def no_person(track: PoseTrack) -> Finding | None:
    gap = max(round(SHORT_GAP * float(track.fps)), 2)
    lost = ~track.body_found
    if not lost.all():
        lost = _long_runs(lost, gap)
    if not lost.any():
        return None
    return Finding(
        "no_person",
        f"nobody was found in {'any frame' if lost.all() else _frames(lost)}",
        LEAVE_OUT,
    )


def face_sides(track: PoseTrack) -> np.ndarray:
    """The shorter side of each face's crop in pixels, float64 ``[T]``; NaN where none was found."""
    boxes, found = face_boxes(track)
    sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]).astype(np.float64)
    return np.where(found, sides, np.nan)


def small_face(track: PoseTrack) -> Finding | None:
    """Half of the found faces, or more, are below :data:`FACE_SIDE`; or none was found."""
    sides = face_sides(track)
    found = np.isfinite(sides)
    if not found.any():
        return Finding(
            "no_face",
            "no face was found in any frame",
            "the expression is left to the pose; take a driving video that shows the face, if it matters",
        )
    small = found & (sides < FACE_SIDE)
    if 2 * small.sum() < found.sum():
        return None
    return Finding(
        "small_face",
        f"the face is only {np.median(sides[small]):.0f} pixels wide in {_frames(small)}",
        f"its expression is lost below {FACE_SIDE}: load the driving video larger, or cut it closer to the person",
    )


def empty_mask(area: np.ndarray, track: PoseTrack | None = None) -> Finding | None:
    """Args: ``area``: ``[T]``, the mask's share of each frame; ``track``: frames without a person may be empty."""
    empty = area <= 0
    if track is not None and not empty.all():
        empty &= track.body_found
    if not empty.any():
        return None
    return Finding(
        "empty_mask",
        f"the character mask is empty in {_frames(empty)}",
        "nobody is put into the scene there; add points in Segment Character, set its fill to pose outline, or invert "
        "the mask",
    )


def white_mask(area: np.ndarray) -> Finding | None:
    """Args: as of :func:`empty_mask`."""
    white = area >= 1
    if not white.any():
        return None
    return Finding("white_mask", white_all_over(_frames(white)), NOTHING_KEPT)


def shown_down_to(track: PoseTrack) -> int | None:
    """Index in :data:`LEVELS` of the lowest part that half of the frames with a person show; None if nobody is."""
    found = track.body_found
    if not found.any():
        return None
    points = track.keypoints[found]
    inside = (points[..., 0] >= 0) & (points[..., 0] < track.width)
    inside &= (points[..., 1] >= 0) & (points[..., 1] < track.height) & (points[..., 2] >= SEEN)
    shown = [at for at, (_, part) in enumerate(LEVELS) if 2 * inside[:, part].any(axis=1).sum() >= len(points)]
    return max(shown, default=None)


def framing(track: PoseTrack, reference: PoseTrack) -> Finding | None:
    """Driver and picture show different parts of the body: their lowest parts are two levels apart."""
    driver, picture = shown_down_to(track), shown_down_to(reference)
    if picture is None:
        return Finding(
            "framing",
            "nobody was found in the reference picture",
            "take a picture that shows the character from the front, with the face to be seen",
        )
    if driver is None or abs(driver - picture) < 2:
        return None
    what = f"the picture shows the character down to {LEVELS[picture][0]}, the driver down to {LEVELS[driver][0]}"
    if driver > picture:
        parts = LEVELS[driver][0]
        return Finding(
            "framing", what, f"take a picture that shows {parts}, or cut the driving video to the upper body"
        )
    return Finding("framing", what, "cut the picture closer, or take a driving video that shows the whole body")


def settings(plan: SegmentPlan, size: tuple[int, int], fps: Fraction, length: int, previous: int) -> list[Finding]:
    """What differs from training: size, rate, segments."""
    found = []
    width, height = size
    if width % 16 or height % 16:
        near = f"{max(16, round(width / 16) * 16)}x{max(16, round(height / 16) * 16)}"
        found.append(Finding("sides", f"the size is {width}x{height}, not divisible by 16", f"make it {near}"))
    area, (low, high) = width * height, TRAINED_AREAS
    if not 0.85 * low <= area <= 1.15 * high:
        than = "smaller" if area < low else "larger"
        take = "832x480" if area < low else "1280x720"
        found.append(
            Finding(
                "size",
                f"{width}x{height} is {than} than the model was trained on (832x480 to 1280x720)",
                f"take about the pixels of {take}",
            )
        )
    if not 23 <= fps <= TRAINED_RATE + 1:
        found.append(
            Finding(
                "fps",
                f"the clip has {float(fps):g} frames a second, and the model was trained on {TRAINED_RATE}",
                f"set fps to {TRAINED_RATE} in Load Driving Video",
            )
        )
    if length != TRAINED_LENGTH and plan.frame_count > length:
        found.append(
            Finding(
                "segment_length",
                f"a segment has {length} frames, and the model was trained on {TRAINED_LENGTH}",
                f"set segment_length to {TRAINED_LENGTH}, unless memory is short",
            )
        )
    if previous not in TRAINED_PREVIOUS and len(plan) > 1:
        found.append(
            Finding(
                "previous_frames",
                f"segments take over {previous} frames, and the model was trained on 1 and 5",
                "set previous_frames to 1, or to 5 to hold motion better",
            )
        )
    last = plan.segments[-1]
    new = last.keep - last.fade
    ends = not last.hands_over and last.end(plan.frame_count) == plan.frame_count
    if ends and last.index and new <= (length - previous) // 8:
        found.append(
            Finding(
                "last_segment",
                f"the last segment makes {new} new frames and {last.length - new} that are not kept",
                f"a limit of {plan.frame_count - new} frames saves it",
            )
        )
    return found


def disk(needed: float, free: float) -> Finding | None:
    """Bytes."""
    if needed <= free:
        return None
    return Finding(
        "disk",
        f"the job writes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in the output folder",
        "free space there, or shorten the clip with limit; a job that a full disk stops goes on from its segments",
    )


def vram(resident: float, offloaded: float, memory: int) -> Finding | None:
    """Bytes; ``memory`` of the card, 0 for none."""
    if not memory or resident <= memory:
        return None
    if offloaded <= memory:
        return Finding(
            "vram",
            f"with all weights on it the card needs {resident / 1e9:.0f} GB, and it has {memory / 1e9:.0f} GB",
            "ComfyUI moves weights by itself; Offload Animate Blocks does it in the time of a step, fp8 weights take "
            "half",
        )
    return Finding(
        "vram",
        f"a segment needs {offloaded / 1e9:.0f} GB on the card with no weights on it, and it has {memory / 1e9:.0f} GB",
        "take a smaller size, or a shorter segment_length",
    )


def _frames(flags: np.ndarray) -> str:
    if flags.all():
        return "every frame"
    at = frame_ranges(flags)
    return f"frame {at}" if flags.sum() == 1 else f"frames {at}"
