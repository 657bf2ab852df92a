"""Resizing and frame rate conversion."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np

from ..errors import InputError

FITS = ("fill", "pad")
# "fill" letterboxes instead of cropping more than this: it would cut off a head or the feet.
MOST_CUT = 0.1
# Longest lead in seconds of a frame after a freeze in a variable-rate clip; the nearest in time could be seconds ahead
# of its sound.
_EARLIEST = 0.1
# fill_size takes sizes that crop no more than this, where there are any
LITTLE_CUT = 0.02
# of at least this share of the requested area.
_LEAST = 0.75


def placement(
    src_width: float, src_height: float, width: int, height: int, fit: str = "fill"
) -> tuple[int, int, int, int]:
    """(left, top, width, height) of a scaled picture in the frame's pixels.

    ``"fill"`` covers the frame and crops (negative left or top), but letterboxes if more than a tenth would be cropped.
    ``"pad"`` letterboxes as upstream's ``padding_resize`` (``wan/animate.py``). Raises InputError for others.
    """
    if fit not in FITS:
        raise InputError(f"fit is {fit!r}, but it must be one of {', '.join(FITS)}.")
    if fit == "fill" and cut_share(src_width, src_height, width, height) <= MOST_CUT:
        scale = max(width / src_width, height / src_height)
        new_width, new_height = max(round(src_width * scale), width), max(round(src_height * scale), height)
        return -((new_width - width) // 2), -((new_height - height) // 2), new_width, new_height
    if src_height / src_width > height / width:
        new_width, new_height = max(int(height / src_height * src_width), 1), height
    else:
        new_width, new_height = width, max(int(width / src_width * src_height), 1)
    return (width - new_width) // 2, (height - new_height) // 2, new_width, new_height


def cut_share(src_width: float, src_height: float, width: int, height: int) -> float:
    """Share of the picture, 0..1, cropped when it covers ``width`` x ``height``."""
    ratio = (src_width * height) / (src_height * width)
    return 1 - min(ratio, 1 / ratio)


def place(
    image: np.ndarray,
    where: tuple[int, int, int, int],
    width: int,
    height: int,
    interpolation: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resizes to ``where`` (:func:`placement`) in a black frame; INTER_AREA to shrink, else INTER_LINEAR."""
    left, top, new_width, new_height = where
    src_height, src_width = image.shape[:2]
    if (src_height, src_width) == (height, width) and where == (0, 0, width, height):
        if out is None:
            return image
        out[:] = image
        return out
    if interpolation is None:
        interpolation = cv2.INTER_AREA if width * height < src_width * src_height else cv2.INTER_LINEAR
    if out is None:
        out = np.empty((height, width, *image.shape[2:]), image.dtype)
    if new_width < width or new_height < height:
        out[:] = 0
    scaled = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    seen = scaled[max(-top, 0) : max(-top, 0) + height, max(-left, 0) : max(-left, 0) + width]
    top, left = max(top, 0), max(left, 0)
    out[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
    return out


def letterbox(
    image: np.ndarray, width: int, height: int, interpolation: int | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """:func:`place` with fit ``"pad"``."""
    where = placement(image.shape[1], image.shape[0], width, height, "pad")
    return place(image, where, width, height, interpolation, out)


def area_size(width: int, height: int, max_area: int, divisor: int = 16) -> tuple[int, int]:
    """(width, height) of at most ``max_area`` pixels in this aspect ratio, rounded down to ``divisor``.

    Upstream's ``resize_by_area`` (``wan/modules/animate/preprocess/utils.py``) in integers, without its search for a
    better size, which a bare ``except`` disables.

    Raises:
        InputError: a side would be 0.
    """
    new_width = math.isqrt(max_area * width // height) // divisor * divisor
    new_height = math.isqrt(max_area * height // width) // divisor * divisor
    if new_width < 1 or new_height < 1:
        raise InputError(
            f"an area of {max_area} pixels is too small for a {width}x{height} picture with sides divisible by "
            f"{divisor}: ask for more."
        )
    return new_width, new_height


def fill_size(width: int, height: int, max_area: int, divisor: int = 16) -> tuple[int, int]:
    """Size for fit ``"fill"``, sides divisible by ``divisor``, at most ``max_area`` pixels.

    Of the sizes that crop 2 % at most: one of exactly ``max_area`` pixels, which is the size that was asked for, else
    the one on which the whole picture would be largest. If all of at least 0.75 ``max_area`` crop more, the one that
    crops least.

    Raises:
        InputError: as :func:`area_size`.
    """
    upstream = area_size(width, height, max_area, divisor)
    sizes = [upstream]
    least, most = max(upstream[0] // 2 // divisor, 1) * divisor, upstream[0] * 103 // 100 + 2 * divisor
    for candidate in range(least, most + 1, divisor):
        tall = candidate * height / width
        sides = range(int(tall * (1 - LITTLE_CUT)) // divisor * divisor, int(tall / (1 - LITTLE_CUT)) + divisor, divisor)
        sizes += [(candidate, side) for side in sides if _LEAST * max_area <= candidate * side <= max_area]
    little = [size for size in sizes if cut_share(width, height, *size) <= LITTLE_CUT]
    if not little:
        return min(sizes, key=lambda size: cut_share(width, height, *size))

    def rank(size: tuple[int, int]) -> tuple[bool, int, int]:
        area = size[0] * size[1]
        return area == max_area, min(size[0] * height, size[1] * width), -area

    return max(little, key=rank)


def cut_note(name: str, picture: tuple[int, int], size: tuple[int, int], fit: str) -> str | None:
    """A sentence if ``"fill"`` (:func:`placement`) crops more than 2 % or letterboxes."""
    lost = cut_share(*picture, *size)
    if fit != "fill" or lost <= LITTLE_CUT:
        return None
    what = f"{name} is {picture[0]}x{picture[1]}, of another shape than {size[0]}x{size[1]}: fit fill "
    left, top, width, height = placement(*picture, *size, fit)
    if left > 0 or top > 0 or width < size[0] or height < size[1]:
        return f"{what}would cut {100 * lost:.1f} % of its picture, so all of it is shown between black bars."
    edges = "left and right" if width - size[0] > height - size[1] else "top and bottom"
    return f"{what}cuts {100 * lost:.1f} % of its picture at {edges} (a larger size cuts less, fit pad nothing)."


def as_rate(fps: Fraction | float | int | str) -> Fraction:
    """As a fraction: 29.97 to 2997/100."""
    return Fraction(fps).limit_denominator(100_000)


def sample_count(times: np.ndarray, rate: Fraction, constant: bool, duration: float, fps: Fraction) -> int:
    """How many frames :func:`sample_frames` has in all."""
    if constant:
        return max(int(Fraction(len(times)) / rate * fps), 1)
    return max(int(duration * float(fps) + 1e-6), 1)


def sample_frames(
    times: np.ndarray,
    rate: Fraction,
    constant: bool,
    duration: float,
    fps: Fraction,
    start: int = 0,
    stop: int | None = None,
) -> np.ndarray:
    """Source frame numbers for output at ``fps``, int64: frames ``start`` to ``stop`` (exclusive) of it.

    Constant rate: upstream's ``get_frame_indices``, ``round(k / fps * video_fps)`` in double precision, but an exact
    count (``int(frame_num / video_fps * fps)`` may lose a frame). Variable rate: nearest in time.

    Args:
        times: float64 ``[n]``, seconds from the first frame.
        rate, constant, duration: as of :class:`.index.ClipIndex`.
    """
    count = sample_count(times, rate, constant, duration, fps)
    wanted = np.arange(start, count if stop is None else min(stop, count))  # as many as are asked for, not as claimed
    if constant:
        wanted = np.round(wanted / float(fps) * float(rate))
    else:
        clock = wanted / float(fps)
        before = np.clip(np.searchsorted(times, clock + 1e-9, side="right") - 1, 0, len(times) - 1)
        after = np.minimum(before + 1, len(times) - 1)
        gap = times[after] - times[before]
        share = np.divide(clock - times[before], gap, out=np.zeros_like(clock), where=gap > 0)
        wanted = np.round(before + np.clip(share, 0, 1))
        wanted = np.where((wanted > before) & (times[after] - clock > _EARLIEST), before, wanted)
    return np.clip(wanted, 0, len(times) - 1).astype(np.int64)
