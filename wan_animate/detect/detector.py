"""Person detection (YOLO) and whole-body pose estimation (ViTPose)."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

import numpy as np

from .. import workers
from ..errors import InputError
from ..flags import runs_of
from ..log import get_logger
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

log = get_logger(__name__)

MIN_BODY_CONFIDENCE = 0.3  # mean over the body, where the box is not a detection


class PoseDetector:
    """Finds 133 keypoints of one person in every frame.

    As upstream's ``wan/modules/animate/preprocess/pose2d.py``, except: it follows the chosen person (upstream: each
    frame's largest), ViTPose gets RGB as in training (upstream: BGR), cropping inverts decoding exactly.

    Args:
        detector_path: YOLOv10 (``[N, M, 6]``) or YOLOv8 (``[N, 4 + classes, M]``) ONNX file.
        pose_path: ViTPose wholebody ONNX file (``[N, 3, 256, 192]`` -> ``[N, 133, 64, 48]``, or other sizes).
        provider: "auto", "cuda", "directml", "coreml" or "cpu"; the CPU replaces one that fails.
        choose_card: the number of the CUDA card for both, asked whenever they are loaded onto one.

    Attributes:
        person_network, pose_network: the two as :class:`.onnx_model.OnnxModel`.

    Raises:
        InputError: a file is missing, damaged or another network.
    """

    def __init__(
        self,
        detector_path: str | os.PathLike,
        pose_path: str | os.PathLike,
        provider: str = "auto",
        choose_card: Callable[[], int] = lambda: 0,
    ) -> None:
        self.person_network = OnnxModel(detector_path, provider, "person detector", choose_card)
        self._detector_size = check_detector(self.person_network)
        self.pose_network = OnnxModel(
            pose_path, provider, "pose model",
            lambda: self.person_network.card if self.person_network.on_card else choose_card(),
        )  # fmt: skip
        self._pose_size = check_pose(self.pose_network)

    @property
    def provider(self) -> str:
        """The pose network's, by onnxruntime's name."""
        return self.pose_network.provider

    def detect(
        self,
        frames: FrameSource,
        batch: int = 8,
        progress: Callable[[int, int], None] | None = None,
        person: PersonChoice = PersonChoice(),  # noqa: B008  frozen
    ) -> Detection:
        """Detects one person's pose in every frame. Where the choice changes later, frames are read again.

        Boxes are interpolated over gaps up to two seconds (score 0); in longer ones the whole frame is searched (score
        -1), and the pose gets confidence 0 unless the body's mean exceeds 0.3. So does every pose where only others are
        in view (score -1).

        Args:
            batch: frames per run of a network; does not change the result.
            progress: called with (frames done, all frames); may raise to stop.

        Raises:
            InputError: ``frames`` are masks, nobody is in the clip, or nobody fits ``person``.
        """
        if frames.kind != "image":
            raise InputError("detect pose: its input is a clip of masks; connect the driving video's frames.")
        if batch < 1:
            raise InputError(f"detect pose: batch is {batch}, but it must be at least 1.")
        count = len(frames)
        person.check(count)
        self.person_network.begin()
        self.pose_network.begin()
        self.person_network.open()
        self.pose_network.open()
        self._check_point(frames, person)
        keypoints = np.zeros((count, wholebody.COUNT, 3), np.float32)
        used = np.full((count, 5), np.nan, np.float32)  # boxes the keypoints were found in
        tracker = PersonTracker(frames, person)

        done = 0

        def tick() -> None:
            """Of the thread that waits for a network: a run of it must not outlive a Cancel."""
            try:
                if progress is not None:
                    progress(done, count)
            except BaseException:
                self.person_network.stop()
                self.pose_network.stop()
                raise

        try:
            with workers.opencv_in_one_thread(), closing(self._pipeline(frames, batch, tracker, tick)) as results:
                for start, stop, boxes, points in results:
                    used[start:stop], keypoints[start:stop] = boxes, points
                    done = stop
                    if progress is not None:
                        progress(stop, count)
        except BaseException:
            self.person_network.begin()
            self.pose_network.begin()
            raise

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
        if choice.how != "point":
            return
        found = self.find_everybody(read_uint8(frames, choice.frame, choice.frame + 1))[0].boxes
        if len(found) and person_at(found, choice, frames.width, frames.height) is None:
            found = found[found[:, 4] >= MIN_START_SCORE]
            found = found[np.argsort(found[:, 0] + found[:, 2])]
            raise InputError(nobody_at(describe_positions(found, frames.width, frames.height), choice))

    def _pipeline(
        self, frames: FrameSource, batch: int, tracker: PersonTracker, tick: Callable[[], None]
    ) -> Generator[tuple[int, int, np.ndarray, np.ndarray], None, None]:
        """(start, stop, boxes, keypoints) per batch; a thread per stage."""
        size, pose_size = self._detector_size, self._pose_size
        scale = frames.width / size[0], frames.height / size[1]
        resized = detector_inputs(size, self.person_network.device)
        crops = pose_inputs(pose_size, self.pose_network.device)

        def prepared(source: Iterable[tuple]) -> Iterator[tuple]:
            for start, stop, images in source:
                yield start, stop, images, *resize_frames(resized, images)

        def detected(source: Iterable[tuple]) -> Iterator[tuple]:
            for start, stop, images, inputs, small in source:
                yield start, stop, images, small, to_numpy(self.person_network.run(inputs))

        def cropped(source: Iterable[tuple]) -> Iterator[tuple]:
            for start, stop, images, small, outputs in source:
                boxes = tracker.update(detect_people(outputs, small, scale, frames.width, frames.height), small)
                regions = crop_regions(boxes[:, :4], *pose_size)
                yield start, stop, boxes, regions, crop_people(crops, images, regions)

        def posed(source: Iterable[tuple]) -> Iterator[tuple]:
            for start, stop, boxes, regions, inputs in source:
                yield start, stop, boxes, regions, self.pose_network.run(inputs)

        stages: Generator[tuple, None, None] = read_ahead(frames, batch, depth=1)
        for stage in (prepared, detected, cropped, posed):
            stages = ahead(stage(stages), name=stage.__name__, tick=tick if stage is posed else None)
        with closing(stages):
            for start, stop, boxes, regions, heatmaps in stages:
                yield start, stop, boxes, keypoints_from_heatmaps(heatmaps, regions)

    def _poses(
        self, frames: FrameSource, batch: int, boxes: np.ndarray, wanted: np.ndarray
    ) -> Generator[tuple[int, int, np.ndarray], None, None]:
        """(start, stop, keypoints) of the frames ``wanted`` ``[T]``."""
        crops = pose_inputs(self._pose_size, self.pose_network.device)

        def cropped(source: Iterable[tuple]) -> Iterator[tuple]:
            for start, stop, images in source:
                regions = crop_regions(boxes[start:stop, :4], *self._pose_size)
                yield start, stop, regions, crop_people(crops, images, regions)

        batches = ahead(cropped(read_ahead(frames, batch, depth=1, ranges=runs_of(wanted))))
        with closing(batches):
            for start, stop, regions, inputs in batches:
                yield start, stop, keypoints_from_heatmaps(self.pose_network.run(inputs), regions)

    def find_everybody(self, images: np.ndarray) -> list[FrameDetections]:
        """People in uint8 RGB images ``[N, H, W, 3]``."""
        return find_everybody(self.person_network, self._detector_size, images)

    def find_keypoints(self, images: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Keypoints in each image's box: float32 ``[N, 133, 3]``."""
        regions = crop_regions(boxes[:, :4], *self._pose_size)
        return keypoints_from_heatmaps(
            self.pose_network.run(crop_people(pose_inputs(self._pose_size), images, regions)), regions
        )

    def close(self) -> None:
        """Frees memory until the next run."""
        self.person_network.close()
        self.pose_network.close()


def find_everybody(network: OnnxModel, size: tuple[int, int], images: np.ndarray) -> list[FrameDetections]:
    """People in uint8 RGB images ``[N, H, W, 3]``; ``size``: the network's input, width and height."""
    height, width = images.shape[1:3]
    inputs, small = resize_frames(detector_inputs(size), images)
    return detect_people(to_numpy(network.run(inputs)), small, (width / size[0], height / size[1]), width, height)


def _drop_guesses(keypoints: np.ndarray, boxes: np.ndarray, away: np.ndarray) -> None:
    """Sets confidence 0, in place, where no pose was found."""
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
