"""The skeleton the model was trained on: colours, widths and order.

Source: ``wan/modules/animate/preprocess/human_visualization.py: draw_aapose_by_meta_new``, stick width "v2".
"""

from __future__ import annotations

import colorsys
import math
from fractions import Fraction

import cv2
import numpy as np

from ..errors import InputError
from ..video.frames import FrameSource
from ..video.resample import place, placement
from . import wholebody
from .track import PoseTrack

# Limbs as pairs of the 20 drawn points (wholebody.DRAWN_*), in painting order.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19),
)  # fmt: skip
JOINT_COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0),
)  # fmt: skip
LIMB_COLORS = tuple(tuple(int(channel * 0.6) for channel in color) for color in JOINT_COLORS[: len(LIMBS)])

# Five fingers of four bones from the wrist; bone i has hue i/20 at full saturation.
HAND_BONES = tuple(
    (4 * finger + bone if bone else 0, 4 * finger + bone + 1) for finger in range(5) for bone in range(4)
)
HAND_COLORS = tuple(tuple(255 * channel for channel in colorsys.hsv_to_rgb(bone / 20, 1, 1)) for bone in range(20))
HAND_JOINT_COLOR = (0, 0, 255)
HEAD_POINTS = [0, 14, 15, 16, 17]


def drawn_points(keypoints: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body ``[20, 3]``, left and right hand ``[21, 3]``, float64 pixels.

    Rounds through float32 fractions of the frame, as upstream.
    """
    unit = np.array(keypoints, dtype=np.float32)
    unit[:, 0] /= width
    unit[:, 1] /= height
    body = (unit[list(wholebody.DRAWN_FIRST)] + unit[list(wholebody.DRAWN_SECOND)]) / 2
    size = np.array([width, height, 1], np.float64)
    return body * size, unit[wholebody.LEFT_HAND] * size, unit[wholebody.RIGHT_HAND] * size


def draw_pose(
    canvas: np.ndarray, keypoints: np.ndarray, threshold: float = 0.5, hands: bool = True, head: bool = True
) -> np.ndarray:
    """Draws one skeleton on ``canvas``, in place.

    Args:
        canvas: uint8 ``[H, W, 3]`` RGB, C-contiguous.
        keypoints: float ``[133, 3]``: x, y in pixels of ``canvas``, confidence.
        threshold: least confidence of points and of a limb's ends.
    """
    height, width = canvas.shape[:2]
    body, left_hand, right_hand = drawn_points(keypoints, width, height)
    if not head:
        body[HEAD_POINTS, 2] = 0
    stick = max(int(min(height, width) / 200) - 1, 1)

    shown = body[:, 2] >= threshold
    points = body[:, :2].tolist()
    for (a, b), color in zip(LIMBS, LIMB_COLORS, strict=True):
        if not (shown[a] and shown[b]):
            continue
        (ax, ay), (bx, by) = points[a], points[b]
        length = ((ay - by) ** 2 + (ax - bx) ** 2) ** 0.5
        angle = math.degrees(math.atan2(ay - by, ax - bx))
        centre = (int((ax + bx) / 2), int((ay + by) / 2))
        ellipse = cv2.ellipse2Poly(centre, (int(length / 2), stick), int(angle), 0, 360, 1)
        cv2.fillConvexPoly(canvas, ellipse, color)  # type: ignore[call-overload]  # an array; the stub says Sequence
    for (x, y), visible, color in zip(points, shown, JOINT_COLORS, strict=True):
        if visible:
            cv2.circle(canvas, (int(x), int(y)), stick, color, thickness=-1)
    if hands:
        for hand in (left_hand, right_hand):
            _draw_hand(canvas, hand, threshold, max(stick // 2, 1))
    return canvas


def _draw_hand(canvas: np.ndarray, hand: np.ndarray, threshold: float, stick: int) -> None:
    pixels = hand[:, :2].astype(np.int64)
    # A hand point on the frame's first row or column, or beyond, counts as missing upstream.
    shown = ((hand[:, 2] >= threshold) & (pixels > 0).all(axis=1)).tolist()
    at = [tuple(point) for point in pixels.tolist()]
    for (a, b), color in zip(HAND_BONES, HAND_COLORS, strict=True):
        if shown[a] and shown[b]:
            cv2.line(canvas, at[a], at[b], color, thickness=stick)
    for point, visible in zip(at, shown, strict=True):
        if visible:
            cv2.circle(canvas, point, stick, HAND_JOINT_COLOR, thickness=-1)


class DrawnPoseSource(FrameSource):
    """A drawn pose track, uint8 RGB on black."""

    kind = "image"

    def __init__(self, track: PoseTrack, *, threshold: float = 0.5, hands: bool = True, head: bool = True) -> None:
        self.track = track
        self.width, self.height, self.fps = track.width, track.height, Fraction(track.fps)
        self._where = (0, 0, track.width, track.height)  # left, top, width, height of the drawing in the frame
        self._threshold, self._hands, self._head = threshold, hands, head

    @classmethod
    def at_size(
        cls,
        track: PoseTrack,
        width: int = 0,
        height: int = 0,
        fit: str = "fill",
        *,
        threshold: float = 0.5,
        hands: bool = True,
        head: bool = True,
    ) -> DrawnPoseSource:
        """The track drawn for another size (0 keeps the track's); ``fit`` as in
        :func:`wan_animate.video.resample.placement`.

        Scales the drawing, as upstream; above twice the size first the track, as bilinear shrinking would break thin
        lines. Raises InputError.
        """
        if (width > 0) != (height > 0) or width < 0 or height < 0:
            raise InputError(
                f"draw pose: width {width} and height {height} must both be positive, or both 0 (the clip's own size)."
            )
        width, height = width or track.width, height or track.height
        if min(width / track.width, height / track.height) < 0.5:
            track = track.placed(width, height, fit)
        drawn = cls(track, threshold=threshold, hands=hands, head=head)
        drawn.width, drawn.height = width, height
        drawn._where = placement(track.width, track.height, width, height, fit)
        return drawn

    @property
    def shown(self) -> PoseTrack:
        """The track in pixels of the drawn frames."""
        return self.track.moved(self.width, self.height, self._where)

    def __len__(self) -> int:
        return len(self.track)

    def _read(self, start: int, stop: int) -> np.ndarray:
        # np.zeros does not touch memory that stays black.
        out = np.zeros((stop - start, self.height, self.width, 3), np.uint8)
        frames = zip(out, self.track.keypoints[start:stop], strict=True)
        if (self.width, self.height) == (self.track.width, self.track.height):
            for row, keypoints in frames:
                draw_pose(row, keypoints, self._threshold, self._hands, self._head)
            return out
        canvas = np.empty((self.track.height, self.track.width, 3), np.uint8)
        for row, keypoints in frames:
            canvas.fill(0)
            draw_pose(canvas, keypoints, self._threshold, self._hands, self._head)
            place(canvas, self._where, self.width, self.height, cv2.INTER_LINEAR, row)
        return out

    def is_black(self) -> bool | None:
        return not (self.track.keypoints[..., 2] >= self._threshold).any() or None

    def fingerprint(self) -> str:
        options = f"threshold={self._threshold},hands={self._hands},head={self._head}"
        return f"drawn:{self.width}x{self.height}:{self._where}:{options}:{self.track.fingerprint()}"
