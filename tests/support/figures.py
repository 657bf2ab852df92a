"""The drawn dancer as test material: true tracks, and which of its joints a picture really shows."""

from __future__ import annotations

import numpy as np

from demo.figure import BALL, MARKS, draw_figure, figure_keypoints, figure_scale, mark_weights
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import FrameSource, TensorSource


def dancer_keypoints(times, width: int, height: int, **place) -> np.ndarray:
    """``[T, 133, 3]``; ``place`` as in :func:`demo.figure.figure_keypoints`."""
    return np.stack([figure_keypoints(time, width, height, **place) for time in times])


def dancer_track(frames: int, width: int, height: int, fps: int = 30, **place) -> PoseTrack:
    """The true track of a clip of the dancer."""
    return PoseTrack(dancer_keypoints(np.arange(frames) / fps, width, height, **place), width, height, fps)


def shown_whole(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """bool ``[133]``: every ball that decides the joint lies whole in the picture, not covered by another."""
    marks = keypoints[list(MARKS), :2]
    reach = BALL * figure_scale(keypoints) * 1.3
    inside = (marks >= reach).all(axis=1) & (marks <= (width - 1 - reach, height - 1 - reach)).all(axis=1)
    apart = np.linalg.norm(marks[:, None] - marks, axis=-1) + np.diag(np.full(len(marks), np.inf))
    clear = inside & (apart.min(axis=1) > 2 * reach)
    needed = np.abs(mark_weights()) > 1e-9
    return (~needed | clear).all(axis=1)


class DancerSource(FrameSource):
    """The dancer's clip, drawn when it is read; ``empty`` frames show the room alone."""

    def __init__(self, keypoints: np.ndarray, width: int, height: int, empty=(), fps: int = 30):
        from fractions import Fraction

        self.keypoints, self.width, self.height, self.empty = keypoints, width, height, set(empty)
        self.fps = Fraction(fps)
        self.longest_read = 0

    def __len__(self) -> int:
        return len(self.keypoints)

    def _read(self, start: int, stop: int) -> np.ndarray:
        from demo.figure import room

        self.longest_read = max(self.longest_read, stop - start)
        return np.stack(
            [
                room(self.width, self.height)
                if index in self.empty
                else draw_figure(self.keypoints[index], self.width, self.height)
                for index in range(start, stop)
            ]
        )

    def fingerprint(self) -> str:
        return f"dancer:{self.width}x{self.height}:{hash(self.keypoints.tobytes())}:{sorted(self.empty)}"


class DrawnOnce(TensorSource):
    """The same clip drawn beforehand, for detecting it several times."""

    def __init__(self, keypoints):
        super().__init__(DancerSource(keypoints, 320, 400).read(0, len(keypoints)))
