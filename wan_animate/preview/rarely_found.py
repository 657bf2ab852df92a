"""A node's picture for a pose found in too few frames."""

from __future__ import annotations

import numpy as np

from ..pose.draw import draw_pose
from ..pose.track import PoseTrack
from ..video.resample import letterbox
from .canvas import with_warnings

_WIDTH, _HEIGHT = 640, 360


def found_picture(track: PoseTrack, warning: str) -> np.ndarray:
    """uint8 ``[H, 640, 3]`` RGB: a skeleton above the warning."""
    found = np.flatnonzero(track.body_found)
    scale = min(_WIDTH / track.width, _HEIGHT / track.height)
    small = track.scaled(max(round(track.width * scale), 1), max(round(track.height * scale), 1))
    canvas = np.zeros((small.height, small.width, 3), np.uint8)
    if len(found):
        draw_pose(canvas, small.keypoints[found[len(found) // 2]])
    return with_warnings(letterbox(canvas, _WIDTH, _HEIGHT), [warning])
