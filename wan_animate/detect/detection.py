"""What a pose detector returns."""

from __future__ import annotations

from dataclasses import dataclass

from ..people.choosing import Shot
from ..pose.track import PoseTrack


@dataclass(frozen=True, eq=False)
class Detection:
    """Pose of the chosen person, and everybody in view.

    Attributes:
        track: keypoints, boxes and cuts.
        shots: people between the cuts; empty if the detector sees one person only.
    """

    track: PoseTrack
    shots: list[Shot]
