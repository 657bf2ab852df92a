"""A pose that was found too rarely: said where it is used, and shown."""

from __future__ import annotations

import numpy as np

from ..log import get_logger
from ..text import found_too_little
from ..video.resample import letterbox
from .draw import draw_pose
from .track import PoseTrack

log = get_logger(__name__)

_WIDTH, _HEIGHT = 640, 360


def warn_if_rarely_found(track: PoseTrack, who: str) -> str | None:
    """A warning, also in the log as ``who``'s, where a body was found in less than half of the frames."""
    words = found_too_little(track.body_found)
    if words:
        log.warning("%s: %s", who, words)
    return words


def found_picture(track: PoseTrack, words: str) -> np.ndarray:
    """The skeleton of a frame in which a body was found, if there is one, with the warning beneath it; uint8
    ``[H, 640, 3]`` RGB."""
    from ..preview.canvas import with_warnings

    found = np.flatnonzero(track.body_found)
    scale = min(_WIDTH / track.width, _HEIGHT / track.height)
    small = track.scaled(max(round(track.width * scale), 1), max(round(track.height * scale), 1))
    canvas = np.zeros((small.height, small.width, 3), np.uint8)
    if len(found):
        draw_pose(canvas, small.keypoints[found[len(found) // 2]])
    return with_warnings(letterbox(canvas, _WIDTH, _HEIGHT), [words])
