"""Preview of retargeting."""

from __future__ import annotations

import cv2
import numpy as np

from ..pose.draw import LIMBS, draw_pose, drawn_points
from ..pose.track import PoseTrack
from ..video.frames import FrameSource, read_uint8
from ..video.resample import letterbox

_HEIGHT = 384
_GAP, _LABEL = 6, 26
_PAPER, _INK, _GREY = (24, 24, 27), (235, 235, 235), (150, 150, 155)


def retarget_sheet(
    driver: PoseTrack,
    reference: PoseTrack,
    result: PoseTrack,
    frames: FrameSource | None = None,
    picture: np.ndarray | None = None,
    first: int = 0,
    moments: int = 5,
) -> np.ndarray:
    """uint8 ``[H, W, 3]`` RGB: driver above, result and (grey) reference below, a column per moment.

    Args:
        driver, result: tracks of the same length.
        reference: one frame, in pixels of the result's picture.
        picture: reference picture, uint8 ``[H, W, 3]`` RGB.
        first: a frame that must be shown.
    """
    chosen = np.linspace(0, len(driver) - 1, min(moments, len(driver))).round().astype(int)
    chosen[np.abs(chosen - first).argmin()] = first
    width = max(_width(driver), _width(result))
    blank = np.full((_LABEL + 2 * _HEIGHT + _GAP, width + _GAP, 3), _PAPER, np.uint8)
    out = []
    for at in chosen.tolist():
        above = _canvas(driver, read_uint8(frames, at, at + 1)[0] if frames is not None else None, 1.0)
        draw_pose(above, _small(driver).keypoints[at])
        below = _canvas(result, picture, 0.35)
        _draw_limbs(below, _small(reference).keypoints[0])
        draw_pose(below, _small(result).keypoints[at])
        column = blank.copy()
        cv2.putText(column, f"{at}", (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
        for top, image in ((_LABEL, above), (_LABEL + _HEIGHT + _GAP, below)):
            left = (width - image.shape[1]) // 2
            column[top : top + _HEIGHT, left : left + image.shape[1]] = image
        out.append(column)
    return np.concatenate(out, axis=1)


def _width(track: PoseTrack) -> int:
    return max(round(track.width * _HEIGHT / track.height), 1)


def _small(track: PoseTrack) -> PoseTrack:
    return track.scaled(_width(track), _HEIGHT)


def _canvas(track: PoseTrack, picture: np.ndarray | None, light: float) -> np.ndarray:
    width = _width(track)
    if picture is None:
        return np.zeros((_HEIGHT, width, 3), np.uint8)
    fitted = letterbox(np.ascontiguousarray(picture), width, _HEIGHT)
    return np.ascontiguousarray((fitted * light).astype(np.uint8))


def _draw_limbs(canvas: np.ndarray, keypoints: np.ndarray) -> None:
    body, _, _ = drawn_points(keypoints, canvas.shape[1], canvas.shape[0])
    for a, b in LIMBS:
        if body[a, 2] >= 0.5 and body[b, 2] >= 0.5:
            start, end = np.rint(body[[a, b], :2]).astype(int).tolist()
            cv2.line(canvas, start, end, _GREY, 1, cv2.LINE_AA)
