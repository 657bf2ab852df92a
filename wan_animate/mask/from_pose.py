"""Character masks from the skeleton alone."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import InputError
from ..pose import wholebody as L
from ..pose.track import PoseTrack
from ..video.frames import FrameSource

# Radii as fractions of the person's size (see person_size); wide enough for sleeves and trousers.
UPPER_ARM, FOREARM, WRIST = 0.20, 0.17, 0.13
THIGH, SHIN, FOOT = 0.27, 0.20, 0.16
SHOULDER, NECK, FINGER = 0.22, 0.24, 0.07
# In halves of the face's height (brow to chin), from its middle: the skull ends at about 2, a top hat at CROWN (taken
# where no box tells). A box is believed up to TALLEST; up to ROUND its content may be a head, as wide as it is high.
HEAD_HIGH, HEAD_WIDE, CROWN, ROUND, TALLEST, ABOVE = 1.75, 1.4, 4.5, 3.4, 9.0, 0.3

SEEN = 0.3  # confidence from which a point is drawn
LIMBS = (
    (L.LEFT_SHOULDER, L.LEFT_ELBOW, UPPER_ARM), (L.RIGHT_SHOULDER, L.RIGHT_ELBOW, UPPER_ARM),
    (L.LEFT_ELBOW, L.LEFT_WRIST, FOREARM), (L.RIGHT_ELBOW, L.RIGHT_WRIST, FOREARM),
    (L.LEFT_HIP, L.LEFT_KNEE, THIGH), (L.RIGHT_HIP, L.RIGHT_KNEE, THIGH),
    (L.LEFT_KNEE, L.LEFT_ANKLE, SHIN), (L.RIGHT_KNEE, L.RIGHT_ANKLE, SHIN),
    (L.LEFT_ANKLE, L.LEFT_BIG_TOE, FOOT), (L.RIGHT_ANKLE, L.RIGHT_BIG_TOE, FOOT),
    (L.LEFT_ANKLE, L.LEFT_SMALL_TOE, FOOT), (L.RIGHT_ANKLE, L.RIGHT_SMALL_TOE, FOOT),
    (L.LEFT_ANKLE, L.LEFT_HEEL, FOOT), (L.RIGHT_ANKLE, L.RIGHT_HEEL, FOOT),
)  # fmt: skip


def silhouette(
    keypoints: np.ndarray,
    width: int,
    height: int,
    grow: float = 1.0,
    threshold: float = SEEN,
    box: np.ndarray | None = None,
) -> np.ndarray:
    """Outline of a person with this skeleton, uint8 ``[height, width]`` of 0 and 1.

    Args:
        keypoints: float ``[133, 3]`` in pixels.
        grow: factor on every width; 1 fits everyday clothes.
        threshold: least confidence, except of joints outside the frame that continue a visible limb.
        box: x1, y1, x2, y2, score of the detected person with hat; None leaves room for a top hat.
    """
    canvas = np.zeros((height, width), np.uint8)
    points, confidence = keypoints[:, :2].astype(np.float64), keypoints[:, 2]
    seen = confidence >= threshold
    if not seen[L.BODY].any():
        return canvas
    person = person_size(points, seen)
    if person < 2:
        return canvas

    def capsule(a: np.ndarray, b: np.ndarray, radius: float) -> None:
        _capsule(canvas, a, b, radius * person * grow)

    outside = np.any((points < 0) | (points >= (width, height)), axis=1)
    for a, b, radius in LIMBS:
        # a joint outside the frame has little confidence, but the limb up to the edge is visible
        continued = seen[a] and outside[b] and 0 < np.linalg.norm(points[b] - points[a]) < 2.5 * person
        if seen[a] and (seen[b] or continued):
            capsule(points[a], points[b], radius)

    _draw_torso(canvas, points, seen, person, grow)
    _draw_head(canvas, points, seen, person, grow, box)
    for hand, wrist, elbow in ((L.LEFT_HAND, L.LEFT_WRIST, L.LEFT_ELBOW), (L.RIGHT_HAND, L.RIGHT_WRIST, L.RIGHT_ELBOW)):
        shown = points[hand][seen[hand]]
        if len(shown) >= 5:
            cv2.fillConvexPoly(canvas, cv2.convexHull(np.int32(np.rint(shown))), 1)
            for bone in range(1, 21):
                a, b = hand.start + (bone - 1 if bone % 4 != 1 else 0), hand.start + bone
                if seen[a] and seen[b]:
                    capsule(points[a], points[b], FINGER)
            if seen[wrist]:
                capsule(points[wrist], points[hand.start], WRIST)
        elif seen[wrist] and seen[elbow]:
            # no fingers found: a fist's length beyond the wrist
            capsule(points[wrist], points[wrist] + 0.4 * (points[wrist] - points[elbow]), WRIST * 1.4)
    return canvas


def person_size(points: np.ndarray, seen: np.ndarray) -> float:
    """Shoulder width in pixels, the largest estimate (foreshortening shrinks)."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    sizes = [0.0]
    if seen[L.LEFT_SHOULDER] and seen[L.RIGHT_SHOULDER]:
        sizes.append(distance(points[L.LEFT_SHOULDER], points[L.RIGHT_SHOULDER]))
    for shoulder, hip, elbow in (
        (L.LEFT_SHOULDER, L.LEFT_HIP, L.LEFT_ELBOW),
        (L.RIGHT_SHOULDER, L.RIGHT_HIP, L.RIGHT_ELBOW),
    ):
        if seen[shoulder] and seen[hip]:
            sizes.append(0.65 * distance(points[shoulder], points[hip]))
        if seen[shoulder] and seen[elbow]:
            sizes.append(0.9 * distance(points[shoulder], points[elbow]))
    if seen[L.FACE].sum() >= 30:
        face = points[L.FACE][seen[L.FACE]]
        sizes.append(1.5 * float((face.max(axis=0) - face.min(axis=0)).max()))
    elif seen[L.LEFT_EYE] and seen[L.RIGHT_EYE]:
        sizes.append(5 * distance(points[L.LEFT_EYE], points[L.RIGHT_EYE]))
    return max(sizes)


def _capsule(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float) -> None:
    start, end = (tuple(round(value) for value in np.clip(point, -30_000, 30_000)) for point in (a, b))
    cv2.line(canvas, start, end, 1, thickness=max(round(2 * radius), 1))
    for centre in (start, end):
        cv2.circle(canvas, centre, max(round(radius), 1), 1, thickness=-1)


def _draw_torso(canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, person: float, grow: float) -> None:
    shoulders = [joint for joint in (L.LEFT_SHOULDER, L.RIGHT_SHOULDER) if seen[joint]]
    if not shoulders:
        return
    corners = [points[joint] for joint in shoulders]
    for shoulder in shoulders:
        hip = L.LEFT_HIP if shoulder == L.LEFT_SHOULDER else L.RIGHT_HIP
        # missing hips: straight below the shoulders
        corners.append(points[hip] if seen[hip] else points[shoulder] + (0, 1.6 * person))
    hull = cv2.convexHull(np.int32(np.rint(np.clip(corners, -30_000, 30_000)))).reshape(-1, 2)
    cv2.fillConvexPoly(canvas, hull, 1)
    for a, b in zip(hull, np.roll(hull, 1, axis=0), strict=True):
        _capsule(canvas, a, b, SHOULDER * person * grow)


class Head(NamedTuple):
    """Place and direction of a head in pixels."""

    neck: np.ndarray | None  # [2], between the shoulders
    joints: np.ndarray  # [2], the middle of nose, eyes and ears
    middle: np.ndarray  # [2], of the face, where it is seen
    up: np.ndarray  # [2], of length 1
    reach: float  # half_face, but larger where the face is not seen
    half_face: float  # half its height, brow to chin


def find_head(points: np.ndarray, seen: np.ndarray, person: float) -> Head | None:
    """The head of keypoints ``[133, 2]`` (``seen``: bool ``[133]``) of a person of :func:`person_size`."""
    head = [joint for joint in range(L.NOSE, L.RIGHT_EAR + 1) if seen[joint]]
    face = points[L.FACE][seen[L.FACE]]
    if not head and len(face) < 10:
        return None
    shoulders = [points[joint] for joint in (L.LEFT_SHOULDER, L.RIGHT_SHOULDER) if seen[joint]]
    joints = middle = points[head].mean(axis=0) if head else face.mean(axis=0)
    neck, up = None, np.array([0.0, -1.0])
    if shoulders:
        neck = np.mean(shoulders, axis=0)
        up = (joints - neck) / max(float(np.linalg.norm(joints - neck)), 1.0)
    reach, half_face = 0.32 * person, 0.2 * person
    if len(face) >= 30:
        reach = half_face = max(float((face.max(axis=0) - face.min(axis=0)).max()) / 2, 0.2 * person)
        middle = (face.max(axis=0) + face.min(axis=0)) / 2
    return Head(neck, joints, middle, up, reach, half_face)


def _draw_head(
    canvas: np.ndarray, points: np.ndarray, seen: np.ndarray, person: float, grow: float, box: np.ndarray | None
) -> None:
    found = find_head(points, seen, person)
    if found is None:
        return
    neck, joints, middle, up, reach, half_face = found
    if neck is not None:
        _capsule(canvas, neck, joints, NECK * person * grow)
    centre = middle + up * 0.35 * reach
    axes = (round(HEAD_HIGH * reach * grow), round(HEAD_WIDE * reach * grow))
    angle = float(np.degrees(np.arctan2(up[1], up[0])))
    at = tuple(round(value) for value in np.clip(centre, -30_000, 30_000))
    cv2.ellipse(canvas, at, axes, angle, 0, 360, 1, thickness=-1)
    box_height = _crown(points[seen], middle, up, half_face, box)
    high = CROWN * half_face * grow if box_height is None else box_height
    if high <= (0.35 + HEAD_HIGH * grow) * reach:
        return  # no higher than the head
    if box_height is not None:
        high += ABOVE * half_face
        # may be as wide as high: big hair, a brim; higher than ROUND it is a hat
        tall = min(high, ROUND * reach)
        wide = (tall + 0.9 * reach) / 2
        centre, axes = middle + up * (tall - 1.4 * reach) / 2, (round((tall + 1.4 * reach) / 2), round(wide * grow))
        at = tuple(round(value) for value in np.clip(centre, -30_000, 30_000))
        cv2.ellipse(canvas, at, axes, angle, 0, 360, 1, thickness=-1)
    crown = middle + up * high
    side = np.array([-up[1], up[0]]) * HEAD_WIDE * reach * grow
    corners = np.clip([middle - side, middle + side, crown + side, crown - side], -30_000, 30_000)
    cv2.fillConvexPoly(canvas, np.int32(np.rint(corners)), 1)


def _crown(
    points: np.ndarray, middle: np.ndarray, up: np.ndarray, half_face: float, box: np.ndarray | None
) -> float | None:
    """Pixels from an upright face's middle to the box's top; None if that top is a hand's or a keypoint's."""
    if box is None or box[4] < 0 or -up[1] < 0.5:
        return None
    top = float(box[1])
    if top > points[:, 1].min() - 0.4 * half_face:
        return None
    return min((middle[1] - top) / -up[1], TALLEST * half_face)


class PoseMaskSource(FrameSource):
    """A pose track's silhouettes as masks of its size (uint8, 0 or 255), drawn when read.

    Args:
        grow: 0.2 to 5, see :func:`silhouette`.
    """

    kind = "mask"

    def __init__(self, track: PoseTrack, *, grow: float = 1.0) -> None:
        if not 0.2 <= grow <= 5:
            raise InputError(
                f"mask from pose: grow is {grow}, but it must lie between 0.2 and 5 (1 fits everyday clothes)."
            )
        self.track, self.grow = track, float(grow)
        self.width, self.height, self.fps = track.width, track.height, track.fps

    @classmethod
    def at_size(
        cls, track: PoseTrack, width: int = 0, height: int = 0, fit: str = "fill", *, grow: float = 1.0
    ) -> PoseMaskSource:
        """The track resized like the frames (:func:`wan_animate.video.resample.placement`); 0, 0 keeps its size. Raises
        InputError.
        """
        if (width > 0) != (height > 0) or width < 0 or height < 0:
            raise InputError(f"mask from pose: width {width} and height {height} must both be positive, or both 0.")
        return cls(track.placed(width or track.width, height or track.height, fit), grow=grow)

    def __len__(self) -> int:
        return len(self.track)

    def _read(self, start: int, stop: int) -> np.ndarray:
        masks = np.empty((stop - start, self.height, self.width), np.uint8)
        boxes = [None] * len(self.track) if self.track.boxes is None else self.track.boxes
        for at, mask in enumerate(masks, start):
            outline = silhouette(self.track.keypoints[at], self.width, self.height, self.grow, box=boxes[at])
            np.multiply(outline, 255, out=mask)
        return masks

    def is_black(self) -> bool | None:
        return not (self.track.keypoints[:, L.BODY, 2] >= SEEN).any() or None

    def fingerprint(self) -> str:
        boxes = b"" if self.track.boxes is None else self.track.boxes.tobytes()
        digest = hashlib.blake2b(boxes, digest_size=8).hexdigest()
        return f"silhouette:{self.width}x{self.height}:{self.grow}:{digest}:{self.track.fingerprint()}"
