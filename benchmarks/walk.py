"""A generated walk: the drawn dancer crosses a large room, in a clip of any size that is made frame by frame."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np

from demo.figure import draw_figure, figure_keypoints
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import FrameSource
from wan_animate.video.write import write_parts

FPS = 30


class Walk(FrameSource):
    """The clip.

    Args:
        speed: of the walk, in pixels a frame.
        tall: height of the dancer over the frame's.
    """

    def __init__(
        self, count: int, width: int = 3840, height: int = 2160, speed: float = 1.5, tall: float = 0.3
    ) -> None:
        self.width, self.height, self.fps = width, height, Fraction(FPS)
        self._count, self._speed, self._tall = count, speed, tall

    def __len__(self) -> int:
        return self._count

    def keypoints(self, at: int) -> np.ndarray:
        """float32 ``[133, 3]`` of a frame."""
        centre = 0.3 + self._speed * at / self.width
        return figure_keypoints(at / FPS, self.width, self.height, (centre, 0.62), self._tall)

    def _read(self, start: int, stop: int) -> np.ndarray:
        drawn = [draw_figure(self.keypoints(at), self.width, self.height, marked=False) for at in range(start, stop)]
        return np.stack(drawn)

    def fingerprint(self) -> str:
        return f"walk:{self._count}:{self.width}x{self.height}:{self._speed}:{self._tall}"

    def track(self) -> PoseTrack:
        """The true pose."""
        points = np.stack([self.keypoints(at) for at in range(self._count)])
        return PoseTrack(points, self.width, self.height, self.fps, start_seconds=0.0)

    def write(self, path: str | os.PathLike) -> None:
        """Write it as an mp4, a frame in memory at a time."""
        chunks = (self.read(at, at + 1) for at in range(self._count))
        write_parts(path, [chunks], (self.width, self.height), self._count, self.fps, crf=20)
