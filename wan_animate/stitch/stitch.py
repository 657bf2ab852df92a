"""The generated window back in its place in the source frames, at their own resolution."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .. import workers
from ..buffers import give_back, map_large_buffers
from ..errors import InputError
from ..mask.track import binary
from ..video.derived import DerivedSource, PartSource, lasting
from ..video.frames import FrameSource, as_uint8
from ..video.write import write_parts
from .boxes import Rectangle
from .resample import PlacedBack, cut_out_mask, whole_pixels
from .window import CropWindow

_SAME_SHAPE = 0.02
_ROWS = 128  # at once: floats of a 4K frame take 100 MB, and a core's cache is smaller


class StitchedSource(DerivedSource):
    """The source frames with the generated character in them, uint8, at the source's size.

    Inside the mask, grown, a pixel is the generated one; from there over ``feather`` pixels it goes over into the
    source's; beyond, and outside the window, every value is the source's own. Without a mask the whole window is taken,
    its edge feathered inwards, but not where it is the frame's.

    Args:
        source: the frames that the window was made for.
        generated: the finished window, of its shape and at any size; or a part of it that knows its place
            (:attr:`..video.frames.FrameSource.part_of`), such as some of the segments: only these frames are stitched.
        window: from :func:`.plan.plan_window`.
        mask: of the window, at its sampled size (what the model was given); a single one repeats.
        feather, grow: pixels of the source, 0 to 512.

    Attributes:
        first: frame of the source that these begin with.

    Raises:
        InputError: kinds, lengths, shapes or sizes do not match, or a number is out of range.
    """

    kind = "image"

    def __init__(
        self,
        source: FrameSource,
        generated: FrameSource,
        window: CropWindow,
        mask: FrameSource | None = None,
        feather: float = 16.0,
        grow: float = 0.0,
    ) -> None:
        if not 0 <= feather <= 512 or not 0 <= grow <= 512:
            raise InputError(
                f"stitch: feather ({feather:g}) and grow ({grow:g}) must be 0 to 512 pixels of the source."
            )
        if source.kind != "image" or generated.kind != "image":
            raise InputError("stitch: source and generated frames must be pictures, not masks.")
        window.check(source)
        self.first, last = _place(generated, window)
        width, height = window.size
        if abs((generated.width * height) / (generated.height * width) - 1) > _SAME_SHAPE:
            raise InputError(
                f"stitch: the generated frames are {generated.width}x{generated.height}, of another shape than the "
                f"window's {width}x{height}: connect the clip that was made in this window."
            )
        if mask is not None:
            mask = lasting(mask, source)
            if mask.kind != "mask" or len(mask) != len(window) or (mask.width, mask.height) != window.size:
                raise InputError(
                    f"stitch: the mask has {len(mask)} {mask.kind}s of {mask.width}x{mask.height} and the window "
                    f"{len(window)} of {width}x{height}: connect the mask that Animate Character was given."
                )
        if (self.first, last) != (0, len(window)):
            source, window = PartSource(source, self.first, last), window.part(self.first, last)
            mask = None if mask is None else PartSource(mask, self.first, last)
        super().__init__(source, generated, *(() if mask is None else (mask,)))
        self.generated, self.window, self.mask = generated, window, mask
        self.feather, self.grow = float(feather), float(grow)
        self.fps, self.picture, self.start_seconds = generated.fps, source.picture, source.start_seconds
        self.part_of = generated.part_of

    def _read(self, start: int, stop: int) -> np.ndarray:
        out: np.ndarray | None = None
        for at in range(start, stop):
            frame = as_uint8(self.source.read(at, at + 1))
            if out is None:
                out = np.empty((stop - start, *frame.shape[1:]), np.uint8)
            out[at - start] = frame[0]
            self._stitch(out[at - start], at)
        assert out is not None  # start < stop
        return out

    def _alpha(self, at: int) -> _Alpha | None:
        """None where nothing is generated."""
        left, top, width, height = self.window.places[at].tolist()
        place = (left, top, width, height)
        x1, y1, x2, y2 = whole_pixels(place)
        if x1 >= x2 or y1 >= y2:
            return None
        down, across = _from_edge(place, self.window.source_size, self.feather)
        if self.mask is None:
            return _Alpha(x1, y1, down, across)
        inside = binary(self.mask.read(at, at + 1))[0]
        wide, high = inside.shape[1] / width, inside.shape[0] / height
        part = ((x1 - left) * wide, (y1 - top) * high, (x2 - x1) * wide, (y2 - y1) * high)
        inside = cut_out_mask(inside, part, (x2 - x1, y2 - y1))
        reach = int(np.ceil(self.feather + self.grow)) + 2
        a, b, wide, high = cv2.boundingRect(inside)
        if not wide:
            return None
        rows = slice(max(b - reach, 0), min(b + high + reach, inside.shape[0]))
        columns = slice(max(a - reach, 0), min(a + wide + reach, inside.shape[1]))
        outside = 1 - inside[rows, columns]
        away = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for less in (0.5, self.grow):  # the outline runs half a pixel from the pixels on both sides
            np.subtract(away, less, out=away)
        return _Alpha(x1 + columns.start, y1 + rows.start, down[rows], across[columns], away, self.feather)

    def _stitch(self, frame: np.ndarray, at: int) -> None:
        """Put the window into ``frame``, uint8 ``[H, W, 3]``."""
        alpha = self._alpha(at)
        if alpha is None:
            return
        left, top, width, height = self.window.places[at].tolist()
        x1, y1, _, _ = whole_pixels((left, top, width, height))
        made = PlacedBack(as_uint8(self.generated.read(at, at + 1))[0], (left, top, width, height))
        high, wide = len(alpha.down), len(alpha.across)
        shown = frame[alpha.y : alpha.y + high, alpha.x : alpha.x + wide]

        def mix(firsts: np.ndarray) -> None:
            for first in firsts.tolist():
                part = slice(first, min(first + _ROWS, high))
                before = shown[part].astype(np.float32)
                ours = made.part(alpha.x - x1, alpha.y - y1 + first, wide, part.stop - first).astype(np.float32)
                ours -= before
                ours *= alpha.rows(part)[..., None]
                ours += before
                shown[part] = np.rint(ours, out=ours)

        workers.each(mix, np.arange(0, high, _ROWS))

    def fingerprint(self) -> str:
        mask = "" if self.mask is None else self.mask.fingerprint()
        return (
            f"stitched:{self.feather}:{self.grow}:{self.window.fingerprint()}:({self.source.fingerprint()})"
            f"({self.generated.fingerprint()})({mask})"
        )


def _place(generated: FrameSource, window: CropWindow) -> tuple[int, int]:
    """First frame of the window that was generated, and the one after the last."""
    first, count = generated.part_of or (0, len(generated))
    if count != len(window) or first + len(generated) > count:
        raise InputError(
            f"stitch: {len(generated)} frames were generated and the window has {len(window)}: connect the clip that "
            "was made in this window, whole, or of a part the frames of Animate Character, which know where they begin."
        )
    return first, first + len(generated)


@dataclass(frozen=True)
class _Alpha:
    """Share of the generated pixel in a part of the frame.

    Attributes:
        x, y: the part's corner in the frame.
        down, across: by the distance from the window's edges, float32 ``[h]`` and ``[w]``.
        away: pixels from the grown mask, float32 ``[h, w]``; None without a mask.
    """

    x: int
    y: int
    down: np.ndarray
    across: np.ndarray
    away: np.ndarray | None = None
    feather: float = 0.0

    def rows(self, part: slice) -> np.ndarray:
        """float32 ``[n, w]``."""
        share = np.minimum.outer(self.down[part], self.across)
        if self.away is None:
            return share
        return np.minimum(_falling(self.away[part], self.feather), share, out=share)


def _falling(away: np.ndarray, feather: float) -> np.ndarray:
    """1 at distance 0 and below, 0 from ``feather`` on, without a kink (smoothstep)."""
    if feather <= 0:
        return (away <= 0).astype(np.float32)
    linear = np.clip(1 - away / np.float32(feather), 0, 1).astype(np.float32)
    return linear * linear * (3 - 2 * linear)


def _from_edge(place: Rectangle, frame: tuple[int, int], feather: float) -> tuple[np.ndarray, np.ndarray]:
    """1 inside the window, falling over ``feather`` pixels to 0 at its edges but those of the frame: by row and by
    column, float32 ``[h]`` and ``[w]``, of which the smaller counts."""
    left, top, width, height = place
    x1, y1, x2, y2 = whole_pixels(place)

    def inward(first: int, last: int, low: float, high: float, end: int) -> np.ndarray:
        middle = np.arange(first, last, dtype=np.float32) + 0.5
        before = np.full(len(middle), np.inf, np.float32) if low < 1 else middle - np.float32(low)
        after = np.full(len(middle), np.inf, np.float32) if high > end - 1 else np.float32(high) - middle
        return np.minimum(before, after)

    down = inward(y1, y2, top, top + height, frame[1])
    across = inward(x1, x2, left, left + width, frame[0])
    if feather <= 0:
        return np.ones_like(down), np.ones_like(across)
    return _falling(feather - down, feather), _falling(feather - across, feather)


def write_stitched(
    path: str | os.PathLike,
    stitched: StitchedSource,
    audio: dict | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the clip (:func:`..video.write.write_parts`) with the tags of the generated frames, a frame in memory at
    a time. H.264 takes even sides: an odd last row or column is left out.

    Args:
        audio: of the whole source; a part of the clip gets its own part of it.

    Raises:
        InputError: the file cannot be written.
    """
    map_large_buffers()
    give_back()
    width, height = stitched.width // 2 * 2, stitched.height // 2 * 2
    chunks = (stitched.read(at, at + 1)[:, :height, :width] for at in range(len(stitched)))
    begins = float(stitched.first / stitched.fps)
    size, count = (width, height), len(stitched)
    tags = stitched.generated.tags
    try:
        write_parts(
            path, [chunks], size, count, stitched.fps, audio, progress=progress, metadata=tags, audio_start=begins
        )
    finally:
        stitched.close()  # a decoder of 4K holds 200 MB
