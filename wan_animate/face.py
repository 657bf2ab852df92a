"""Face crops: where the face is in every frame, and the 512x512 picture of it the model takes its expression from."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from .errors import InputError
from .frames import FrameSource
from .pose import layout
from .pose.track import PoseTrack

MIN_FACE_PIXELS = 8  # a smaller box shows nothing the motion encoder could read
READ_AT_ONCE = 8  # frames of the driver in memory while crops are made
MISSING = ("hold", "blank")


def face_boxes(track: PoseTrack, scale: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    """The box of the face in every frame.

    Where a face was found the box is upstream's (``preprocess/utils.py: get_face_bboxes``): the extent of the 68 face
    points, its area grown by ``scale``, three times as much of the height added above as below, cut to the frame,
    coordinates truncated to whole pixels. Upstream takes the extent of whatever the network returned; here a frame
    counts as *not found* when the mean confidence of the face points is below 0.3 or the box is narrower or lower than
    8 pixels, and gets the box of the nearest frame that has one (the earlier of two equally near).

    Args:
        track: the pose track.
        scale: growth of the area, 1 or more.

    Returns:
        ``boxes`` int64 ``[T, 4]`` (x1, y1, x2, y2 in pixels of the track's frames, x2 and y2 exclusive; all 0 when no
        frame has a face) and ``found`` bool ``[T]``.

    Raises:
        InputError: ``scale`` is not a number of at least 1.
    """
    if not scale >= 1:
        raise InputError(
            f"face box: scale is {scale}, but it must be at least 1 (1.3 is what the model was trained with)."
        )
    size = np.array([track.width, track.height], np.float64)
    # Fractions of the frame in float32, as upstream keeps its keypoints: it decides the last pixel of a box.
    points = (track.keypoints[:, layout.FACE, :2] / size.astype(np.float32)) * size
    low, high = points.min(axis=1), points.max(axis=1)
    width, height = (high - low).T
    with np.errstate(divide="ignore", invalid="ignore"):
        area = width * height * scale
        grow_x = (np.sqrt(area * (width / height)) - width) / 2
        grow_y = (np.sqrt(area * (height / width)) - height) / 4
    edges = np.stack(
        [
            np.maximum(low[:, 0] - grow_x, 0),
            np.maximum(low[:, 1] - 3 * grow_y, 0),
            np.minimum(high[:, 0] + grow_x, track.width),
            np.minimum(high[:, 1] + grow_y, track.height),
        ],
        axis=1,
    )
    boxes = np.nan_to_num(edges).astype(np.int64)
    extent = boxes[:, 2:] - boxes[:, :2]
    found = track.face_found & (extent >= MIN_FACE_PIXELS).all(axis=1)
    return hold_nearest(boxes, found), found


def hold_nearest(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Rows that were not found replaced by the nearest found row (the earlier of two); zeros when none was found."""
    at = np.flatnonzero(found)
    if len(at) == 0:
        return np.zeros_like(values)
    frames = np.arange(len(values))
    after = np.searchsorted(at, frames).clip(max=len(at) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(frames - at[before]) <= np.abs(at[after] - frames), at[before], at[after])
    return values[nearest]


class FaceCropSource(FrameSource):
    """The face of every frame, resized to ``size`` x ``size`` (bilinear, aspect ratio not kept, as upstream).

    Args:
        frames: the driving clip.
        boxes: int ``[T, 4]`` from :func:`face_boxes`, in pixels of ``frames``.
        found: bool ``[T]`` from :func:`face_boxes`; None takes every frame with a box of some area as found.
        size: side of the crop in pixels.
        missing: what a frame without a face gives: ``"hold"`` shows the place where the face was in the nearest frame
            that has one, ``"blank"`` black. Black is -1 in the model's range, which is what upstream's own guidance
            uses for "no expression" (``wan/animate.py``). With no face in the whole clip both are black.

    Raises:
        InputError: lengths differ, a box leaves the frame, or ``missing`` is unknown.
    """

    kind = "image"

    def __init__(
        self,
        frames: FrameSource,
        boxes: np.ndarray,
        found: np.ndarray | None = None,
        size: int = 512,
        missing: str = "hold",
    ):
        boxes = np.asarray(boxes, dtype=np.int64)
        if missing not in MISSING:
            raise InputError(f"face crop: missing is {missing!r}, but it must be one of {', '.join(MISSING)}.")
        if boxes.shape != (len(frames), 4):
            raise InputError(
                f"face crop: there are {len(frames)} frames and boxes of shape {list(boxes.shape)}; "
                "use boxes made from a pose track of the same clip."
            )
        if boxes.min() < 0 or (boxes[:, 2] > frames.width).any() or (boxes[:, 3] > frames.height).any():
            raise InputError(
                f"face crop: a face box leaves the {frames.width}x{frames.height} frames; "
                "scale the pose track to the size of the frames first."
            )
        self.frames, self.size, self.missing = frames, int(size), missing
        self.width = self.height = self.size
        self.fps = frames.fps
        self.boxes = boxes
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if found is not None and missing == "blank":
            visible &= np.asarray(found, dtype=bool)
        self._visible = visible

    def __len__(self) -> int:
        return len(self.frames)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = None
        for first in range(start, stop, READ_AT_ONCE):
            chunk = self.frames.read(first, min(first + READ_AT_ONCE, stop))
            if out is None:
                out = np.zeros((stop - start, self.size, self.size, 3), chunk.dtype)
            for index, frame in enumerate(chunk, first):
                if self._visible[index]:
                    x1, y1, x2, y2 = self.boxes[index]
                    out[index - start] = cv2.resize(frame[y1:y2, x1:x2], (self.size, self.size))
        return out

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(self.boxes.tobytes() + self._visible.tobytes(), digest_size=16)
        return f"face:{self.size}:{digest.hexdigest()}:{self.frames.fingerprint()}"

    def close(self) -> None:
        self.frames.close()
