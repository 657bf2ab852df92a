"""The places where one segment takes over from another, as they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWS = 1.5  # times the usual difference
LEAST = 0.5  # of 255: a smaller difference is not seen, and not the usual one of a still clip either


@dataclass(frozen=True)
class Boundary:
    """The place where a segment takes over from the one before.

    Attributes:
        segment: the one that begins, from 0.
        frame: its first new frame in the clip.
        difference: the largest between neighbouring frames there, mean of 0..255.
        usual: the median around it.
        driver: how much more the driver moves there than around it, at least 1.
    """

    segment: int
    frame: int
    difference: float
    usual: float
    driver: float = 1.0

    @property
    def ratio(self) -> float:
        """The difference over the one to be expected."""
        return self.difference / (max(self.usual, LEAST) * self.driver)

    @property
    def shows(self) -> bool:
        return self.ratio > SHOWS

    def __str__(self) -> str:
        return (
            f"segment {self.segment + 1} begins at frame {self.frame}: difference {self.difference:.2f}, "
            f"{self.ratio:.2f} times the usual"
        )


def boundary_report(boundaries: Sequence[Boundary]) -> str:
    """The boundaries in a few lines, those that show named with what can be done."""
    if not boundaries:
        return ""
    shown = [boundary for boundary in boundaries if boundary.shows]
    worst = max(boundaries, key=lambda boundary: boundary.ratio)
    if not shown:
        return f"no boundary between segments shows (the most: {worst})"
    lines = [f"{len(shown)} of {len(boundaries)} boundaries between segments show:", *map(str, shown)]
    return "\n".join([*lines, "make such a segment again with a seed of its own, or cross-fade over more frames."])
