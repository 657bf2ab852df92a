"""Following the chosen person while the clip is gone through, and saying whom it was afterwards."""

from __future__ import annotations

import logging

import numpy as np

from ..frames import FrameSource
from .boxes import WHOLE_FRAME
from .people import HINT, PersonChoice, choose, chosen_boxes, point_on, shot_people, where
from .shots import CutFinder, thumbnail
from .tracking import Found, Track, Tracker

log = logging.getLogger(__name__)


class Following:
    """Everybody seen so far in a clip, and a guess whom of them is meant."""

    def __init__(self, frames: FrameSource, person: PersonChoice):
        self.width, self.height, self.count, self.fps = frames.width, frames.height, len(frames), float(frames.fps)
        self.person, self.cuts, self.shots = person, (), []
        self._found: list[Found] = []
        self._finder, self._tracker = CutFinder(), Tracker(self.fps)

    def add(self, found: list[Found], copies: np.ndarray) -> np.ndarray:
        """Take in the next frames, with small copies of them ``[n, H, W, 3]``; the boxes ``[n, 5]`` to look for a pose
        in."""
        self._finder.add(*(thumbnail(copy) for copy in copies))
        return np.stack([self._follow(one) for one in found])

    def _follow(self, found: Found) -> np.ndarray:
        frame = len(self._found)
        self._found.append(found)
        self._tracker.add(frame, found)
        recent = [track for track in self._tracker.tracks if frame - track.frames[-1] < 10 and len(track.frames) > 2]
        if len(recent) < 2:
            return found.largest
        guess = self._guess(recent)
        if guess.frames[-1] == frame:
            return guess.boxes[-1]
        return found.largest

    def _guess(self, tracks: list[Track]) -> Track:
        latest = np.stack([track.boxes[-1] for track in tracks])
        person = self.person
        if person.how == "point" and len(self._found) > person.frame:
            there = [track for track in tracks if person.frame in track.frames]
            boxes = [track.boxes[track.frames.index(person.frame)] for track in there]
            at = point_on(np.stack(boxes), person, self.width, self.height) if boxes else None
            if at is not None:
                return there[at]
        if person.how == "number" and person.number <= len(tracks):
            return tracks[int(np.argsort(latest[:, 0] + latest[:, 2])[person.number - 1])]
        middles = np.abs((latest[:, :2] + latest[:, 2:4]) / (self.width, self.height) - 1).sum(axis=1)
        areas = [np.mean([np.prod(box[2:4] - box[:2]) for box in track.boxes[-200:]]) for track in tracks]
        return tracks[int(np.argmin(middles)) if person.how == "central" else int(np.argmax(areas))]

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes ``[T, 5]`` of the person the choice means and whether they are away ``[T]``; sets cuts and shots.

        Raises:
            InputError: nobody answers the choice.
        """
        self.cuts = self._finder.finish()
        edges = (0, *self.cuts, self.count)
        known = None if self.cuts else self._tracker
        self.shots = [
            shot_people(self._found, start, stop, self.fps, known) for start, stop in zip(edges[:-1], edges[1:])
        ]
        choose(self.shots, self.person, self.width, self.height)
        parts = [chosen_boxes(shot, self._found, self.person.how) for shot in self.shots]
        boxes, away = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        boxes[boxes[:, 4] <= WHOLE_FRAME] = (0, 0, self.width, self.height, WHOLE_FRAME)
        self._say_whom()
        return boxes, away

    def _say_whom(self) -> None:
        crowded = [shot for shot in self.shots if not shot.single and shot.chosen is not None]
        if not crowded:
            return
        shot = max(crowded, key=lambda shot: len(shot.people))
        here = [one for one in shot.people if one.present[shot.shown - shot.start]]
        spots = where(np.stack([one.boxes[shot.shown - shot.start] for one in here]), self.width, self.height)
        log.log(
            logging.WARNING if self.person.how == "largest" else logging.INFO,
            "detect pose: %d people are in view (frame %d, left to right, middles as fractions of the frame: %s); "
            "number %d is followed%s.",
            len(shot.people),
            shot.shown,
            spots,
            shot.chosen + 1,
            f", the largest: {HINT}" if self.person.how == "largest" else "",
        )
