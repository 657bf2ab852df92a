"""What a pose detector returns."""

from __future__ import annotations

from dataclasses import dataclass

from ..people.choosing import Shot
from ..pose.track import PoseTrack


@dataclass(frozen=True, eq=False)
class Detection:
    """The chosen person's pose, and everybody in view.

    Attributes:
        track: keypoints, boxes and cuts.
        shots: people between cuts; empty if the detector sees one only.
    """

    track: PoseTrack
    shots: list[Shot]
