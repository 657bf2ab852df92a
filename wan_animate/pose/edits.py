"""Edits of a pose by hand: keyed offsets of keypoints, blended over time, and hidden keypoints.

As JSON, numbers in pixels and frames of the track that was edited, ranges half-open::

    {"width": 832, "height": 480, "fps": 30, "start": 0,
     "keys": {"9": [[12, -20.5, 3], [30, 0, 0]]},
     "hidden": {"10": [[40, 48]]}}

``keys`` holds by keypoint ``[frame, right, down]``, ``hidden`` by keypoint ``[first, stop]``. Frames below 0 lie before
this part of the clip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..json_text import parse_json
from ..time_series import fill_in
from . import wholebody
from .track import PoseTrack

FOUND = 0.3  # confidence from which a keypoint counts as found
FADE = 5
LONGEST_TEXT = 16_000_000
LAST_FRAME = 10_000_000
FARTHEST = 100_000.0  # pixels
WANTED = 'it must be JSON as the editor writes it: {"keys": {"9": [[frame, right, down]]}, "hidden": {}}'


@dataclass(frozen=True)
class PoseEdits:
    """What was changed by hand.

    Attributes:
        keys: by keypoint (0 to 132), by frame: offset (right, down) in pixels.
        hidden: by keypoint: (first, stop) frames.
        size: (width, height) of the edited track's frames, None for any.
        fps: of the edited track, None for any.
        start_seconds: of the edited track.
    """

    keys: dict[int, dict[int, tuple[float, float]]] = field(default_factory=dict)
    hidden: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    fps: float | None = None
    start_seconds: float | None = None

    def __bool__(self) -> bool:
        return bool(self.keys or self.hidden)

    def onto(self, track: PoseTrack) -> PoseEdits:
        """In pixels and frames of ``track``: another size, rate or part of the same clip."""
        across, down = (1.0, 1.0)
        if self.size is not None:
            across, down = track.width / self.size[0], track.height / self.size[1]
        rate = float(track.fps) / (self.fps or float(track.fps))
        begins = (self.start_seconds, track.start_seconds)
        ahead = 0.0 if None in begins else (begins[0] - begins[1]) * float(track.fps)  # type: ignore[operator]

        def at(frame: int) -> int:
            return math.floor(frame * rate + ahead + 0.5)

        keys = {
            joint: {at(frame): (x * across, y * down) for frame, (x, y) in sorted(keyed.items())}
            for joint, keyed in self.keys.items()
        }
        hidden = {
            joint: tuple((at(first), max(at(stop), at(first) + 1)) for first, stop in ranges)
            for joint, ranges in self.hidden.items()
        }
        size = (track.width, track.height)
        return PoseEdits(keys, hidden, size, float(track.fps), track.start_seconds)

    def text(self) -> str:
        """JSON, as :func:`read_edits` reads it; empty without edits."""
        if not self:
            return ""
        out: dict[str, Any] = {}
        if self.size is not None:
            out["width"], out["height"] = self.size
        if self.fps is not None:
            out["fps"] = self.fps
        if self.start_seconds is not None:
            out["start"] = self.start_seconds
        out["keys"] = {
            str(joint): [[frame, x, y] for frame, (x, y) in sorted(keyed.items())]
            for joint, keyed in sorted(self.keys.items())
        }
        out["hidden"] = {str(joint): [list(part) for part in ranges] for joint, ranges in sorted(self.hidden.items())}
        return json.dumps(out, separators=(",", ":"))


def read_edits(text: str | None) -> PoseEdits:
    """Reads the editor's JSON; empty text is no edit.

    Raises:
        InputError: another format, an unknown keypoint, or a number out of range.
    """
    if text is None or not text.strip():
        return PoseEdits()
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"edit pose: edits has {len(text) / 1e6:.0f} MB of text, at most {LONGEST_TEXT / 1e6:.0f} are read; clear "
            "keys that are not needed."
        )
    try:
        given = parse_json(text)
        if not isinstance(given, dict) or not ({"keys", "hidden"} & given.keys()):
            raise ValueError("no keys")
        keys = _by_joint(given.get("keys") or {}, _read_keys)
        hidden = _by_joint(given.get("hidden") or {}, _read_ranges)
        size = None
        if given.get("width") is not None:
            size = (_whole(given["width"], 1, 100_000), _whole(given["height"], 1, 100_000))
        fps = None if given.get("fps") is None else _number(given["fps"], 0.01, 10_000)
        start = None if given.get("start") is None else _number(given["start"], -1e7, 1e7)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(f"edit pose: edits is {text.strip()[:60]!r} ({_why(error)}), but {WANTED}.") from error
    return PoseEdits(keys, hidden, size, fps, start)


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)[:100]


def _by_joint(given: Any, read: Callable[[Any], Any]) -> dict[int, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{str(given)[:20]} is no list by keypoint")
    out = {_whole(int(joint), 0, wholebody.COUNT - 1): read(values) for joint, values in given.items()}
    return {joint: values for joint, values in out.items() if values}


def _read_keys(values: Any) -> dict[int, tuple[float, float]]:
    out = {}
    for value in values:
        frame, x, y = value
        out[_whole(frame, -LAST_FRAME, LAST_FRAME)] = (_number(x, -FARTHEST, FARTHEST), _number(y, -FARTHEST, FARTHEST))
    return out


def _read_ranges(values: Any) -> tuple[tuple[int, int], ...]:
    out = []
    for value in values:
        first, stop = value
        first = _whole(first, -LAST_FRAME, LAST_FRAME)
        out.append((first, _whole(stop, first + 1, LAST_FRAME + 1)))
    return tuple(out)


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, (bool, str)) or not low <= float(value) <= high:  # NaN as well
        raise ValueError(f"{str(value)[:20]} is no number from {low:g} to {high:g}")
    return float(value)


def _whole(value: Any, low: int, high: int) -> int:
    number = _number(value, low, high)
    if not number.is_integer():
        raise ValueError(f"{number:g} is no whole number")
    return int(number)


def edit_base(track: PoseTrack) -> np.ndarray:
    """What offsets are added to: float32 ``[T, 133, 3]``.

    Where a keypoint was not found (confidence below 0.3), its place between the frames of the shot in which it was; the
    median place in a shot without any. Confidence as it is.
    """
    out = track.keypoints.copy()
    found = out[..., 2] >= FOUND
    for start, stop in track.shots:
        shot, known = out[start:stop], found[start:stop]
        ever = known.any(axis=0)
        for axis in (0, 1):
            places = shot[:, ever, axis].astype(np.float64)
            shot[:, ever, axis] = fill_in(places, known[:, ever].astype(float))
            shot[:, ~ever, axis] = np.median(shot[:, ~ever, axis], axis=0)
    return out


def edit_pose(track: PoseTrack, edits: PoseEdits, fade: int = FADE) -> PoseTrack:
    """Applies edits; without any the track is returned.

    Between two keys of a keypoint its offset is interpolated, before the first and after the last it fades out over
    ``fade`` frames (0: at once), and never across a cut. From its first to its last key in a shot a keypoint counts as
    found (confidence 1). Hidden keypoints have confidence 0. Keys outside the clip are left out.

    Raises:
        InputError: ``fade`` is below 0.
    """
    if fade < 0:
        raise InputError(f"edit pose: fade is {fade}, but it must be 0 or more frames.")
    if not edits:
        return track
    edits = edits.onto(track)
    keypoints, count = track.keypoints.copy(), len(track)
    base = edit_base(track) if edits.keys else keypoints
    for joint, keyed in edits.keys.items():
        for start, stop in track.shots:
            at = [frame for frame in sorted(keyed) if start <= frame < stop]
            if not at:
                continue
            first, last = max(start, at[0] - fade), min(stop, at[-1] + fade + 1)
            frames = np.arange(first, last)
            offset = _offsets(frames, at, np.array([keyed[frame] for frame in at], np.float64), fade)
            keypoints[first:last, joint, :2] = base[first:last, joint, :2] + offset
            keypoints[at[0] : at[-1] + 1, joint, 2] = 1
    for joint, ranges in edits.hidden.items():
        for first, stop in ranges:
            keypoints[max(first, 0) : max(min(stop, count), 0), joint, 2] = 0
    return track.replaced(keypoints)


def _offsets(frames: np.ndarray, at: list[int], values: np.ndarray, fade: int) -> np.ndarray:
    """float64 ``[len(frames), 2]``."""
    knots = [at[0] - fade - 1, *at, at[-1] + fade + 1]
    padded = np.concatenate([np.zeros((1, 2)), values, np.zeros((1, 2))])
    return np.stack([np.interp(frames, knots, padded[:, axis]) for axis in (0, 1)], axis=1)


def count_edits(edits: PoseEdits, track: PoseTrack) -> str:
    """A sentence for the node."""
    edits = edits.onto(track)
    inside = range(len(track))
    keyed = {frame for keys in edits.keys.values() for frame in keys}
    lost = sum(frame not in inside for frame in keyed)
    if not edits:
        return "No edits yet."
    said = f"{len(edits.keys)} keypoints keyed on {len(keyed) - lost} frames, {len(edits.hidden)} hidden for a time."
    return said + (f" {lost} keyed frames lie outside this clip." if lost else "")
