"""Frames in which a segmenter lost the person, told by the pose, and what goes there instead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from ..errors import InputError
from ..pose.track import PoseTrack
from .from_pose import silhouette
from .prompts import FEWEST, body_points
from .track import MaskTrack, pack

FILLS = ("pose", "between", "leave")
HELD = 0.5  # of the body's sure points must lie in the mask
OWN = 0.5  # of the mask must lie in the pose's outline, drawn generously
GENEROUS = 1.6
READ_AT_ONCE = 8


def find_lost(masks: MaskTrack, pose: PoseTrack | None, progress: Callable[[int, int], None] | None = None):
    """Frames whose mask is not the person of the pose.

    A frame is lost when fewer than half of the body's sure points (three or more of them) lie in its mask, or when most
    of the mask lies away from the pose's outline. Where the pose is not sure, or there is none, an empty mask is lost.

    Args:
        masks: of the clip.
        pose: of the same clip, in pixels of the masks.

    Returns:
        bool ``[T]``.
    """
    count, height, width = masks.shape
    lost = np.zeros(count, bool)
    for start in range(0, count, READ_AT_ONCE):
        stop = min(start + READ_AT_ONCE, count)
        for frame, mask in enumerate(masks.read(start, stop), start):
            points = body_points(pose.keypoints[frame], width, height) if pose is not None else ()
            if len(points) < FEWEST:
                lost[frame] = not mask.any() and (pose is None or pose.body_found[frame])
            else:
                lost[frame] = not _is_person(mask, points, pose.keypoints[frame])
        if progress is not None:
            progress(stop, count)
    return lost


def _is_person(mask: np.ndarray, points: np.ndarray, keypoints: np.ndarray) -> bool:
    at = points.astype(int)
    if mask[at[:, 1], at[:, 0]].mean() < HELD:
        return False
    outline = silhouette(keypoints, mask.shape[1], mask.shape[0], grow=GENEROUS)
    return bool((mask & outline).sum() >= OWN * mask.sum())


def fill_lost(masks: MaskTrack, lost: np.ndarray, pose: PoseTrack | None, how: str = "pose") -> MaskTrack:
    """The masks with something better in the lost frames.

    Args:
        masks, lost, pose: as in :func:`find_lost`.
        how: "pose": the pose's outline (as "between" where the pose shows nobody); "between": a shape between the good
            masks before and after in the same shot; "leave": nothing.

    Raises:
        InputError: ``how`` is none of these.
    """
    if how not in FILLS:
        raise InputError(f"segment character: fill is {how!r}, but it must be one of {', '.join(FILLS)}.")
    if how == "leave" or not lost.any():
        return masks
    count, height, width = masks.shape
    packed = list(masks.packed)
    for frame in np.flatnonzero(lost):
        mask = None
        if how == "pose" and pose is not None:
            box = None if pose.boxes is None else pose.boxes[frame]
            outline = silhouette(pose.keypoints[frame], width, height, box=box)
            mask = outline if outline.any() else None
        if mask is None:
            mask = _between(masks, lost, int(frame), _shot_of(int(frame), count, pose))
        packed[frame] = pack(mask)
    return MaskTrack(tuple(packed), masks.shape, masks.fps)


def _shot_of(frame: int, count: int, pose: PoseTrack | None) -> tuple[int, int]:
    edges = (0, *(pose.cuts if pose is not None else ()), count)
    return next((start, stop) for start, stop in pairwise(edges) if start <= frame < stop)


def _between(masks: MaskTrack, lost: np.ndarray, frame: int, shot: tuple[int, int]) -> np.ndarray:
    """A shape between the nearest good masks, by their distances to the outline; the nearest one at an end."""
    good = np.flatnonzero(~lost[shot[0] : shot[1]]) + shot[0]
    before, after = good[good < frame], good[good > frame]
    if len(before) == 0 and len(after) == 0:
        return masks.read(frame, frame + 1)[0]
    if len(before) == 0 or len(after) == 0:
        nearest = int(before[-1] if len(before) else after[0])
        return masks.read(nearest, nearest + 1)[0]
    first, last = int(before[-1]), int(after[0])
    share = (frame - first) / (last - first)
    one, other = (masks.read(at, at + 1)[0] for at in (first, last))
    if not (one.any() and other.any()):
        return one if share < 0.5 else other
    return ((1 - share) * _depth(one) + share * _depth(other) > 0).astype(np.uint8)


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the outline in pixels, positive inside."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    return inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
