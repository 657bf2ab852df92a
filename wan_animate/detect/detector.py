"""PoseDetector: a person detector and a whole-body pose network over a clip, several frames at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import numpy as np

from .. import workers
from ..errors import InputError
from ..log import get_logger
from ..people.boxes import BRIDGED, Found, found_people
from ..people.choosing import PersonChoice, Shot, nobody_at, point_on, where
from ..people.tracker import PersonTracker
from ..people.tracks import SURE
from ..pose import wholebody
from ..pose.track import PoseTrack
from ..text import frame_ranges
from ..video.frames import FrameSource, ahead, read_ahead, read_uint8
from .heatmaps import found_keypoints
from .inputs import crop_regions, detector_inputs, people, pose_inputs, whole_frames
from .model_checks import check_detector, check_pose
from .onnx_model import OnnxModel, in_memory

log = get_logger(__name__)

GUESS_CONFIDENCE = 0.3


class PoseDetector:
    """Follows one person through a clip and finds their 133 keypoints in every frame.

    Follows upstream's preprocessing (``wan/modules/animate/preprocess/pose2d.py``): the detector sees the whole frame
    stretched to its input, the pose network the person's box with a quarter more around it. With one person in view
    the boxes are upstream's. Three things differ on purpose. With several, the one chosen is followed, where upstream
    takes the largest of each frame by itself. The pose network is given RGB, which it was trained on (upstream swaps
    red and blue on the way to it). And the crop is cut with the exact inverse of the mapping that turns heatmap
    positions back into pixels.

    Args:
        detector_path: YOLOv10 (``[N, M, 6]``) or YOLOv8-like (``[N, 4 + classes, M]``) ONNX, trained on COCO.
        pose_path: ViTPose wholebody ONNX (``[N, 3, 256, 192]`` -> ``[N, 133, 64, 48]``; other sizes are taken from the
            graph). Weights in a second file are found beside it.
        provider: "auto" (CUDA, DirectML, CoreML, CPU: the first that onnxruntime offers) or one of these in lower case.
            What cannot start, or cannot run, falls back to the CPU and says so in the log.

    Attributes:
        shots: who was in view in the clip that was detected last, for a picture of them; empty before.

    Raises:
        InputError: a file is missing, damaged or of the wrong kind. Checked here, before any frame is read.
    """

    def __init__(self, detector_path: str | os.PathLike, pose_path: str | os.PathLike, provider: str = "auto"):
        self._detector = OnnxModel(detector_path, provider, "person detector")
        self._detector_size = check_detector(self._detector)
        self._pose = OnnxModel(pose_path, provider, "pose model")
        self._pose_size = check_pose(self._pose)
        self.shots: list[Shot] = []

    @property
    def provider(self) -> str:
        """onnxruntime's name of what the pose network runs on."""
        return self._pose.provider

    def detect(
        self,
        frames: FrameSource,
        batch: int = 8,
        progress: Callable[[int, int], None] | None = None,
        person: PersonChoice = PersonChoice(),  # noqa: B008  frozen
    ) -> PoseTrack:
        """Keypoints of one person in every frame.

        One pass: the next frames are decoded and prepared, and the last ones' heatmaps read, while the networks run.
        Everybody's boxes are followed through each shot (kilobytes); the pose is found at once for the person who
        looks like the chosen one so far. Only the frames where that turns out to have been somebody else, or a box
        between two detections, are read again at the end. The result does not depend on ``batch``.

        Where nobody is detected for up to two seconds, the box goes on from one detection to the next (score 0). In
        longer gaps the pose network looks at the whole frame (score -1), as upstream does. Both ways the points are
        kept if the mean confidence of the 17 body points is above 0.3 and otherwise get confidence 0. While others are
        in view and the chosen person is not, the confidence is 0 and the score -1. The log says which frames they are.

        Args:
            frames: images; read ``batch`` at a time.
            batch: frames a run of each network.
            progress: called with (frames done, all frames) after each batch; may raise to stop.
            person: whom to follow; by default whoever is largest over each shot.

        Returns:
            The track, in pixels of ``frames``, with boxes and cuts.

        Raises:
            InputError: ``frames`` are masks, no frame of the clip has a person, or nobody answers the choice.
        """
        if frames.kind != "image":
            raise InputError("detect pose: its input is a clip of masks; connect the driving video's frames.")
        if batch < 1:
            raise InputError(f"detect pose: batch is {batch}, but it must be at least 1.")
        count = len(frames)
        person.check(count)
        self.shots = []
        self._detector.begin()
        self._pose.begin()
        self._check_point(frames, person)
        keypoints = np.zeros((count, wholebody.COUNT, 3), np.float32)
        used = np.full((count, 5), np.nan, np.float32)  # boxes the keypoints were found in
        following = PersonTracker(frames, person)

        with workers.opencv_in_one_thread(), closing(self._pipeline(frames, batch, following)) as results:
            for start, stop, boxes, points in results:
                used[start:stop], keypoints[start:stop] = boxes, points
                if progress is not None:
                    progress(stop, count)

        boxes, away = following.finish()
        self.shots = following.shots
        again = (boxes[:, :4] != used[:, :4]).any(axis=1) & ~away
        if again.any():
            with closing(self._poses(frames, batch, boxes, again)) as results:
                for start, stop, points in results:
                    keypoints[start:stop] = points
                    if progress is not None:
                        progress(count, count)
        _drop_guesses(keypoints, boxes, away)
        return PoseTrack(
            keypoints, frames.width, frames.height, frames.fps, boxes, following.cuts, frames.picture,
            frames.start_seconds,
        )  # fmt: skip

    def _check_point(self, frames: FrameSource, person: PersonChoice) -> None:
        """A point that lies on nobody is refused before the clip is gone through."""
        if person.how != "point":
            return
        found = self.find_everybody(read_uint8(frames, person.frame, person.frame + 1))[0].boxes
        sure = found[found[:, 4] >= SURE]
        if len(found) and point_on(found, person, frames.width, frames.height) is None:
            sure = sure[np.argsort(sure[:, 0] + sure[:, 2])]
            spots = where(sure, frames.width, frames.height) if len(sure) else "nobody"
            raise InputError(nobody_at(spots, person))

    def _pipeline(self, frames: FrameSource, batch: int, following: PersonTracker) -> Iterator[tuple]:
        """(start, stop, boxes, keypoints) of the whole clip; every stage in a thread of its own."""
        size, pose_size = self._detector_size, self._pose_size
        scale = frames.width / size[0], frames.height / size[1]
        whole, crops = detector_inputs(size, self._detector.device), pose_inputs(pose_size, self._pose.device)

        def prepared(source: Iterable) -> Iterator[tuple]:
            for start, stop, images in source:
                yield start, stop, images, *whole_frames(whole, images)

        def detected(source: Iterable) -> Iterator[tuple]:
            for start, stop, images, inputs, small in source:
                yield start, stop, images, small, in_memory(self._detector.run(inputs))

        def cropped(source: Iterable) -> Iterator[tuple]:
            for start, stop, images, small, outputs in source:
                boxes = following.add(found_people(outputs, small, scale, frames.width, frames.height), small)
                regions = crop_regions(boxes[:, :4], *pose_size)
                yield start, stop, boxes, regions, people(crops, images, regions)

        def posed(source: Iterable) -> Iterator[tuple]:
            for start, stop, boxes, regions, inputs in source:
                yield start, stop, boxes, regions, self._pose.run(inputs)

        stages = read_ahead(frames, batch, depth=1)
        for stage in (prepared, detected, cropped, posed):
            stages = ahead(stage(stages), name=stage.__name__)
        with closing(stages):
            for start, stop, boxes, regions, heatmaps in stages:
                yield start, stop, boxes, found_keypoints(heatmaps, regions)

    def _poses(self, frames: FrameSource, batch: int, boxes: np.ndarray, wanted: np.ndarray) -> Iterator[tuple]:
        """(start, stop, keypoints) of the wanted frames."""
        crops = pose_inputs(self._pose_size, self._pose.device)

        def cropped(source: Iterable) -> Iterator[tuple]:
            for start, stop, images in source:
                regions = crop_regions(boxes[start:stop, :4], *self._pose_size)
                yield start, stop, regions, people(crops, images, regions)

        with closing(ahead(cropped(read_ahead(frames, batch, depth=1, ranges=_ranges(wanted))))) as source:
            for start, stop, regions, inputs in source:
                yield start, stop, found_keypoints(self._pose.run(inputs), regions)

    def find_everybody(self, images: np.ndarray) -> list[Found]:
        """The people in uint8 RGB images ``[N, H, W, 3]``, boxes in their pixels."""
        height, width = images.shape[1:3]
        inputs, small = whole_frames(detector_inputs(self._detector_size), images)
        scale = width / self._detector_size[0], height / self._detector_size[1]
        return found_people(self._detector.run(inputs), small, scale, width, height)

    def find_keypoints(self, images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """float32 ``[N, 133, 3]`` keypoints (x, y in pixels, confidence 0..1) of the person in each image's box."""
        regions = crop_regions(boxes[:, :4], *self._pose_size)
        return found_keypoints(self._pose.run(people(pose_inputs(self._pose_size), images, regions)), regions)

    def close(self) -> None:
        """Free both networks' memory, on the card too; the next run opens them again."""
        self._detector.close()
        self._pose.close()


def _drop_guesses(keypoints: np.ndarray, boxes: np.ndarray, away: np.ndarray) -> None:
    """Confidence 0, in place, where the chosen person is away or a pose was looked for in vain; says what it did."""
    count = len(boxes)
    guessed = (boxes[:, 4] <= BRIDGED) & ~away
    lost = guessed & ~(keypoints[:, wholebody.BODY, 2].mean(axis=1) > GUESS_CONFIDENCE)
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
