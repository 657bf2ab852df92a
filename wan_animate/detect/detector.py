"""PoseDetector: person detection (YOLO) and whole-body pose estimation (ViTPose) for a clip."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

import numpy as np

from .. import workers
from ..errors import InputError
from ..people.boxes import INTERPOLATED, FrameDetections, detect_people
from ..people.choosing import PersonChoice, describe_positions, nobody_at, person_at
from ..people.tracker import PersonTracker
from ..people.tracks import MIN_START_SCORE
from ..pose import wholebody
from ..pose.track import PoseTrack
from ..text import frame_ranges
from ..video.frames import FrameSource, ahead, read_ahead, read_uint8
from .detection import Detection
from .heatmaps import keypoints_from_heatmaps
from .inputs import crop_people, crop_regions, detector_inputs, pose_inputs, resize_frames
from .model_checks import check_detector, check_pose
from .onnx_model import OnnxModel, to_numpy

log = logging.getLogger(__name__)

MIN_BODY_CONFIDENCE = 0.3  # mean over the body, where the box is not a detection


class PoseDetector:
    """Finds 133 keypoints of one person in every frame.

    Follows upstream's ``wan/modules/animate/preprocess/pose2d.py``: YOLO gets the stretched frame, ViTPose the
    person's box padded by a quarter. Different on purpose: with several people the chosen one is followed (upstream
    takes the largest of each frame), ViTPose gets RGB, as in its training (upstream swaps red and blue), and the crop
    is the exact inverse of the heatmap decoding.

    Args:
        detector_path: YOLOv10 (``[N, M, 6]``) or YOLOv8 (``[N, 4 + classes, M]``) ONNX file, trained on COCO.
        pose_path: ViTPose wholebody ONNX file (``[N, 3, 256, 192]`` -> ``[N, 133, 64, 48]``; other sizes are read from
            the graph).
        provider: "auto" (the first available of CUDA, DirectML, CoreML, CPU) or one of these in lower case. A provider
            that fails is replaced by the CPU, with a warning.

    Raises:
        InputError: a file is missing, damaged or another kind of network.
    """

    def __init__(self, detector_path: str | os.PathLike, pose_path: str | os.PathLike, provider: str = "auto") -> None:
        self._detector = OnnxModel(detector_path, provider, "person detector")
        self._detector_size = check_detector(self._detector)
        self._pose = OnnxModel(pose_path, provider, "pose model")
        self._pose_size = check_pose(self._pose)

    @property
    def provider(self) -> str:
        """onnxruntime's name of the pose network's execution provider."""
        return self._pose.provider

    def detect(
        self,
        frames: FrameSource,
        batch: int = 8,
        progress: Callable[[int, int], None] | None = None,
        person: PersonChoice = PersonChoice(),  # noqa: B008  frozen
    ) -> Detection:
        """Detect the pose of one person in every frame.

        One pass over the clip, with decoding, both networks and heatmap decoding overlapped. Everybody's boxes are
        tracked; the pose is computed for who seems to be the chosen person so far. Frames where the final box differs
        are read again. The result does not depend on ``batch``.

        Gaps of up to two seconds get interpolated boxes (score 0). In longer ones the pose network gets the whole frame
        (score -1), as upstream. In both cases the confidences become 0 unless the mean of the 17 body points is above
        0.3. They are also 0 (score -1) where the chosen person is not in view and others are.

        Args:
            frames: images.
            batch: frames per read and per run of a network.
            progress: called with (frames done, all frames) after each batch; may raise to stop.
            person: whom to follow.

        Returns:
            The track in pixels of ``frames``, and the people in every shot.

        Raises:
            InputError: ``frames`` are masks, nobody is in the clip, or nobody fits ``person``.
        """
        if frames.kind != "image":
            raise InputError("detect pose: its input is a clip of masks; connect the driving video's frames.")
        if batch < 1:
            raise InputError(f"detect pose: batch is {batch}, but it must be at least 1.")
        count = len(frames)
        person.check(count)
        self._detector.begin()
        self._pose.begin()
        self._check_point(frames, person)
        keypoints = np.zeros((count, wholebody.COUNT, 3), np.float32)
        used = np.full((count, 5), np.nan, np.float32)  # boxes the keypoints were found in
        tracker = PersonTracker(frames, person)

        with workers.opencv_in_one_thread(), closing(self._pipeline(frames, batch, tracker)) as results:
            for start, stop, boxes, points in results:
                used[start:stop], keypoints[start:stop] = boxes, points
                if progress is not None:
                    progress(stop, count)

        shots = tracker.finish()
        boxes, away = (np.concatenate(parts) for parts in zip(*((shot.boxes, shot.away) for shot in shots)))
        again = (boxes[:, :4] != used[:, :4]).any(axis=1) & ~away
        if again.any():
            with closing(self._poses(frames, batch, boxes, again)) as poses:
                for start, stop, points in poses:
                    keypoints[start:stop] = points
                    if progress is not None:
                        progress(count, count)
        _drop_guesses(keypoints, boxes, away)
        track = PoseTrack(
            keypoints, frames.width, frames.height, frames.fps, boxes, tuple(shot.start for shot in shots[1:]),
            frames.picture, frames.start_seconds,
        )  # fmt: skip
        return Detection(track, shots)

    def _check_point(self, frames: FrameSource, choice: PersonChoice) -> None:
        """Raise InputError for a point on nobody before the clip is read."""
        if choice.how != "point":
            return
        found = self.find_everybody(read_uint8(frames, choice.frame, choice.frame + 1))[0].boxes
        if len(found) and person_at(found, choice, frames.width, frames.height) is None:
            found = found[found[:, 4] >= MIN_START_SCORE]
            found = found[np.argsort(found[:, 0] + found[:, 2])]
            raise InputError(nobody_at(describe_positions(found, frames.width, frames.height), choice))

    def _pipeline(
        self, frames: FrameSource, batch: int, tracker: PersonTracker
    ) -> Generator[tuple[int, int, np.ndarray, np.ndarray], None, None]:
        """Yield (start, stop, boxes ``[n, 5]``, keypoints ``[n, 133, 3]``); every stage runs in a thread of its own."""
        size, pose_size = self._detector_size, self._pose_size
        scale = frames.width / size[0], frames.height / size[1]
        resized, crops = detector_inputs(size, self._detector.device), pose_inputs(pose_size, self._pose.device)

        def prepared(source: Iterable) -> Iterator[tuple]:
            for start, stop, images in source:
                yield start, stop, images, *resize_frames(resized, images)

        def detected(source: Iterable) -> Iterator[tuple]:
            for start, stop, images, inputs, small in source:
                yield start, stop, images, small, to_numpy(self._detector.run(inputs))

        def cropped(source: Iterable) -> Iterator[tuple]:
            for start, stop, images, small, outputs in source:
                boxes = tracker.update(detect_people(outputs, small, scale, frames.width, frames.height), small)
                regions = crop_regions(boxes[:, :4], *pose_size)
                yield start, stop, boxes, regions, crop_people(crops, images, regions)

        def posed(source: Iterable) -> Iterator[tuple]:
            for start, stop, boxes, regions, inputs in source:
                yield start, stop, boxes, regions, self._pose.run(inputs)

        stages: Generator[tuple, None, None] = read_ahead(frames, batch, depth=1)
        for stage in (prepared, detected, cropped, posed):
            stages = ahead(stage(stages), name=stage.__name__)
        with closing(stages):
            for start, stop, boxes, regions, heatmaps in stages:
                yield start, stop, boxes, keypoints_from_heatmaps(heatmaps, regions)

    def _poses(
        self, frames: FrameSource, batch: int, boxes: np.ndarray, wanted: np.ndarray
    ) -> Generator[tuple[int, int, np.ndarray], None, None]:
        """Yield (start, stop, keypoints) of the frames that are True in ``wanted`` ``[T]``."""
        crops = pose_inputs(self._pose_size, self._pose.device)

        def cropped(source: Iterable) -> Iterator[tuple]:
            for start, stop, images in source:
                regions = crop_regions(boxes[start:stop, :4], *self._pose_size)
                yield start, stop, regions, crop_people(crops, images, regions)

        with closing(ahead(cropped(read_ahead(frames, batch, depth=1, ranges=_ranges(wanted))))) as source:
            for start, stop, regions, inputs in source:
                yield start, stop, keypoints_from_heatmaps(self._pose.run(inputs), regions)

    def find_everybody(self, images: np.ndarray) -> list[FrameDetections]:
        """People in uint8 RGB images ``[N, H, W, 3]``, boxes in their pixels."""
        height, width = images.shape[1:3]
        inputs, small = resize_frames(detector_inputs(self._detector_size), images)
        scale = width / self._detector_size[0], height / self._detector_size[1]
        return detect_people(to_numpy(self._detector.run(inputs)), small, scale, width, height)

    def find_keypoints(self, images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Keypoints of the person in each image's box: float32 ``[N, 133, 3]``, x, y in pixels, confidence 0..1."""
        regions = crop_regions(boxes[:, :4], *self._pose_size)
        return keypoints_from_heatmaps(
            self._pose.run(crop_people(pose_inputs(self._pose_size), images, regions)), regions
        )

    def close(self) -> None:
        """Free both networks' memory; the next run opens them again."""
        self._detector.close()
        self._pose.close()


def _drop_guesses(keypoints: np.ndarray, boxes: np.ndarray, away: np.ndarray) -> None:
    """Set the confidence to 0, in place, where the chosen person is away or no pose was found; logs the frames."""
    count = len(boxes)
    guessed = (boxes[:, 4] <= INTERPOLATED) & ~away
    lost = guessed & ~(keypoints[:, wholebody.BODY, 2].mean(axis=1) > MIN_BODY_CONFIDENCE)
    keypoints[lost | away, :, 2] = 0
    if (lost | away).all():
        raise InputError(
            f"detect pose: no person was found in any of the clip's {count} frames; use a clip that shows "
            "a person large enough to make out, from the chest up or more."
        )
    if guessed.any():
        log.warning(
            "detect pose: the person was not detected in %d of %d frames (%s); in %d of them a pose was found anyway.",
            guessed.sum(),
            count,
            frame_ranges(guessed),
            (guessed & ~lost).sum(),
        )
    if away.any():
        log.warning(
            "detect pose: the person that is followed is not in view in %d of %d frames (%s).",
            away.sum(),
            count,
            frame_ranges(away),
        )


def _ranges(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))
