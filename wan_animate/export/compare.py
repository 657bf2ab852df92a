"""The driver and the result in one picture: side by side, or with a line that wipes over."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from ..errors import InputError
from ..video.derived import DerivedSource
from ..video.frames import FrameSource, as_uint8
from ..video.resample import letterbox

COMPARISONS = ("off", "side by side", "wipe")
_SECONDS = 4.0  # there and back
_LINE = 2  # pixels of each half of a frame 1000 wide


def compared(result: FrameSource, driver: FrameSource | None, how: str) -> FrameSource:
    """:class:`ComparedSource`, or for ``"off"`` the result. Raises InputError without a driver."""
    if how == "off":
        return result
    if driver is None:
        raise InputError(f"the comparison is {how}, but there is no driver: connect the driving video, or choose off.")
    return ComparedSource(result, driver, how)


class ComparedSource(DerivedSource):
    """A result with its driver, uint8 RGB; the driver's frame is the one at the same time.

    Args:
        result: its length, rate and size are the clip's; side by side is as wide as both.
        driver: any rate and size; scaled to the result's height, for a wipe to its size between black bars. Its last
            frame stays to the end.
        how: ``"side by side"`` (driver left) or ``"wipe"``: a line that goes over the picture and back in 4 seconds,
            left of it the driver.

    Raises:
        InputError: masks, or another ``how``.
    """

    def __init__(self, result: FrameSource, driver: FrameSource, how: str) -> None:
        if how not in COMPARISONS[1:]:
            raise InputError(f"the comparison is {how!r}, but it must be one of {', '.join(COMPARISONS[1:])}.")
        if driver.kind != "image" or result.kind != "image":
            raise InputError("a comparison is made of pictures, and this is a mask: connect the videos themselves.")
        super().__init__(result, driver)
        self.kind, self._driver, self._how = "image", driver, how
        self._begins = Fraction(0 if result.part_of is None else result.part_of[0]) / result.fps
        self._left = self.width
        if how == "side by side":
            self._left = max(round(driver.width * self.height / driver.height), 1)
            self.width += self._left

    def driver_frame(self, number: int) -> int:
        """The driver's frame at the time of the result's."""
        return min(round((self._begins + number / self.fps) * self._driver.fps), len(self._driver) - 1)

    def line(self, number: int) -> int:
        """Where the wipe is, pixels from the left."""
        turn = 0.5 - 0.5 * np.cos(2 * np.pi * float(number / self.fps) / _SECONDS)
        return round(float(turn) * self.width)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.height, self.width, 3), np.uint8)
        results = as_uint8(self.source.read(start, stop))
        for at, number in enumerate(range(start, stop)):
            shown = self.driver_frame(number)
            driver = np.ascontiguousarray(as_uint8(self._driver.read(shown, shown + 1))[0])
            driver = letterbox(driver, self._left, self.height)
            if self._how == "side by side":
                out[at] = np.concatenate([driver, results[at]], axis=1)
                continue
            line = self.line(number)
            out[at, :, :line], out[at, :, line:] = driver[:, :line], results[at][:, line:]
            half = max(round(self.width * _LINE / 1000), 1)
            cv2.rectangle(out[at], (line - half, 0), (line + half - 1, self.height - 1), (255, 255, 255), -1)
        return out

    def fingerprint(self) -> str:
        return f"compared:{self._how}:{self.source.fingerprint()}:{self._driver.fingerprint()}"
