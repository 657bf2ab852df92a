"""Frames where the segmenter lost the person."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..errors import InputError
from ..pose.track import PoseTrack
from ..shots import shots_of
from .from_pose import silhouette
from .prompts import FEWEST, body_points
from .track import MaskTrack, pack

FILLS = ("pose", "between", "leave")
HELD = 0.5  # share of the confident body points that must lie in the mask
OWN = 0.5  # share of the mask that must lie in the pose's outline, grown by GENEROUS
GENEROUS = 1.6
READ_AT_ONCE = 8


def find_lost(
    masks: MaskTrack, pose: PoseTrack | None, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """bool ``[T]``: frames whose mask is not the person of the pose (in pixels of the masks).

    Less than half of three or more confident body points lie in the mask, or most of the mask outside the pose's
    outline. With fewer points, an empty mask is lost.
    """
    count, height, width = masks.shape
    lost = np.zeros(count, bool)
    for start in range(0, count, READ_AT_ONCE):
        stop = min(start + READ_AT_ONCE, count)
        for frame, mask in enumerate(masks.read(start, stop), start):
            if pose is None:
                lost[frame] = not mask.any()
                continue
            points = body_points(pose.keypoints[frame], width, height)
            if len(points) < FEWEST:
                lost[frame] = not mask.any() and pose.body_found[frame]
            else:
                lost[frame] = not _is_person(mask, points, pose.keypoints[frame])
        if progress is not None:
            progress(stop, count)
    return lost


def _is_person(mask: np.ndarray, points: np.ndarray, keypoints: np.ndarray) -> bool:
    at = points.astype(int)
    if mask[at[:, 1], at[:, 0]].mean() < HELD:
        return False
    outline = _outline(keypoints, mask.shape, grow=GENEROUS)
    return bool((mask & outline).sum() >= OWN * mask.sum())


def _outline(
    keypoints: np.ndarray, shape: tuple[int, ...], grow: float = 1.0, box: np.ndarray | None = None
) -> np.ndarray:
    return silhouette(keypoints, shape[1], shape[0], grow, box=box)


def fill_lost(masks: MaskTrack, lost: np.ndarray, pose: PoseTrack | None, how: str = "pose") -> MaskTrack:
    """Fills the lost frames.

    Args:
        how: "pose": the pose's outline, else as "between"; "between": interpolated within the shot; "leave": unchanged.

    Raises:
        InputError: unknown ``how``.
    """
    if how not in FILLS:
        raise InputError(f"segment character: fill is {how!r}, but it must be one of {', '.join(FILLS)}.")
    if how == "leave" or not lost.any():
        return masks
    count = len(masks)
    packed = list(masks.packed)
    for frame in np.flatnonzero(lost):
        mask = None
        if how == "pose" and pose is not None:
            box = None if pose.boxes is None else pose.boxes[frame]
            outline = _outline(pose.keypoints[frame], masks.shape[1:], box=box)
            mask = outline if outline.any() else None
        if mask is None:
            mask = _between(masks, lost, int(frame), _shot_of(int(frame), count, pose))
        packed[frame] = pack(mask)
    return MaskTrack(tuple(packed), masks.shape, masks.fps)


def _shot_of(frame: int, count: int, pose: PoseTrack | None) -> tuple[int, int]:
    shots = shots_of(pose.cuts if pose is not None else (), count)
    return next((start, stop) for start, stop in shots if start <= frame < stop)


def _between(masks: MaskTrack, lost: np.ndarray, frame: int, shot: tuple[int, int]) -> np.ndarray:
    """Interpolated signed distance of the nearest good masks, or the only one."""
    good = np.flatnonzero(~lost[shot[0] : shot[1]]) + shot[0]
    before, after = good[good < frame], good[good > frame]
    if len(before) == 0 and len(after) == 0:
        return masks.read(frame, frame + 1)[0]
    if len(before) == 0 or len(after) == 0:
        nearest = int(before[-1] if len(before) else after[0])
        return masks.read(nearest, nearest + 1)[0]
    first, last = int(before[-1]), int(after[0])
    share = (frame - first) / (last - first)
    earlier, later = (masks.read(at, at + 1)[0] for at in (first, last))
    if not (earlier.any() and later.any()):
        return earlier if share < 0.5 else later
    return ((1 - share) * _depth(earlier) + share * _depth(later) > 0).astype(np.uint8)


def _depth(mask: np.ndarray) -> np.ndarray:
    """Signed distance to the outline in pixels, positive inside."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    return inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
