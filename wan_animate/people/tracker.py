"""Follows the chosen person through a clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..shots import shots_of
from ..video.frames import FrameSource
from .boxes import WHOLE_FRAME, FrameDetections
from .choosing import Person, PersonChoice, Shot, choose, log_choice, person_at
from .shots import CutFinder, thumbnail
from .tracks import MIN_START_SCORE, MultiPersonTracker, Track

_MAX_GAP_SECONDS = 2.0  # over which boxes are interpolated
_MIN_RELATIVE_SIDE = 0.15  # of the largest person's longer side; smaller people are background
_RECENT_FRAMES = 10
_MIN_SIGHTINGS = 3
_AREA_FRAMES = 200
_MOST_PEOPLE = 200  # of a shot, those seen most: each takes 20 bytes a frame


class PersonTracker:
    def __init__(self, frames: FrameSource, choice: PersonChoice) -> None:
        self.width, self.height, self.count, self.fps = frames.width, frames.height, len(frames), float(frames.fps)
        self.choice = choice
        self._detections: list[FrameDetections] = []
        self._cuts = CutFinder()
        self._everybody = MultiPersonTracker(self.fps)

    def update(self, detections: list[FrameDetections], images: np.ndarray) -> np.ndarray:
        """Adds frames.

        Args:
            images: uint8 ``[n, h, w, 3]``, any size.

        Returns:
            float32 ``[n, 5]``: the chosen person's provisional boxes.
        """
        self._cuts.add(*(thumbnail(image) for image in images))
        return np.stack([self._follow(frame) for frame in detections])

    def _follow(self, detections: FrameDetections) -> np.ndarray:
        frame = len(self._detections)
        self._detections.append(detections)
        self._everybody.update(frame, detections)
        recent = [
            track
            for track in self._everybody.tracks
            if frame - track.frames[-1] < _RECENT_FRAMES and len(track.frames) >= _MIN_SIGHTINGS
        ]
        if len(recent) < 2:
            return detections.largest
        guess = self._guess(recent)
        return guess.boxes[-1] if guess.frames[-1] == frame else detections.largest

    def _guess(self, tracks: list[Track]) -> Track:
        choice = self.choice
        if choice.how == "point" and len(self._detections) > choice.frame:
            there = [track for track in tracks if choice.frame in track.frames]
            boxes = [track.boxes[track.frames.index(choice.frame)] for track in there]
            index = person_at(np.stack(boxes), choice, self.width, self.height) if boxes else None
            if index is not None:
                return there[index]
        latest = np.stack([track.boxes[-1] for track in tracks])
        if choice.how == "number" and choice.number <= len(tracks):
            return tracks[int(np.argsort(latest[:, 0] + latest[:, 2])[choice.number - 1])]
        if choice.how == "central":
            offset = np.abs((latest[:, :2] + latest[:, 2:4]) / (self.width, self.height) - 1).sum(axis=1)
            return tracks[int(np.argmin(offset))]
        areas = [np.mean([np.prod(box[2:4] - box[:2]) for box in track.boxes[-_AREA_FRAMES:]]) for track in tracks]
        return tracks[int(np.argmax(areas))]

    def finish(self) -> list[Shot]:
        """Shots with final boxes. Raises InputError if nobody fits the choice."""
        cuts = self._cuts.finish()
        tracked = None if cuts else self._everybody
        shots = [
            shot_people(self._detections, start, stop, self.fps, tracked) for start, stop in shots_of(cuts, self.count)
        ]
        choose(shots, self.choice, self.width, self.height)
        for shot in shots:
            shot.boxes[shot.boxes[:, 4] <= WHOLE_FRAME] = (0, 0, self.width, self.height, WHOLE_FRAME)
        log_choice(shots, self.choice, self.width, self.height)
        return shots


def shot_people(
    detections: list[FrameDetections],
    start: int,
    stop: int,
    fps: float,
    tracker: MultiPersonTracker | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Shot:
    """People in a range of frames that ``tracker`` may have seen; ``report`` of (frames done, frames)."""
    if tracker is None:
        tracker = MultiPersonTracker(fps)
        for frame in range(start, stop):
            report(frame - start, stop - start)
            tracker.update(frame, detections[frame])
    shot = Shot(start, stop, np.stack([detections[frame].largest for frame in range(start, stop)]), shown=start)
    max_gap = max(round(_MAX_GAP_SECONDS * fps), 5)
    min_sightings = max(1, min(8, (stop - start) // 10))
    tracks = [
        track
        for track in tracker.finish(lambda: report(stop - start, stop - start))
        if sum(box[4] >= MIN_START_SCORE for box in track.boxes) >= min_sightings
    ]
    if len(tracks) > _MOST_PEOPLE:
        fewest = sorted(len(track.frames) for track in tracks)[-_MOST_PEOPLE]
        tracks = [track for track in tracks if len(track.frames) >= fewest][:_MOST_PEOPLE]
    sides = [np.median([(box[2:4] - box[:2]).max() for box in track.boxes]) for track in tracks]
    tracks = [track for track, side in zip(tracks, sides) if side >= _MIN_RELATIVE_SIDE * max(sides)]
    if not tracks:
        return shot
    people = [Person(track.interpolated(start, stop, max_gap), track.typical_appearance()) for track in tracks]
    present = np.stack([person.present for person in people]).sum(axis=0)
    shot.single = int(present.max()) < 2
    at = int(present.argmax())
    shot.shown = start + at

    def place(person: Person) -> tuple[bool, float]:
        box = person.boxes[at] if person.present[at] else np.median(person.boxes[person.present], axis=0)
        return not person.present[at], float(box[0] + box[2])

    shot.people = sorted(people, key=place)
    return shot
