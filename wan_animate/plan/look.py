"""Whether a person is in a clip, from some of its frames."""

from __future__ import annotations

import os

import numpy as np

from ..detect.detector import find_everybody
from ..detect.model_checks import check_detector
from ..detect.onnx_model import OnnxModel
from ..people.tracks import MIN_START_SCORE
from ..text import frame_ranges
from ..video.frames import FrameSource, read_uint8
from .findings import LEAVE_OUT, Finding

MOST = 48  # frames that are looked at


def look_for_people(detector: str | os.PathLike, frames: FrameSource) -> Finding | None:
    """Frames without a person, from at most :data:`MOST` of them, evenly spread.

    Args:
        detector: a person detector's ONNX file.

    Raises:
        InputError: it is another network, or cannot be read.
    """
    network = OnnxModel(detector, "auto", "person detector")
    try:
        size = check_detector(network)
        at = np.unique(np.linspace(0, len(frames) - 1, min(MOST, len(frames))).round().astype(int))
        found = np.zeros(len(at), bool)
        for place, frame in enumerate(at.tolist()):
            (people,) = find_everybody(network, size, read_uint8(frames, frame, frame + 1))
            found[place] = bool((people.boxes[:, 4] >= MIN_START_SCORE).any())
    finally:
        network.close()
    if found.all():
        return None
    lost = np.zeros(len(frames), bool)
    for place in np.flatnonzero(
        ~found
    ).tolist():  # with those up to the next that was looked at, if it has nobody either
        alike = place + 1 < len(at) and not found[place + 1]
        lost[at[place] : at[place + 1] if alike else at[place] + 1] = True
    where = "any frame" if not found.any() else f"frames {frame_ranges(lost)}"
    every = "" if len(at) == len(frames) else f" ({len(at)} of {len(frames)} frames were looked at)"
    return Finding("no_person", f"nobody was found in {where}{every}", LEAVE_OUT)
