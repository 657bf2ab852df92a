"""The box around the character in every frame, from its pose and mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import median_filter

from ..errors import InputError
from ..mask.from_pose import SEEN, silhouette
from ..mask.track import binary
from ..pose import wholebody
from ..pose.track import PoseTrack
from ..video.frames import FrameSource
from ..video.resample import placement

_DRAWN = 192  # height in pixels at which silhouettes are drawn to find their box

Rectangle = tuple[float, float, float, float]


def character_boxes(
    track: PoseTrack,
    frames: FrameSource,
    mask: FrameSource | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The character's box in pixels of ``frames``, float64 ``[T, 4]`` (x1, y1, x2, y2), NaN where it is not seen.

    With a mask: around the mask and the visible joints; parts of the mask that do not touch the skeleton's silhouette
    (somebody else, a speck) do not count. Without: around the silhouette of the skeleton
    (:func:`..mask.from_pose.silhouette`), a box that is another for one frame only left out.

    Args:
        track: of ``frames`` (:func:`..pose.track.fit_track`), of any size.
        mask: of the same clip, of the track's size or another (:func:`mask_picture`).
        progress: called with (frames done, frames) while the mask is read.

    Raises:
        InputError: the mask is of another length.
    """
    on_frames = track.onto(frames)
    if mask is None:
        return _silhouettes(on_frames)
    if len(mask) != len(frames):
        raise InputError(
            f"crop: there are {len(frames)} frames and {len(mask)} masks; make the mask from the same clip."
        )
    boxes = _joints(on_frames)
    left, top, width, height = mask_picture(mask, track, frames)
    x, y, shown_width, shown_height = whole_picture(frames)
    scale = np.array([shown_width / width, shown_height / height])
    small = _drawn(_on_mask(on_frames, mask, 1 / scale, np.array([left, top]) - np.array([x, y]) / scale))
    cell = np.array([mask.width / small.width, mask.height / small.height])
    for start, stop, masks in mask.batches(mask.chunk):
        for at, image in enumerate(binary(masks), start):
            found = _of_person(image, small, at)
            if found is not None:
                low, high = ((corner * cell - (left, top)) * scale + (x, y) for corner in (found[:2], found[2:]))
                boxes[at] = np.concatenate([np.fmin(boxes[at, :2], low), np.fmax(boxes[at, 2:], high)])
        if progress is not None:
            progress(stop, len(mask))
    return boxes


def whole_picture(frames: FrameSource) -> Rectangle:
    """(left, top, width, height) of the clip's whole picture in the frames."""
    return frames.picture or (0.0, 0.0, float(frames.width), float(frames.height))


def mask_picture(mask: FrameSource, track: PoseTrack, frames: FrameSource) -> Rectangle:
    """(left, top, width, height) of the clip's whole picture in the masks, which lie on frames like the track's, like
    ``frames``, or are these resized."""
    size = mask.width, mask.height
    if mask.picture is not None:
        return mask.picture
    if size == (frames.width, frames.height):
        return whole_picture(frames)
    if size == (track.width, track.height) and track.picture is not None:
        return track.picture
    x, y, width, height = whole_picture(frames)
    left, top, across, down = placement(width, height, *size)
    return float(left), float(top), float(across), float(down)


def _on_mask(track: PoseTrack, mask: FrameSource, scale: np.ndarray, corner: np.ndarray) -> PoseTrack:
    """A track in pixels of the masks."""
    keypoints, boxes = track.keypoints.copy(), None if track.boxes is None else track.boxes.copy()
    keypoints[..., :2] = keypoints[..., :2] * scale + corner
    if boxes is not None:
        boxes[:, :4] = boxes[:, :4] * np.tile(scale, 2) + np.tile(corner, 2)
    return replace(track, keypoints=keypoints, boxes=boxes, width=mask.width, height=mask.height, picture=None)


def _drawn(track: PoseTrack) -> PoseTrack:
    """The track at the size that silhouettes are drawn at."""
    height = min(_DRAWN, track.height)
    return track.scaled(max(round(track.width * height / track.height), 1), height)


def _outline(small: PoseTrack, at: int) -> np.ndarray:
    box = None if small.boxes is None else small.boxes[at]
    return silhouette(small.keypoints[at], small.width, small.height, box=box)


def _of_person(mask: np.ndarray, small: PoseTrack, at: int) -> np.ndarray | None:
    """x1, y1, x2, y2, in pixels of ``small``, of the mask's parts that touch the silhouette; of the whole mask where
    there is no silhouette. None for an empty mask."""
    coarse = cv2.resize(mask * np.uint8(255), (small.width, small.height), interpolation=cv2.INTER_AREA)
    coarse = (coarse > 0).astype(np.uint8)
    outline = _outline(small, at)
    if outline.any():
        _, labels = cv2.connectedComponents(coarse)
        touched = np.unique(labels[outline > 0])
        coarse = np.isin(labels, touched[touched > 0]).astype(np.uint8)
    a, b, across, down = cv2.boundingRect(coarse)
    return np.array([a, b, a + across, b + down], np.float64) if across else None


def _silhouettes(track: PoseTrack) -> np.ndarray:
    small = _drawn(track)
    scale = np.array([track.width / small.width, track.height / small.height] * 2)
    boxes = np.full((len(track), 4), np.nan)
    for at in range(len(track)):
        a, b, across, down = cv2.boundingRect(_outline(small, at))
        if across:
            boxes[at] = np.array([a, b, a + across, b + down]) * scale
    for start, stop in track.shots:
        shot = boxes[start:stop]
        seen = ~np.isnan(shot).any(axis=1)
        between = np.zeros(len(shot), bool)
        between[1:-1] = seen[1:-1] & seen[:-2] & seen[2:]
        steady = median_filter(np.nan_to_num(shot), size=(3, 1), mode="nearest")
        shot[between] = steady[between]
    return boxes


def _joints(track: PoseTrack) -> np.ndarray:
    """Box of the visible body and hands."""
    points, confidence = track.keypoints[..., :2].astype(np.float64), track.keypoints[..., 2]
    inside = ((points >= 0) & (points < (track.width, track.height))).all(axis=2) & (confidence >= SEEN)
    inside[:, wholebody.FACE] = False
    inside &= track.body_found[:, None]
    low = np.where(inside[..., None], points, np.inf).min(axis=1)
    high = np.where(inside[..., None], points, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
    return boxes
