"""Pose tracks to and from OpenPose JSON (POSE_KEYPOINT in ComfyUI), BODY_18 or BODY_25, in pixels or fractions.

Sources: ComfyUI's ``comfy_extras/nodes_sdpose.py`` (18 body points, 6 of the feet, 70 of the face, 21 a hand),
OpenPose's output format.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import InputError
from ..limits import MOST_FRAMES, MOST_PEOPLE, MOST_PIXELS
from ..people.appearance import SIZE as APPEARANCE_SIZE
from ..people.boxes import WHOLE_FRAME, FrameDetections, area
from ..people.choosing import PersonChoice, choose
from ..people.tracker import shot_people
from ..schema import read_json, shown
from ..text import frame_ranges
from . import units, wholebody
from .track import PoseTrack
from .units import APART, HEAD

# COCO-WholeBody index of OpenPose's body points; -1 (neck and middle of the hips) has none. BODY_25 ends with the feet.
BODY_18 = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
BODY_25 = (0, -1, 6, 8, 10, 5, 7, 9, -1, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 18, 19, 20, 21, 22)
BEYOND = 2.0  # canvas sizes outside of the canvas, beyond which a point is a mistake
MOST_NUMBERS = 3 * 1000  # of a part; OpenPose's largest has 70 points
STRAY = 6.0  # times the median distance from the body's middle: farther points are dropped
SMALLEST = 0.02  # of the canvas' shorter side: a smaller body shows nothing


def to_openpose(track: PoseTrack) -> list[dict[str, Any]]:
    """OpenPose JSON: pixels, BODY_18, at most one person a frame."""
    frames = []
    for points in track.keypoints:
        body = np.zeros((len(BODY_18), 3), np.float32)
        for at, joint in enumerate(BODY_18):
            if joint >= 0:
                body[at] = points[joint]
        shoulders = points[[wholebody.LEFT_SHOULDER, wholebody.RIGHT_SHOULDER]]
        body[1] = *shoulders[:, :2].mean(axis=0), shoulders[:, 2].min()
        person = {
            "pose_keypoints_2d": _flat(body),
            "foot_keypoints_2d": _flat(points[wholebody.FEET]),
            "face_keypoints_2d": _flat(np.concatenate([points[wholebody.FACE], points[[2, 1]]])),
            "hand_left_keypoints_2d": _flat(points[wholebody.LEFT_HAND]),
            "hand_right_keypoints_2d": _flat(points[wholebody.RIGHT_HAND]),
        }
        frames.append(
            {
                "people": [person] if (points[:, 2] > 0).any() else [],
                "canvas_width": track.width,
                "canvas_height": track.height,
            }
        )
    return frames


def _flat(points: np.ndarray) -> list[float]:
    return np.where(points[:, 2:] > 0, points, 0).astype(float).ravel().tolist()


def from_openpose(
    frames: Any,
    fps: float | Fraction = 30,
    person: PersonChoice | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda note: None,
) -> PoseTrack:
    """A person's track, with boxes, from OpenPose JSON in pixels, per cent or fractions (:mod:`.units`).

    Drops points far outside the canvas and unswaps hands; points that the format lacks have confidence 0.

    Args:
        frames: a list of frames, one frame, or JSON text.
        report: called with (frames done, frames); raises to stop.
        say: called with sentences on what was converted, and on frames from which nobody was taken.

    Raises:
        InputError: not OpenPose JSON, several canvas sizes, a crowd, or no possible body.
    """
    frames = _parse(frames)
    width, height = _canvas(frames)
    people = []
    for index, frame in enumerate(frames):
        report(index, len(frames))
        people.append([_person(entry, index) for entry in _people(frame, index)])
    people = _to_pixels(people, width, height, say)
    people = [[points for points in found if (points[:, 2] > 0).any()] for found in people]
    if not any(people):
        raise InputError(
            f"pose keypoints: none of the {len(frames)} frames has a person in it; connect the keypoints of a clip "
            "that shows one."
        )
    candidates = [np.array([_box(points) for points in found], np.float32).reshape(-1, 5) for found in people]
    boxes = _follow(candidates, width, height, float(fps), person or PersonChoice(), report)
    keypoints = np.zeros((len(frames), wholebody.COUNT, 3), np.float32)
    for index, (found, options) in enumerate(zip(people, candidates, strict=True)):
        if len(found):
            off = np.abs(options[:, :4] - boxes[index, :4]).max(axis=1)
            if off.min() < 0.5:
                keypoints[index] = found[int(off.argmin())]
    taken = (keypoints[..., 2] > 0).any(axis=1)
    boxes[~taken, 4] = -1
    left = np.array([len(found) > 0 for found in people]) & ~taken
    if left.any():
        say(
            f"nobody is taken from frames {frame_ranges(left)}, although people are there: they lie elsewhere, or are "
            "of another size, than the person who is followed. Look at the keypoints there, or choose another person."
        )
    keypoints = _hands_to_wrists(keypoints)
    _check_body(keypoints, width, height)
    return PoseTrack(keypoints, width, height, Fraction(fps), boxes)


def _parse(frames: Any) -> list[dict]:
    if isinstance(frames, (str, bytes)):
        frames = read_json(frames, Any, "pose keypoints: the text", "connect POSE_KEYPOINT from a pose node")
    frames = [frames] if isinstance(frames, dict) else frames
    right = isinstance(frames, (list, tuple)) and len(frames) > 0 and all(isinstance(frame, dict) for frame in frames)
    if not right or not all("people" in frame for frame in frames):
        raise InputError(
            "pose keypoints: a list of frames with people, canvas_width and canvas_height was expected (OpenPose "
            "JSON); connect POSE_KEYPOINT from a pose node."
        )
    if len(frames) > MOST_FRAMES:
        raise InputError(f"pose keypoints: they are of {len(frames):,} frames, at most {MOST_FRAMES:,} are read.")
    return list(frames)


def _canvas(frames: list[dict]) -> tuple[int, int]:
    sizes = set()
    for frame in frames:
        width, height = frame.get("canvas_width"), frame.get("canvas_height")
        sides = [side for side in (width, height) if isinstance(side, (int, float)) and 1 <= side <= MOST_PIXELS]
        if len(sides) < 2 or sides[0] * sides[1] > MOST_PIXELS:
            raise InputError(
                f"pose keypoints: canvas_width and canvas_height are {shown(width)} and {shown(height)}, but they must "
                f"be the frame's size in pixels, {MOST_PIXELS // 10**6} million at most."
            )
        sizes.add((int(sides[0]), int(sides[1])))
    if len(sizes) != 1:
        raise InputError(
            f"pose keypoints: the frames have canvases of {len(sizes)} sizes, but those of one clip have one; detect "
            "the pose of one clip."
        )
    return sizes.pop()


def _people(frame: dict, index: int) -> list[dict]:
    people = frame["people"] or []
    if not isinstance(people, (list, tuple)):
        raise InputError(f"pose keypoints: people of frame {index} is {shown(people)}, but a list was expected.")
    if len(people) > MOST_PEOPLE:
        raise InputError(
            f"pose keypoints: frame {index} has {len(people):,} people, and at most {MOST_PEOPLE} are followed; take "
            "the larger ones."
        )
    return [entry for entry in people if isinstance(entry, dict) and entry.get("pose_keypoints_2d")]


def _points(entry: dict, key: str, index: int) -> np.ndarray:
    try:
        given = entry.get(key) or []
        if len(given) > MOST_NUMBERS:
            raise ValueError("too many")
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and left out
            points = np.array(given, np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"pose keypoints: {key} of frame {index} holds something that is not a number.") from error
    if points.size % 3:
        raise InputError(
            f"pose keypoints: {key} of frame {index} has {points.size} numbers, but x, y and confidence of each point "
            "were expected."
        )
    points = points.reshape(-1, 3)
    points[~np.isfinite(points).all(axis=1) | (points[:, 2] <= 0) | (points[:, :2] < 0).all(axis=1)] = 0
    return points


def _person(entry: dict, index: int) -> np.ndarray:
    """float32 ``[133, 3]`` in the file's units."""
    body = _points(entry, "pose_keypoints_2d", index)
    order = {len(BODY_18): BODY_18, len(BODY_25): BODY_25}.get(len(body))
    if order is None:
        raise InputError(
            f"pose keypoints: frame {index} has a body of {len(body)} points, but 18 or 25 (OpenPose) were expected; "
            "use a node that finds people, not animals."
        )
    out = np.zeros((wholebody.COUNT, 3), np.float32)
    for at, joint in enumerate(order):
        if joint >= 0:
            out[joint] = body[at]
    parts = (
        ("foot_keypoints_2d", wholebody.FEET),
        ("face_keypoints_2d", wholebody.FACE),
        ("hand_left_keypoints_2d", wholebody.LEFT_HAND),
        ("hand_right_keypoints_2d", wholebody.RIGHT_HAND),
    )
    for key, part in parts:
        points = _points(entry, key, index)[: part.stop - part.start]
        if len(points):
            out[part.start : part.start + len(points)] = points
    out[:, 2] = out[:, 2].clip(0, 1)
    return out


def _to_pixels(
    people: list[list[np.ndarray]], width: int, height: int, say: Callable[[str], None]
) -> list[list[np.ndarray]]:
    """Other units as pixels; points far outside the canvas as 0, 0, 0."""
    every = [points for found in people for points in found]
    if not every:
        return people
    points, size = np.stack(every), np.array([width, height], np.float32)
    for note in units.to_pixels(points, np.repeat(np.arange(len(people)), list(map(len, people))), width, height):
        say(note)
    far = ((points[..., :2] < -BEYOND * size) | (points[..., :2] > (1 + BEYOND) * size)).any(axis=-1)
    points[far | (points[..., :2] == 0).all(axis=-1)] = 0  # whatever confidence is said
    one = iter(points)
    return [[next(one) for _ in found] for found in people]


def _check_body(keypoints: np.ndarray, width: int, height: int) -> None:
    points, seen = keypoints[..., :2].astype(np.float64), keypoints[..., 2] > 0
    body = seen[:, wholebody.BODY]
    enough = body.sum(axis=1) >= 5
    if not enough.any():
        return
    where, shown = points[enough][:, wholebody.BODY], body[enough]
    size, canvas = np.array([width, height]), f"the canvas of {width}x{height}"
    inside = ((where >= -0.25 * size) & (where <= 1.25 * size)).all(axis=-1)
    if inside[shown].mean() < 0.5:
        x, y = np.median(where[shown], axis=0)
        raise InputError(
            f"pose keypoints: most points of the body lie outside {canvas} (about {x:.0f}, {y:.0f}); they belong to a "
            "picture of another size: detect the pose again, or give the canvas the size that they were found at."
        )
    known = np.where(shown[..., None], where, np.nan)
    extents = np.full(len(keypoints), np.nan)
    extents[enough] = (np.nanmax(known, axis=1) - np.nanmin(known, axis=1)).max(axis=1)
    extent = float(np.nanmedian(extents))
    if extent < SMALLEST * min(width, height):
        raise InputError(
            f"pose keypoints: the body is {extent:.1f} pixels large on {canvas}, too small to be one; give coordinates "
            "in pixels, or all of them as fractions of the canvas."
        )
    for name, part, joints in (
        ("left hand", [wholebody.LEFT_HAND.start], [wholebody.LEFT_WRIST]),
        ("right hand", [wholebody.RIGHT_HAND.start], [wholebody.RIGHT_WRIST]),
        ("face", [*range(*wholebody.FACE.indices(wholebody.COUNT))], HEAD),
    ):
        both = enough & seen[:, part].any(axis=1) & seen[:, joints].any(axis=1)
        if not both.any():
            continue
        middles = [
            np.nanmean(np.where(seen[both][:, some, None], points[both][:, some], np.nan), axis=1)
            for some in (part, joints)
        ]
        apart = np.linalg.norm(middles[0] - middles[1], axis=1)
        if np.median(apart / np.maximum(extents[both], 1e-6)) > APART:
            joint = "the head" if name == "face" else "its wrist"
            raise InputError(
                f"pose keypoints: the {name} lies {np.median(apart):.0f} pixels from {joint} in most frames, which no "
                f"body of {extent:.0f} pixels has; its coordinates are of another picture or another unit than the "
                "body's: detect the pose again, or leave that part out."
            )


def _box(points: np.ndarray) -> np.ndarray:
    seen = points[points[:, 2] > 0]
    body = points[wholebody.BODY][points[wholebody.BODY, 2] > 0]
    if len(body) >= 5:
        middle = np.median(body[:, :2], axis=0)
        spread = np.median(np.linalg.norm(body[:, :2] - middle, axis=1))
        near = np.linalg.norm(seen[:, :2] - middle, axis=1) <= STRAY * spread
        seen = seen[near] if near.any() else seen
    return np.array([*seen[:, :2].min(axis=0), *seen[:, :2].max(axis=0), seen[:, 2].mean()], np.float32)


def _follow(
    candidates: list[np.ndarray],
    width: int,
    height: int,
    fps: float,
    choice: PersonChoice,
    report: Callable[[int, int], None],
) -> np.ndarray:
    choice.check(len(candidates))
    nobody = np.array([0, 0, width, height, WHOLE_FRAME], np.float32)
    same = np.full(APPEARANCE_SIZE, APPEARANCE_SIZE**-0.5, np.float32)  # no picture, so no appearance
    found = [
        FrameDetections(
            boxes, np.tile(same, (len(boxes), 1)), boxes[int(area(boxes).argmax())] if len(boxes) else nobody
        )
        for boxes in candidates
    ]
    shot = shot_people(found, 0, len(found), fps, report=report)
    choose([shot], choice, width, height)
    return shot.boxes


def _hands_to_wrists(keypoints: np.ndarray) -> np.ndarray:
    """Swaps hands nearer to each other's wrist in the median frame."""
    hands = (wholebody.LEFT_HAND, wholebody.RIGHT_HAND)
    wrists = (wholebody.LEFT_WRIST, wholebody.RIGHT_WRIST)
    roots = keypoints[:, [hand.start for hand in hands]]
    ends = keypoints[:, list(wrists)]
    margins = []
    for hand in (0, 1):
        seen = (roots[:, hand, 2] > 0) & (ends[..., 2] > 0).all(axis=1)
        own, other = (np.linalg.norm(roots[seen, hand, :2] - ends[seen, side, :2], axis=1) for side in (hand, 1 - hand))
        margins.append(other - own)
    apart = np.concatenate(margins)
    if len(apart) == 0 or np.median(apart) >= 0:
        return keypoints
    swapped = keypoints.copy()
    swapped[:, hands[0]], swapped[:, hands[1]] = keypoints[:, hands[1]], keypoints[:, hands[0]]
    return swapped
