"""The window's shape, sampled size and path over a clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import InputError
from ..shots import shots_of
from ..video.resample import fill_size
from .path import EASE, largest_height, needed_height, shot_path, spread, wanted_height
from .window import CropWindow

SIZES = ("budget", "window", "factor")
SIDE = 16
MOST_OF_FRAME = 0.7  # of the frame's area: a larger window becomes the whole frame
_SHAPES = (9 / 16, 16 / 9)  # that the model was trained on
_LITTLE = 1.03  # by how much a character may be larger than the largest window
_FINEST = 1 / 64  # of a pixel: positions are rounded, so that the solver's last bits do not make another job
LARGEST = 4096  # pixels of a sampled side


@dataclass(frozen=True)
class WindowSize:
    """What the window is sampled at.

    Attributes:
        mode: ``"budget"``: the largest size of at most ``area`` pixels; ``"window"``: a pixel of the source is a pixel;
            ``"factor"``: ``factor`` times that.
    """

    mode: str = "budget"
    area: int = 832 * 480
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in SIZES:
            raise InputError(f"crop: the size is {self.mode!r}, but it must be one of {', '.join(SIZES)}.")
        if self.mode == "budget" and self.area < 64 * 64:
            raise InputError(f"crop: the budget is {self.area} pixels: give at least 4096, such as 399360 (832x480).")
        if self.mode == "factor" and not 0.05 <= self.factor <= 8:
            raise InputError(f"crop: the factor is {self.factor:g}, but it must lie between 0.05 and 8.")

    @property
    def scale(self) -> float | None:
        """Sampled pixels for each source pixel; None where the budget decides."""
        return None if self.mode == "budget" else 1.0 if self.mode == "window" else self.factor


def plan_window(
    boxes: np.ndarray,
    frame: tuple[int, int],
    fps: Fraction | float = Fraction(30),
    cuts: tuple[int, ...] = (),
    size: WindowSize = WindowSize(),  # noqa: B008  frozen
    margin: float = 0.08,
    room: float = 1.25,
) -> CropWindow:
    """Find the window: its shape for the whole clip, then its path in each shot (:func:`.path.shot_path`).

    The shape is the one that shows the character largest at this number of pixels, between 9:16 and 16:9. A window that
    would be more than :data:`MOST_OF_FRAME` of the frame is the whole frame, sampled at no more than :data:`LARGEST` a
    side.

    Args:
        boxes: float ``[T, 4]``: the character's x1, y1, x2, y2 in pixels of the frame; NaN where it is not seen.
        frame: width and height.
        cuts: first frames of new shots.
        margin: context on every side, as a fraction of the box's longer side, 0 to 2.
        room: how many times as high as needed the window may be, to stand still or move slowly, 1 to 4.

    Raises:
        InputError: nobody is seen in any frame, a number is out of range, or a window would be sampled at more than
            :data:`LARGEST` a side.
    """
    if not 0 <= margin <= 2 or not 1 <= room <= 4:
        raise InputError(f"crop: margin ({margin:g}) must be 0 to 2 and room ({room:g}) 1 to 4.")
    boxes = _inside(np.asarray(boxes, np.float64), frame)
    if np.isnan(boxes).any(axis=1).all():
        raise InputError(
            "crop: the character is in none of the frames, so there is nothing to put a window around: look at the "
            "pose and the mask, and choose another person or another part of the video."
        )
    shots = [slice(start, stop) for start, stop in shots_of(cuts, len(boxes))]
    held = _to_edges(_inside(_grown(boxes, margin), frame), frame)
    sampled = _sampled_size(boxes, held, shots, frame, float(fps), size, room)
    places = _places(held, shots, frame, sampled, float(fps), room, size.scale)
    if size.scale is not None:
        # room made the window larger than it was reckoned: sample that, not less of it
        height = float(np.median(places[:, 3])) * size.scale
        if _up(height) > sampled[1]:
            width = _up(height * sampled[0] / sampled[1])
            sampled = width, _up(height)
            places = _places(held, shots, frame, sampled, float(fps), room, size.scale)
    if places[:, 2:].prod(axis=1).mean() > MOST_OF_FRAME * frame[0] * frame[1]:
        sampled, places = _whole_frame(len(boxes), frame, size)
    if max(sampled) > LARGEST:
        asked = f"factor {size.factor:g}" if size.mode == "factor" else "a pixel for each of the video's"
        raise InputError(
            f"crop: {asked} samples the window at {sampled[0]}x{sampled[1]}, but at most {LARGEST} a side can be: "
            "choose a smaller factor or a pixel budget."
        )
    return CropWindow(places, frame, sampled, Fraction(fps).limit_denominator(100_000), tuple(cuts))


def _inside(boxes: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Boxes cut to the frame; NaN where nothing is left."""
    cut = np.clip(boxes, 0, np.array([*frame, *frame], np.float64))
    cut[~(cut[:, 2:] - cut[:, :2] >= 1).all(axis=1)] = np.nan
    return cut


def _to_edges(boxes: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Boxes that nearly end at the frame's edge end there."""
    ends = np.array([*frame, *frame], np.float64)
    return np.where(boxes < 1, 0.0, np.where(boxes > ends - 1, ends, boxes))


def _grown(boxes: np.ndarray, margin: float) -> np.ndarray:
    by = margin * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.concatenate([boxes[:, :2] - by, boxes[:, 2:] + by], axis=1)


def _up(pixels: float) -> int:
    """The next multiple of 16, but for a few pixels."""
    return max(int(np.ceil((pixels - 1) / SIDE)), 1) * SIDE


def _sampled_size(
    boxes: np.ndarray,
    held: np.ndarray,
    shots: list[slice],
    frame: tuple[int, int],
    fps: float,
    size: WindowSize,
    room: float,
) -> tuple[int, int]:
    """The size of the shape that shows the character largest (budget), or takes the fewest pixels (else)."""
    reach = max(round(EASE * fps), 1)
    moved = np.concatenate([spread(boxes[shot], reach) for shot in shots])
    best, best_score = None, -np.inf
    for aspect, given in _candidates(frame, size):
        if np.nanmax(needed_height(moved, aspect)) > _LITTLE * largest_height(frame, aspect):
            continue
        wanted = np.concatenate([wanted_height(held[shot], aspect, fps, room) for shot in shots])
        area = 1 if given is None else given[0] * given[1]
        # Heights that are higher than the frame count as they are: another shape may leave room to stand still.
        score = float(np.nanmean(np.log(area / (wanted * wanted * aspect))))
        if score > best_score + 1e-9:
            if given is None:
                typical = min(float(np.nanmedian(wanted)), largest_height(frame, aspect)) * (size.scale or 1.0)
                given = _up(typical * aspect), _up(typical)
            best, best_score = given, score
    if best is None:
        return _whole_frame(1, frame, size)[0]
    return best


def _candidates(frame: tuple[int, int], size: WindowSize) -> list[tuple[float, tuple[int, int] | None]]:
    """Aspect ratios, nearest to square first, and with a budget the size of each with sides divisible by 16."""
    narrow, wide = (min(_SHAPES[0], frame[0] / frame[1]), max(_SHAPES[1], frame[0] / frame[1]))
    found: list[tuple[float, tuple[int, int] | None]] = []
    if size.scale is not None:
        found = [(float(aspect), None) for aspect in np.geomspace(narrow, wide, 129)]
    else:
        for width in range(SIDE, int(np.sqrt(size.area * wide) * 1.05) + SIDE, SIDE):
            height = size.area // width // SIDE * SIDE
            if 0 < height <= LARGEST >= width and narrow * 0.97 <= width / height <= wide * 1.03:
                found.append((width / height, (width, height)))
    return sorted(found, key=lambda pair: abs(np.log(pair[0])))


def _places(
    held: np.ndarray,
    shots: list[slice],
    frame: tuple[int, int],
    sampled: tuple[int, int],
    fps: float,
    room: float,
    scale: float | None,
) -> np.ndarray:
    """float64 ``[T, 4]``; in a shot without the character a window of the median size in the middle."""
    aspect = sampled[0] / sampled[1]
    # one sampled pixel for exactly 1 / scale pixels, where the size does not change
    least = 0.0 if scale is None else sampled[1] / scale
    paths = [shot_path(held[shot], frame, aspect, fps, room, least) for shot in shots]
    typical = float(np.median(np.concatenate([path.windows[:, 2] for path in paths if path is not None])))
    out = np.empty((len(held), 4))
    for shot, path in zip(shots, paths):
        if path is None:
            windows = np.tile([frame[0] / 2, frame[1] / 2, typical], (shot.stop - shot.start, 1))
        else:
            windows = path.windows
        size = windows[:, 2:] * np.array([aspect, 1.0])
        place = windows[:, :2] - size / 2
        if path is None or path.speed == 0:
            place = np.rint(place)  # whole pixels: at one sampled pixel for each, nothing is resampled
        size = np.floor(np.minimum(size, frame) / _FINEST) * _FINEST
        place = np.rint(place / _FINEST) * _FINEST
        # the frame's last row is in the window or clearly not: half of it would show the old person
        free = np.array(frame) - size
        place = np.where(place < 0.5, 0.0, np.where(place > free - 0.5, free, place))
        out[shot] = np.concatenate([place, size], axis=1)
    return out


def _whole_frame(count: int, frame: tuple[int, int], size: WindowSize) -> tuple[tuple[int, int], np.ndarray]:
    """The sampled size of the whole frame, and this as the window: stretched by a few pixels, for what an edge left
    out would show of the old person."""
    most = LARGEST / max(frame)
    if size.scale is None:
        sampled = fill_size(*frame, min(size.area, int(frame[0] * frame[1] * most**2)))
    else:
        width, height = (max(int(side * min(size.scale, most)) // SIDE, 1) * SIDE for side in frame)
        sampled = width, height
    return sampled, np.tile([0.0, 0.0, *map(float, frame)], (count, 1))
