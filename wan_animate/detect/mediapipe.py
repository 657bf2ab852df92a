"""Pose detection with MediaPipe's holistic solution, which smooths over time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from ..people.choosing import PersonChoice
from ..people.shots import LOOK_AHEAD, CutFinder, thumbnail
from ..pose import wholebody
from ..pose.track import PoseTrack
from ..video.frames import FrameSource, read_ahead
from .detection import Detection

INSTALL = (
    "run `pip install --no-deps mediapipe==0.10.21` and `pip install absl-py attrs flatbuffers matplotlib "
    '"protobuf>=4.25.3,<7"` in the Python that runs this (Python 3.12 or older)'
)

# BlazePose landmarks of COCO's 17 body and 6 foot points. It has one toe per foot, used for both of COCO's.
# Source: MediaPipe's PoseLandmark.
BODY = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 31, 31, 29, 32, 32, 30)
# Face mesh landmarks of the 68 face points (jaw, brows, nose, eyes, mouth).
FACE = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


def keypoints_of(result: Any, width: int, height: int) -> np.ndarray:
    """float32 ``[133, 3]`` in pixels, 0, 0, 0 where not found; confidence is visibility, 1 for face and hands."""
    points = np.zeros((wholebody.COUNT, 3), np.float32)
    body = slice(wholebody.BODY.start, wholebody.FEET.stop)
    for part, landmarks, order in (
        (body, result.pose_landmarks, BODY),
        (wholebody.FACE, result.face_landmarks, FACE),
        (wholebody.LEFT_HAND, result.left_hand_landmarks, range(21)),
        (wholebody.RIGHT_HAND, result.right_hand_landmarks, range(21)),
    ):
        if landmarks is not None:
            at = landmarks.landmark
            points[part] = [
                (at[i].x * width, at[i].y * height, at[i].visibility if part == body else 1.0) for i in order
            ]
    points[:, 2] = points[:, 2].clip(0, 1)
    return points


class MediaPipeDetector:
    """Finds 133 keypoints of one person on the CPU.

    Raises:
        InputError: MediaPipe is not installed, or lacks its models.
    """

    provider = "MediaPipe"

    def __init__(self) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")  # or it prints warnings for every frame
        try:
            import mediapipe
        except ImportError as error:
            raise InputError(f"MediaPipe detector: mediapipe cannot be imported ({error}); {INSTALL}.") from error
        if not hasattr(mediapipe, "solutions"):
            version = getattr(mediapipe, "__version__", "unknown")
            raise InputError(
                f"MediaPipe detector: mediapipe {version} is installed, which comes without its models; {INSTALL}."
            )
        self._holistic = mediapipe.solutions.holistic.Holistic

    def detect(
        self,
        frames: FrameSource,
        batch: int = 8,
        progress: Callable[[int, int], None] | None = None,
        person: PersonChoice | None = None,
    ) -> Detection:
        """As :meth:`.detector.PoseDetector.detect`; raises InputError unless ``person`` is "largest"."""
        if frames.kind != "image":
            raise InputError("detect pose: its input is a clip of masks; connect the driving video's frames.")
        if person is not None and person.how != "largest":
            raise InputError(
                f"detect pose: MediaPipe follows the one person it sees best, so person cannot be {person.how!r}; "
                "choose largest, or use Load Pose Detector."
            )
        keypoints = np.zeros((len(frames), wholebody.COUNT, 3), np.float32)
        finder = CutFinder()
        holistic: Any = None
        try:
            for index, image, new in _with_cuts(read_ahead(frames, batch), finder):
                if new:  # it tracks from the frame before, which a new shot must not
                    if holistic is not None:
                        holistic.close()
                    holistic = self._holistic(refine_face_landmarks=True)
                keypoints[index] = keypoints_of(holistic.process(image), frames.width, frames.height)
                if progress is not None and ((index + 1) % batch == 0 or index + 1 == len(frames)):
                    progress(index + 1, len(frames))
        finally:
            if holistic is not None:
                holistic.close()
        if not (keypoints[..., 2] > 0).any():
            raise InputError(
                f"detect pose: MediaPipe found no person in any of the clip's {len(frames)} frames; use a clip that "
                "shows a person large enough to make out, from the chest up or more."
            )
        track = PoseTrack(
            keypoints, frames.width, frames.height, frames.fps, _boxes(keypoints), tuple(finder.cuts), frames.picture,
            frames.start_seconds,
        )  # fmt: skip
        return Detection(track, [])

    def close(self) -> None:
        """Nothing to free."""


def _with_cuts(
    batches: Iterable[tuple[int, int, np.ndarray]], finder: CutFinder
) -> Iterator[tuple[int, np.ndarray, bool]]:
    """(index, image, whether a shot begins), a few frames late."""
    waiting: deque[np.ndarray] = deque()
    index = 0
    for _, _, images in batches:
        for image in images:
            finder.add(thumbnail(image))
            waiting.append(np.ascontiguousarray(image))
            if len(waiting) > LOOK_AHEAD:
                yield index, waiting.popleft(), index == 0 or index in finder.cuts
                index += 1
    finder.finish()
    for image in waiting:
        yield index, image, index == 0 or index in finder.cuts
        index += 1


def _boxes(keypoints: np.ndarray) -> np.ndarray:
    """Bounding boxes ``[T, 5]`` with mean confidence, or score -1."""
    boxes = np.zeros((len(keypoints), 5), np.float32)
    for box, points in zip(boxes, keypoints, strict=True):
        seen = points[points[:, 2] >= 0.3]
        box[4] = -1
        if len(seen):
            box[:] = *seen[:, :2].min(axis=0), *seen[:, :2].max(axis=0), seen[:, 2].mean()
    return boxes
