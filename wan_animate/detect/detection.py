"""The result of a pose detector."""

from __future__ import annotations

from dataclasses import dataclass

from ..people.choosing import Shot
from ..pose.track import PoseTrack


@dataclass(frozen=True, eq=False)
class Detection:
    """Pose of the chosen person, and everybody in view.

    Attributes:
        track: keypoints, boxes and cuts.
        shots: the people between the cuts; empty if the detector sees only one person.
    """

    track: PoseTrack
    shots: list[Shot]
