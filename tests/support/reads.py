"""A frame source that records what is read of it."""

import numpy as np

from wan_animate.video.frames import TensorSource


class RecordedSource(TensorSource):
    """Attributes:
    reads: the ranges read, in order.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.reads: list[tuple[int, int]] = []
        self.closed = 0

    def _read(self, start: int, stop: int) -> np.ndarray:
        self.reads.append((start, stop))
        return super()._read(start, stop)

    def close(self) -> None:
        self.closed += 1
