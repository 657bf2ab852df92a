"""Sizes, rates and shapes: which frames of a video are taken, and how one is brought to another size."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np

from ..errors import InputError

FITS = ("fill", "pad")
# Sides divisible by 16 and a clip's own ratio differ by a few hundredths. More than this is another shape, and cutting
# it down would take a head or the feet away.
_MOST_CUT = 0.1
# Where a variable-rate clip freezes for longer than twice this, the frozen picture is held until this long before the
# next one: "nearest in time" alone would show the next picture seconds before its sound.
_EARLIEST = 0.1
# A fill that cuts more than this looks for a better size,
_LITTLE = 0.02
# and goes no further below the area that was asked for than this.
_LEAST = 0.75


def placement(
    src_width: float, src_height: float, width: int, height: int, fit: str = "fill"
) -> tuple[int, int, int, int]:
    """Where a picture of one size lies in a frame of another: (left, top, width, height) in the frame's pixels.

    Args:
        fit: ``"fill"`` scales the picture to cover the frame and lets what hangs over be cut, so left or top may be
            negative; a picture that would lose more than a tenth is letterboxed all the same. ``"pad"`` letterboxes:
            the whole picture, centred, as upstream's ``padding_resize`` (``wan/animate.py`` and
            ``preprocess/utils.py``): sizes and offsets round down.

    Raises:
        InputError: ``fit`` is neither.
    """
    if fit not in FITS:
        raise InputError(f"fit is {fit!r}, but it must be one of {', '.join(FITS)}.")
    if fit == "fill" and cut_share(src_width, src_height, width, height) <= _MOST_CUT:
        scale = max(width / src_width, height / src_height)
        new_width, new_height = max(round(src_width * scale), width), max(round(src_height * scale), height)
        return -((new_width - width) // 2), -((new_height - height) // 2), new_width, new_height
    if src_height / src_width > height / width:
        new_width, new_height = max(int(height / src_height * src_width), 1), height
    else:
        new_width, new_height = width, max(int(width / src_width * src_height), 1)
    return (width - new_width) // 2, (height - new_height) // 2, new_width, new_height


def cut_share(src_width: float, src_height: float, width: int, height: int) -> float:
    """The share of a picture that is lost when it is scaled to cover ``width`` x ``height``."""
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
    """Scale an image to where :func:`placement` puts it in a frame of ``width`` x ``height``; black around it.

    ``interpolation`` defaults to area when the image shrinks and bilinear when it grows. The result is in ``out`` where
    that is given (C-contiguous, of the right size and type).
    """
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
    """Scale an image to fit ``width`` x ``height``, keep its aspect ratio, centre it on black: :func:`placement` with
    ``"pad"``, then :func:`place`."""
    where = placement(image.shape[1], image.shape[0], width, height, "pad")
    return place(image, where, width, height, interpolation, out)


def area_size(width: int, height: int, max_area: int, divisor: int = 16) -> tuple[int, int]:
    """The size of about ``max_area`` pixels, never more, in this aspect ratio, both sides rounded down to ``divisor``.

    What upstream's ``resize_by_area`` does (``wan/modules/animate/preprocess/utils.py``). Its elaborate search for the
    best pair of sides never takes effect: ``calculate_new_size`` calls its helper with an argument too many, a bare
    ``except`` catches that, and the short formula behind it is what has always run. (The search would also have
    rounded widths to 64 where 16 was asked for, and put black bars beside a 9:16 clip that fits 720x1280 exactly.)
    Computed here in integers, so that a side that comes out whole is not lost to rounding.

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
    """As :func:`area_size`, for a picture that will be scaled to cover that size.

    Where more than a fiftieth would be cut, one side is a step or two shorter, whichever cuts least (a phone's
    1170x2532 at 832 x 480 pixels becomes 416x896, and not 416x928). Where that is not enough (a step of 16 is much of a
    small side), it is the largest size of at least three quarters of ``max_area`` that cuts no more, or the one of
    those that cuts least: :func:`cut_note` says so then.
    """
    best = new_width, new_height = area_size(width, height, max_area, divisor)
    if cut_share(width, height, *best) <= _LITTLE:
        return best
    shorter = [(new_width - step * divisor, new_height) for step in (1, 2)]
    shorter += [(new_width, new_height - step * divisor) for step in (1, 2)]
    best = min([best, *(size for size in shorter if min(size) > 0)], key=lambda size: cut_share(width, height, *size))
    if cut_share(width, height, *best) <= _LITTLE:
        return best
    sizes = [best]
    for one in range(divisor, new_width + 2 * divisor, divisor):
        near = one * height // width // divisor * divisor
        pair = [(one, near), (one, near + divisor)]
        sizes += [size for size in pair if _LEAST * max_area <= size[0] * size[1] <= max_area]
    little = [size for size in sizes if cut_share(width, height, *size) <= _LITTLE]
    if little:
        return max(little, key=lambda size: size[0] * size[1])
    return min(sizes, key=lambda size: cut_share(width, height, *size))


def as_rate(fps: Fraction | float | int | str) -> Fraction:
    """A rate as an exact fraction: 29.97 is 2997/100, Fraction(30000, 1001) stays."""
    return Fraction(fps).limit_denominator(100_000)


def sample_frames(times: np.ndarray, rate: Fraction, constant: bool, duration: float, fps: Fraction) -> np.ndarray:
    """Which source frames to show at ``fps``: int64 numbers, as many as fit into the duration.

    For a constant rate upstream's rule, in its own double precision so that ties fall the same way
    (``get_frame_indices``: ``round(k / fps * video_fps)``). The number of frames is exact where upstream's
    ``int(frame_num / video_fps * fps)`` loses one to rounding (123 frames at 30 fps become 122 there).
    For a variable rate the frame nearest in presentation time, ties to the even one; over a freeze see ``_EARLIEST``.
    """
    if constant:
        count = max(int(Fraction(len(times)) / rate * fps), 1)
        wanted = np.round(np.arange(count) / float(fps) * float(rate))
    else:
        count = max(int(duration * float(fps) + 1e-6), 1)
        clock = np.arange(count) / float(fps)
        before = np.clip(np.searchsorted(times, clock + 1e-9, side="right") - 1, 0, len(times) - 1)
        after = np.minimum(before + 1, len(times) - 1)
        gap = times[after] - times[before]
        share = np.divide(clock - times[before], gap, out=np.zeros_like(clock), where=gap > 0)
        wanted = np.round(before + np.clip(share, 0, 1))
        wanted = np.where((wanted > before) & (times[after] - clock > _EARLIEST), before, wanted)
    return np.clip(wanted, 0, len(times) - 1).astype(np.int64)
