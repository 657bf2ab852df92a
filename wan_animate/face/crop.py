"""The 512x512 face crops that the model takes the expression from."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np

from ..errors import InputError
from ..video.derived import DerivedSource
from ..video.frames import FrameSource, ahead
from .boxes import MISSING

KEPT_BYTES = 160 * 512 * 512 * 3
_MOST_SKIPPED = 64
_NEAR = 1 / 48  # of a pixel of the frame


class FaceCropSource(DerivedSource):
    """Faces resized to ``size`` x ``size`` (bilinear, aspect ratio not kept, as upstream).

    Repeats the frame's edge outside it (upstream clips the box). Keeps the uint8 crops of a clip that fit
    :data:`KEPT_BYTES`, for a second reading.

    Args:
        boxes, found: from :func:`.boxes.face_boxes`, in pixels of ``frames``; ``found`` None takes every non-empty box.
        missing: in frames without a face ``"blend"`` and ``"hold"`` crop the box, as upstream
            (``preprocess/process_pipepline.py``); ``"blank"`` is black, "no expression" in upstream's guidance
            (``wan/animate.py``).

    Raises:
        InputError: lengths differ, no box lies in the frames, or ``missing`` is unknown.
    """

    kind = "image"

    def __init__(
        self,
        frames: FrameSource,
        boxes: np.ndarray,
        found: np.ndarray | None = None,
        size: int = 512,
        missing: str = "blend",
    ) -> None:
        boxes = np.asarray(boxes)
        if missing not in MISSING:
            raise InputError(f"face crop: missing is {missing!r}, but it must be one of {', '.join(MISSING)}.")
        if boxes.shape != (len(frames), 4):
            raise InputError(
                f"face crop: there are {len(frames)} frames and boxes of shape {list(boxes.shape)}; "
                "use boxes made from a pose track of the same clip."
            )
        boxes = boxes.astype(np.float64)
        visible = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        in_frame = ((middle >= 0) & (middle <= (frames.width, frames.height))).all(axis=1)
        if visible.any() and not in_frame[visible].any():
            raise InputError(
                f"face crop: no face box lies in the {frames.width}x{frames.height} frames; "
                "the pose track must be of this clip and of its size, and one that was found in it shows no face here."
            )
        super().__init__(frames)
        self.size, self.missing = int(size), missing
        self.width = self.height = self.size
        self.boxes = boxes
        visible &= ((boxes[:, 2:] > 0) & (boxes[:, :2] < (frames.width, frames.height))).all(axis=1)
        if found is not None and missing == "blank":
            visible &= np.asarray(found, dtype=bool)
        self._visible = visible
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        # of a clip that does not fit nothing is kept: its first frames alone would only take memory
        self._bytes_left = KEPT_BYTES if len(frames) * size * size * 3 <= KEPT_BYTES else 0

    def _read(self, start: int, stop: int) -> np.ndarray:
        kept = {index: self._kept[index] for index in range(start, stop) if index in self._kept}
        runs = list(_runs([index for index in range(start, stop) if index not in kept], self.chunk))

        def chunks() -> Generator[tuple[int, np.ndarray], None, None]:
            for first, last in runs:
                yield first, self.source.read(first, last)

        out: np.ndarray | None = None
        if kept:
            pixels = next(iter(kept.values()))
            out = np.zeros((stop - start, *pixels.shape), pixels.dtype)
            for index, pixels in kept.items():
                out[index - start] = pixels
        with closing(ahead(chunks()) if len(runs) > 1 else chunks()) as source:
            for first, chunk in source:
                if out is None:
                    out = np.zeros((stop - start, self.size, self.size, 3), chunk.dtype)
                for index, frame in enumerate(chunk, first):
                    if self._visible[index]:
                        crop(frame, self.boxes[index], self.size, out[index - start])
                    self._keep(index, out[index - start])
        assert out is not None  # the range is not empty
        return out

    def _keep(self, index: int, pixels: np.ndarray) -> None:
        with self._lock:
            if index not in self._kept and pixels.nbytes <= self._bytes_left and pixels.dtype == np.uint8:
                self._kept[index] = pixels.copy()
                self._bytes_left -= pixels.nbytes

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self.boxes.tobytes() + self._visible.tobytes(), digest_size=16)
        return f"face:{self.size}:{digest.hexdigest()}:{self.source.fingerprint()}"


def _runs(frames: list[int], at_once: int) -> Iterator[tuple[int, int]]:
    """Gapless ranges of at most ``at_once`` frames."""
    start = 0
    for at in range(1, len(frames) + 1):
        if at == len(frames) or frames[at] != frames[at - 1] + 1 or at - start == at_once:
            yield frames[start], frames[at - 1] + 1
            start = at


def crop(frame: np.ndarray, box: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """Box (x1, y1, x2, y2) of ``[H, W, 3]`` as ``[size, size, 3]``, the frame's edge repeated."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = map(float, box)
    whole = all(side.is_integer() for side in (x1, y1, x2, y2))
    if whole and x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return cv2.resize(frame[int(y1) : int(y2), int(x1) : int(x2)], (size, size), dst=out)
    # Pixel centres are aligned as cv2.resize does.
    across, down = _resized_part(x1, x2, size, width), _resized_part(y1, y2, size, height)
    if across and down:
        part = frame[down.start : down.stop, across.start : across.stop]
        part = cv2.resize(part, None, fx=across.growth, fy=down.growth)
        part = part[down.skipped : down.skipped + size, across.skipped : across.skipped + size]
        if out is None:
            return np.ascontiguousarray(part)
        out[:] = part
        return out
    sx, sy = (x2 - x1) / size, (y2 - y1) / size
    left, top = max(int(x1) - 2, 0), max(int(y1) - 2, 0)
    # OpenCV warps four channels three times as fast as three
    part = cv2.cvtColor(frame[top : int(y2) + 3, left : int(x2) + 3], cv2.COLOR_RGB2RGBA)
    matrix = np.array([[sx, 0, x1 + sx / 2 - 0.5 - left], [0, sy, y1 + sy / 2 - 0.5 - top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(part, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(part, cv2.COLOR_RGBA2RGB, out)


@dataclass(frozen=True)
class _Part:
    """Pixels ``start`` to ``stop``, resized by ``growth``; the crop skips ``skipped`` pixels."""

    start: int
    stop: int
    growth: float
    skipped: int


def _resized_part(low: float, high: float, size: int, limit: int) -> _Part | None:
    """Pixels ``low`` to ``high`` of a row of ``limit`` by cv2.resize, in half the time of a warp, or None.

    It begins early, at a whole pixel where source and result grids meet.
    """
    step = (high - low) / size
    skipped = np.arange(_MOST_SKIPPED) + math.ceil(0.5 / step)  # one source pixel more, for interpolation
    start = low - skipped * step
    near = np.flatnonzero(np.abs(start - np.round(start)) <= _NEAR)
    stop = math.ceil(high + 0.5) + 1
    if not len(near) or start[near[0]] < -_NEAR or stop > limit:
        return None
    return _Part(round(float(start[near[0]])), stop, 1 / step, int(skipped[near[0]]))
