"""Points and boxes for SAM 2, from the pose or an editor."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..json_text import parse_json
from ..pose import wholebody as L
from ..pose.track import PoseTrack

CONFIDENT = 0.5  # a joint below this is not used as a point
EDGE = 0.05  # of the shorter side; joints nearer to the frame's edge are guesses (hips behind a desk)
FEWEST = 3  # points of a key frame
NEAR, FAR, MOST_NEAR = 25, 100, 4  # frames for each key frame in a short shot (up to MOST_NEAR) and in a long one
# joints well inside the body's outline
INSIDE = (
    L.NOSE, L.LEFT_SHOULDER, L.RIGHT_SHOULDER, L.LEFT_HIP, L.RIGHT_HIP, L.LEFT_KNEE, L.RIGHT_KNEE, L.LEFT_ANKLE,
    L.RIGHT_ANKLE,
)  # fmt: skip
# and the middles of these: neck, trunk, upper arms
MIDDLES = (
    (L.LEFT_SHOULDER, L.RIGHT_SHOULDER),
    (L.LEFT_SHOULDER, L.RIGHT_SHOULDER, L.LEFT_HIP, L.RIGHT_HIP),
    (L.LEFT_SHOULDER, L.LEFT_ELBOW),
    (L.RIGHT_SHOULDER, L.RIGHT_ELBOW),
)


@dataclass(frozen=True, eq=False)
class Prompt:
    """The person on one frame."""

    frame: int
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # [N, 2]: x, y in pixels
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [N]: 1 = on the person, 0 = not
    box: tuple[float, float, float, float] | None = None  # x1, y1, x2, y2 in pixels


def body_points(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """float32 ``[N, 2]``: confident points of ``[133, 3]`` inside body and frame."""
    points, sure = keypoints[:, :2], keypoints[:, 2] >= CONFIDENT
    found = [points[joint] for joint in INSIDE if sure[joint]]
    found += [points[list(joints)].mean(axis=0) for joints in MIDDLES if sure[list(joints)].all()]
    inside = np.asarray(found, np.float32).reshape(-1, 2)
    edge = EDGE * min(width, height)
    return inside[((inside >= edge) & (inside <= (width - 1 - edge, height - 1 - edge))).all(axis=1)]


def prompts_from_pose(track: PoseTrack) -> list[Prompt]:
    """Points and boxes on key frames of every shot, in pixels of the track.

    Up to four key frames a shot (as upstream up to 400 frames), in longer shots one per 100 frames: the frame of each
    part with the most, then the most confident, body points (at least three).
    """
    prompts = []
    sure = np.where(track.keypoints[:, L.BODY, 2] >= CONFIDENT, track.keypoints[:, L.BODY, 2], 0).mean(axis=1)
    for start, stop in track.shots:
        length = stop - start
        parts = max(min(MOST_NEAR, -(-length // NEAR)), -(-length // FAR))
        edges = np.linspace(start, stop, parts + 1).round().astype(int)
        for first, last in zip(edges[:-1], edges[1:], strict=True):
            found = [body_points(keypoints, track.width, track.height) for keypoints in track.keypoints[first:last]]
            best = max(range(last - first), key=lambda at: (len(found[at]), sure[first + at]))
            prompt = prompt_at(track, int(first) + best)
            if prompt is not None:
                prompts.append(prompt)
    return prompts


def prompt_at(track: PoseTrack, frame: int) -> Prompt | None:
    """The pose's prompt; None with fewer than three confident points."""
    points = body_points(track.keypoints[frame], track.width, track.height)
    if len(points) < FEWEST:
        return None
    return Prompt(frame, points, np.ones(len(points), np.int64), _box(track, frame, points))


def _box(track: PoseTrack, frame: int, points: np.ndarray) -> tuple[float, float, float, float] | None:
    if track.boxes is None or track.boxes[frame, 4] <= 0:
        return None
    left, top, right, bottom = (float(side) for side in track.boxes[frame, :4])
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, track.width), min(bottom, track.height)
    holds = (points >= (left, top)).all() and (points <= (right, bottom)).all()
    return (left, top, right, bottom) if holds else None


# -- from an editor


def read_prompts(text: str | None, size: tuple[int, int] | None = None) -> list[Prompt]:
    """The prompts of several frames, sorted, one a frame; empty text is none.

    Args:
        text: JSON, ``[{"frame": 12, "positive": [{"x": 320, "y": 200}], "negative": [], "box": [x1, y1, x2, y2],
            "size": [832, 480]}]``, points and box as of :func:`prompt_from_editor`; all but ``frame`` may be missing.
            With ``size``, width and height of the frame they were set on, they follow the clip to another size.
        size: width and height of the clip.

    Raises:
        InputError: another format, or a point outside the frame.
    """
    if text is None or not text.strip():
        return []
    try:
        given = parse_json(text)
        if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
            raise ValueError("no list of frames")
        found: dict[int, Prompt] = {}
        for entry in given:
            frame = entry["frame"]
            if isinstance(frame, bool) or not isinstance(frame, int) or frame < 0:
                raise ValueError(f"frame {str(frame)[:20]}")
            own = entry.get("size")
            set_on = size if own is None else (int(own[0]), int(own[1]))
            if own is not None and min(set_on or (0,)) < 1:
                raise ValueError("size")
            names = ("positive", "negative")
            on, off = (json.dumps(entry[name]) if entry.get(name) else None for name in names)
            prompt = prompt_from_editor(frame, on, off, entry.get("box"), set_on)
            if prompt is not None:
                prompt = _resized(prompt, set_on, size)
                found[frame] = combined(found[frame], prompt) if frame in found else prompt
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise InputError(
            f'segment character: prompts must be a JSON list such as [{{"frame": 0, "positive": [{{"x": 320, "y": '
            f'200}}], "negative": [], "box": [10, 20, 300, 400]}}], but it is {text.strip()[:60]!r} ({error}).'
        ) from error
    return [found[frame] for frame in sorted(found)]


def _resized(prompt: Prompt, size: tuple[int, int] | None, other: tuple[int, int] | None) -> Prompt:
    if size is None or other is None or size == other:
        return prompt
    scale = np.array([other[0] / size[0], other[1] / size[1]], np.float32)
    box = None if prompt.box is None else tuple(np.multiply(prompt.box, [*scale, *scale]).tolist())
    return Prompt(prompt.frame, prompt.points * scale, prompt.labels, box)


def prompt_from_editor(
    frame: int, positive: str | None, negative: str | None, box: object = None, size: tuple[int, int] | None = None
) -> Prompt | None:
    """A point and box editor's prompt for one frame; None if empty.

    Args:
        positive, negative: JSON lists of ``{"x": .., "y": ..}`` or ``[x, y]`` in pixels (KJNodes' Points Editor), or
            None.
        box: x1, y1, x2, y2 (of a list the first), or ``{"x", "y", "width", "height"}``; in pixels.
        size: width and height of the frame.

    Raises:
        InputError: another format, or a point outside the frame.
    """
    on, off = _read_points(positive, "points_positive", size), _read_points(negative, "points_negative", size)
    corners = _read_box(box)
    if not on and not off and corners is None:
        return None
    points = np.asarray(on + off, np.float32).reshape(-1, 2)
    return Prompt(frame, points, np.array([1] * len(on) + [0] * len(off), np.int64), corners)


def _read_points(text: str | None, name: str, size: tuple[int, int] | None) -> list[tuple[float, float]]:
    if text is None or not str(text).strip():
        return []
    try:
        given = parse_json(text)
        if isinstance(given, dict):
            given = [given]
        points = [_pair((point["x"], point["y"])) if isinstance(point, dict) else _pair(point) for point in given]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f'segment character: {name} must be a JSON list such as [{{"x": 320, "y": 200}}], as a points editor '
            f"gives it, but it is {str(text)[:60]!r}."
        ) from error
    sides = [side for point in points for side in point]
    if sides and max(sides) <= 1 and not all(side.is_integer() for side in sides):
        raise InputError(
            f"segment character: {name} has a point at {sides[0]:g}, {sides[1]:g}, a fraction of the frame; give "
            "pixels of the frame, as a points editor does."
        )
    for x, y in points:
        if size is not None and not (0 <= x < size[0] and 0 <= y < size[1]):
            raise InputError(
                f"segment character: {name} has a point at {x:g}, {y:g}, outside the {size[0]}x{size[1]} frame; give "
                "the points editor a frame of this size."
            )
    return points


def _pair(value: Any) -> tuple[float, float]:
    x, y = (float(side) for side in value)
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("no number")
    return x, y


def _read_box(box: object) -> tuple[float, float, float, float] | None:
    while isinstance(box, (list, tuple)) and len(box) and not isinstance(box[0], (int, float, np.number)):
        box = box[0]
    if box is None or (not isinstance(box, dict) and len(np.asarray(box).reshape(-1)) == 0):
        return None
    try:
        if isinstance(box, dict):
            left, top, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
            right, bottom = left + width, top + height
        else:
            left, top, right, bottom = (float(side) for side in np.asarray(box, np.float64).reshape(-1, 4)[0])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InputError(
            f"segment character: bbox must be four numbers x1, y1, x2, y2 in pixels, but it is {str(box)[:60]}."
        ) from error
    corners = left, top, right, bottom
    if not all(map(math.isfinite, corners)):
        raise InputError(f"segment character: bbox is {', '.join(map(str, corners))}, which are no numbers of pixels.")
    if right <= left or bottom <= top:
        raise InputError(
            f"segment character: bbox is {', '.join(f'{side:g}' for side in corners)}, but its right and bottom must "
            "lie beyond its left and top (x1, y1, x2, y2)."
        )
    if max(corners) <= 1:
        raise InputError(
            f"segment character: bbox is {', '.join(f'{side:g}' for side in corners)}, fractions of the frame; give "
            "pixels of the frame."
        )
    return corners


def combined(first: Prompt, other: Prompt) -> Prompt:
    """Both prompts of a frame; ``other``'s box counts first."""
    return Prompt(
        first.frame,
        np.concatenate([first.points, other.points]),
        np.concatenate([first.labels, other.labels]),
        other.box or first.box,
    )
