"""Keypoints of one person over a clip."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..errors import InputError
from ..limits import FARTHEST, MOST_FRAMES, MOST_PIXELS, RATES
from ..npz import load_npz, save_npz
from ..schema import Finite, FrameNumber, Schema, Side, read_values
from ..shots import shots_of
from ..video.frames import FrameSource
from ..video.resample import placement
from . import wholebody

Picture = tuple[float, float, float, float]  # left, top, width, height
Length = Annotated[float, Field(gt=0, le=1e9)]


class _Saved(Schema):
    """What :meth:`PoseTrack.save` writes beside the arrays of every frame."""

    fps: Finite
    width: Side
    height: Side
    fps_ratio: tuple[int, Annotated[int, Field(ge=1)]] | None = None
    cuts: tuple[FrameNumber, ...] = ()
    picture: tuple[Finite, Finite, Length, Length] | None = None
    start_seconds: Finite | None = None


_REMEDY = "save the track again"
ONE = ("fps", "width", "height", "start_seconds")  # numbers, which other programs save as arrays of one


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """One person's keypoints over a clip (1.6 kB a frame).

    Attributes:
        keypoints: float32 ``[T, 133, 3]``: x, y in pixels (also outside the frame), confidence 0..1, COCO-WholeBody
            order. Non-finite values, and points farther away than 30,000 pixels, become 0, 0, 0.
        width, height: of the frames in pixels.
        boxes: float32 ``[T, 5]`` (x1, y1, x2, y2, score) or None. Score below 0: nobody detected, whole frame searched;
            0: interpolated.
        cuts: first frames of new shots, rising, without 0.
        picture, start_seconds: as of :class:`wan_animate.video.frames.FrameSource`.
        pictures: float64 ``[T, 4]``, ``picture`` of every frame, where the frames are a window that moves; or None.

    Raises:
        InputError: wrong shapes, no frames, an impossible size or rate, or a cut outside the clip.
    """

    keypoints: np.ndarray
    width: int
    height: int
    fps: Fraction = Fraction(30)
    boxes: np.ndarray | None = None
    cuts: tuple[int, ...] = ()
    picture: Picture | None = None
    start_seconds: float | None = None
    pictures: np.ndarray | None = None

    def __post_init__(self) -> None:
        keypoints = np.asarray(self.keypoints, dtype=np.float32)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (wholebody.COUNT, 3):
            raise InputError(
                f"pose track: keypoints must be [frames, 133, 3] (COCO-WholeBody x, y, confidence), "
                f"but their shape is {list(keypoints.shape)}."
            )
        if len(keypoints) == 0 or self.width < 1 or self.height < 1:
            raise InputError(
                f"pose track: it has {len(keypoints)} frames of {self.width}x{self.height}; "
                "detect the pose again from a clip with at least one frame."
            )
        if self.width * self.height > MOST_PIXELS or len(keypoints) > MOST_FRAMES:
            raise InputError(
                f"pose track: it has {len(keypoints):,} frames of {self.width}x{self.height}, more than can be read; "
                "detect the pose again from a shorter or smaller clip."
            )
        if not RATES[0] <= self.fps <= RATES[1]:  # NaN as well
            raise InputError(
                f"pose track: it has {float(self.fps):g} frames a second, which {RATES[0]:g} to {RATES[1]:g} may be; "
                f"{_REMEDY}."
            )
        with np.errstate(invalid="ignore"):
            bad = ~(np.isfinite(keypoints[..., 2]) & (np.abs(keypoints[..., :2]) <= FARTHEST).all(axis=2))
        if bad.any():
            keypoints = np.where(bad[..., None], np.float32(0), keypoints)
        boxes = self.boxes
        if boxes is not None:
            boxes = np.asarray(boxes, dtype=np.float32)
            if boxes.shape != (len(keypoints), 5):
                raise InputError(
                    f"pose track: boxes must be [{len(keypoints)}, 5], but their shape is {list(boxes.shape)}."
                )
            lost = ~np.isfinite(boxes).all(axis=1)
            if lost.any():
                boxes = np.where(lost[:, None], np.array([0, 0, self.width, self.height, -1], np.float32), boxes)
        pictures = self.pictures
        if pictures is not None:
            pictures = np.asarray(pictures, np.float64)
            if pictures.shape != (len(keypoints), 4) or not np.isfinite(pictures).all():
                raise InputError(
                    f"pose track: pictures must be [{len(keypoints)}, 4] numbers, but their shape is "
                    f"{list(pictures.shape)}."
                )
        cuts = tuple(sorted({int(cut) for cut in self.cuts}))
        if cuts and not (cuts[0] > 0 and cuts[-1] < len(keypoints)):
            raise InputError(
                f"pose track: its cuts are at {list(cuts)}, but they must lie between 1 and {len(keypoints) - 1}."
            )
        for name, value in (
            ("cuts", cuts),
            ("keypoints", keypoints),
            ("boxes", boxes),
            ("width", int(self.width)),
            ("height", int(self.height)),
            ("fps", Fraction(self.fps).limit_denominator(100_000)),
            ("picture", None if self.picture is None else tuple(map(float, self.picture))),
            ("pictures", pictures),
        ):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def shots(self) -> list[tuple[int, int]]:
        """(start, stop) of every shot."""
        return shots_of(self.cuts, len(self))

    def replaced(self, keypoints: np.ndarray) -> PoseTrack:
        return replace(self, keypoints=keypoints)

    # For reports and for choosing frames; drawing decides by the point.
    @property
    def body_found(self) -> np.ndarray:
        """bool ``[T]``: three of nose, shoulders and hips have confidence 0.3 or more."""
        core = [
            wholebody.NOSE,
            wholebody.LEFT_SHOULDER,
            wholebody.RIGHT_SHOULDER,
            wholebody.LEFT_HIP,
            wholebody.RIGHT_HIP,
        ]
        return (self.keypoints[:, core, 2] >= 0.3).sum(axis=1) >= 3

    @property
    def face_found(self) -> np.ndarray:
        """bool ``[T]``: mean confidence of the 68 points is 0.3 or more."""
        return self.keypoints[:, wholebody.FACE, 2].mean(axis=1) >= 0.3

    @property
    def hands_found(self) -> np.ndarray:
        """bool ``[T, 2]`` (left, right): mean confidence of the 21 points is 0.3 or more."""
        hands = (wholebody.LEFT_HAND, wholebody.RIGHT_HAND)
        return np.stack([self.keypoints[:, hand, 2].mean(axis=1) >= 0.3 for hand in hands], axis=1)

    def slice(self, start: int, stop: int) -> PoseTrack:
        """Frames ``start`` to ``stop`` (exclusive)."""
        boxes, pictures = (None if of is None else of[start:stop] for of in (self.boxes, self.pictures))
        start, stop, _ = slice(start, stop).indices(len(self))
        cuts = tuple(cut - start for cut in self.cuts if start < cut < stop)
        begins = None if self.start_seconds is None else self.start_seconds + start / float(self.fps)
        return replace(
            self, keypoints=self.keypoints[start:stop], boxes=boxes, cuts=cuts, start_seconds=begins, pictures=pictures
        )

    def scaled(self, width: int, height: int) -> PoseTrack:
        return self._moved(width, height, width / self.width, height / self.height, 0, 0)

    def placed(self, width: int, height: int, fit: str = "fill") -> PoseTrack:
        """For frames resized by :func:`wan_animate.video.resample.placement`."""
        return self.moved(width, height, placement(self.width, self.height, width, height, fit))

    def moved(self, width: int, height: int, where: tuple[int, int, int, int]) -> PoseTrack:
        """For frames that show this one's at ``where``: left, top, width, height."""
        left, top, new_width, new_height = where
        return self._moved(width, height, new_width / self.width, new_height / self.height, left, top)

    def letterboxed(self, width: int, height: int) -> PoseTrack:
        """For frames resized by :func:`wan_animate.video.resample.letterbox`."""
        return self.placed(width, height, "pad")

    def onto(self, frames: FrameSource) -> PoseTrack:
        """For other frames of the same clip.

        By both whole pictures, if known or told by their shape, else by size (:meth:`placed`).
        """
        size, mine, theirs = (frames.width, frames.height), self.picture, frames.picture
        same_size = size == (self.width, self.height)
        if mine is None or theirs is None:
            if same_size:
                return self
            mine = mine or _whole_if_alike(self.width, self.height, theirs, size)
            theirs = theirs or _whole_if_alike(*size, mine, (self.width, self.height))
        if mine is None or theirs is None or not _alike(mine[2] / mine[3], theirs[2] / theirs[3]):
            return self.placed(*size)
        if same_size and mine == theirs:
            return self
        across, down = theirs[2] / mine[2], theirs[3] / mine[3]
        return self._moved(*size, across, down, theirs[0] - mine[0] * across, theirs[1] - mine[1] * down)

    def _moved(self, width: int, height: int, sx: float, sy: float, left: float, top: float) -> PoseTrack:
        keypoints = self.keypoints * np.array([sx, sy, 1], np.float32) + np.array([left, top, 0], np.float32)
        boxes = picture = pictures = None
        if self.boxes is not None:
            boxes = self.boxes * np.array([sx, sy, sx, sy, 1], np.float32)
            boxes = boxes + np.array([left, top, left, top, 0], np.float32)
        picture = self.picture
        if picture is not None:
            x, y, shown_width, shown_height = picture
            picture = (x * sx + left, y * sy + top, shown_width * sx, shown_height * sy)
        if self.pictures is not None:
            pictures = self.pictures * (sx, sy, sx, sy) + (left, top, 0, 0)
        return replace(
            self, keypoints=keypoints, width=width, height=height, boxes=boxes, picture=picture, pictures=pictures
        )

    def fingerprint(self) -> str:
        """Equal exactly for equal keypoints, size, rate and cuts."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.keypoints).data, digest_size=16)
        digest.update(repr(self.cuts).encode())
        return f"pose:{self.keypoints.shape[0]}:{self.width}x{self.height}:{self.fps}:{digest.hexdigest()}"

    def save(self, path: str | os.PathLike) -> None:
        """Writes an ``.npz``. Raises InputError."""
        arrays = {
            "keypoints": self.keypoints,
            "fps": np.float64(self.fps),
            "fps_ratio": np.array([self.fps.numerator, self.fps.denominator], np.int64),
            "width": np.int64(self.width),
            "height": np.int64(self.height),
        }
        if self.boxes is not None:
            arrays["boxes"] = self.boxes
        if self.cuts:
            arrays["cuts"] = np.array(self.cuts, np.int64)
        if self.picture is not None:
            arrays["picture"] = np.array(self.picture, np.float64)
        if self.pictures is not None:
            arrays["pictures"] = self.pictures
        if self.start_seconds is not None:
            arrays["start_seconds"] = np.float64(self.start_seconds)
        save_npz(path, arrays, "pose track")

    @classmethod
    def load(cls, path: str | os.PathLike) -> PoseTrack:
        """Reads :meth:`save`'s file. Raises InputError."""
        what, frames = f"pose track {os.fspath(path)}", ("boxes", "pictures")
        small = ("fps_ratio", "cuts", "picture", "start_seconds")
        arrays = load_npz(path, ("keypoints", "fps", "width", "height"), "pose track", (*small, *frames))
        plain = {name: _plain(name, array) for name, array in arrays.items() if name not in ("keypoints", *frames)}
        saved = read_values(plain, _Saved, what, _REMEDY)
        if saved.fps_ratio is not None:
            fps = Fraction(*saved.fps_ratio)
        else:
            fps = Fraction(saved.fps)
        boxes, pictures = arrays.get("boxes"), arrays.get("pictures")
        return cls(
            arrays["keypoints"], saved.width, saved.height, fps, boxes, saved.cuts, saved.picture, saved.start_seconds,
            pictures,
        )  # fmt: skip


def _plain(name: str, array: np.ndarray) -> Any:
    """A small array as a number or a tuple; what another program saved as 832.0 is 832."""
    if array.size > MOST_FRAMES:
        return f"{array.size:,} numbers"
    if array.dtype.kind in "fb" and np.isfinite(array).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    return array.item() if array.size == 1 and name in ONE else tuple(array.tolist()) if array.ndim else array.item()


def _alike(a: float, b: float) -> bool:
    return abs(a / b - 1) < 0.03  # sides are rounded


def _whole_if_alike(width: int, height: int, picture: Picture | None, size: tuple[int, int]) -> Picture | None:
    """The whole frame, if its shape is that of ``picture`` rather than of ``size`` around that."""
    if picture is None:
        return None
    mine, shown, frame = width / height, picture[2] / picture[3], size[0] / size[1]
    if not _alike(mine, shown) or abs(mine / shown - 1) > abs(mine / frame - 1):
        return None
    return 0.0, 0.0, float(width), float(height)


def fit_track(track: PoseTrack, frames: FrameSource, what: str = "pose") -> PoseTrack:
    """The part of a track that belongs to ``frames`` (of any size); coordinates stay.

    Takes a track of equal length whole, unless rates or known start times differ. From a longer track it selects by
    start, rate and count; a track without a start time is of the whole video. ``what`` names it in errors.

    Raises:
        InputError: the track does not cover the frames, has another rate, or begins elsewhere.
    """
    count, fps = len(frames), float(track.fps)
    begins, own = frames.start_seconds, track.start_seconds
    if len(track) == count:
        drift = abs(fps / float(frames.fps) - 1) * count
        if begins is None or own is None or (drift <= 0.5 and abs(begins - own) * fps < 0.5):
            return track
    if begins is None and len(track) < count:
        raise InputError(
            f"{what}: it has {len(track)} frames and there are {count} pictures; detect the pose from these pictures."
        )
    if begins is None:
        raise InputError(
            f"{what}: it has {len(track)} frames and there are {count} pictures, which do not say where in the video "
            "they begin; load the video with Load Driving Video, or detect the pose from these pictures."
        )
    first = (begins - (own or 0.0)) * fps
    last = first + count - 1
    drift = abs(fps / float(frames.fps) - 1) * (abs(first) + count)
    if drift > 0.5:
        raise InputError(
            f"{what}: it has {fps:g} frames a second and the video is read at {float(frames.fps):g}; set the video's "
            f"fps to {fps:g}, or detect the pose again at {float(frames.fps):g}."
        )
    start = round(first)
    if start < 0 or start + count > len(track):
        beginning = "" if not own else f", beginning {own:.2f} s into the video,"
        raise InputError(
            f"{what}: it has {len(track)} frames{beginning} and does not cover the {count} frames from {begins:.2f} s "
            f"on (its frames {start} to {round(last)}); set start and limit within it, or detect the pose again."
        )
    return replace(track.slice(start, start + count), start_seconds=begins)
