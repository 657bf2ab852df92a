"""Preview of retargeting."""

from __future__ import annotations

import cv2
import numpy as np

from ..pose.draw import LIMBS, draw_pose, drawn_points
from ..pose.track import PoseTrack
from ..video.frames import FrameSource, read_uint8
from ..video.resample import letterbox

_HEIGHT = 384
ROOM = 0.85
"""Width over height of what the node has for its picture."""
_GAP, _LABEL = 6, 26
_PAPER, _INK, _GREY = (24, 24, 27), (235, 235, 235), (150, 150, 155)


def retarget_sheet(
    driver: PoseTrack,
    reference: PoseTrack,
    result: PoseTrack,
    frames: FrameSource | None = None,
    picture: np.ndarray | None = None,
    first: int = 0,
    moments: int = 3,
) -> np.ndarray:
    """uint8 ``[H, W, 3]`` RGB: driver, and result over the (grey) reference, of each moment.

    Beside each other with the moments below, or below each other with the moments beside: as they are larger in a room of
    :data:`ROOM`.

    Args:
        driver, result: tracks of the same length.
        reference: one frame, in pixels of the result's picture.
        picture: reference picture, uint8 ``[H, W, 3]`` RGB.
        first: a frame that must be shown.
    """
    chosen = np.linspace(0, len(driver) - 1, min(moments, len(driver))).round().astype(int)
    chosen[np.abs(chosen - first).argmin()] = first
    widths = _width(driver), _width(result)
    columns = len(chosen) * (max(widths) + _GAP), _LABEL + 2 * (_HEIGHT + _GAP)
    rows = sum(widths) + 2 * _GAP, len(chosen) * (_LABEL + _HEIGHT + _GAP)
    beside = min(ROOM / rows[0], 1 / rows[1]) > min(ROOM / columns[0], 1 / columns[1])
    out = []
    for at in chosen.tolist():
        shown = _canvas(driver, read_uint8(frames, at, at + 1)[0] if frames is not None else None, 1.0)
        draw_pose(shown, _small(driver).keypoints[at])
        made = _canvas(result, picture, 0.35)
        _draw_limbs(made, _small(reference).keypoints[0])
        draw_pose(made, _small(result).keypoints[at])
        out.append(_pair(shown, made, beside, f"{at}"))
    return np.concatenate(out, axis=0 if beside else 1)


def _pair(first: np.ndarray, second: np.ndarray, beside: bool, label: str) -> np.ndarray:
    """Two pictures of one height, beside or below each other, with a label above."""
    wide = [first.shape[1], second.shape[1]]
    height = _LABEL + (_HEIGHT + _GAP) * (1 if beside else 2)
    out = np.full((height, (sum(wide) + _GAP if beside else max(wide)) + _GAP, 3), _PAPER, np.uint8)
    cv2.putText(out, label, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
    lefts = [0, wide[0] + _GAP] if beside else [(max(wide) - one) // 2 for one in wide]
    tops = [_LABEL, _LABEL if beside else _LABEL + _HEIGHT + _GAP]
    for image, left, top in zip((first, second), lefts, tops, strict=True):
        out[top : top + _HEIGHT, left : left + image.shape[1]] = image
    return out


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
