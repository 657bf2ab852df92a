"""Following the chosen person while the clip is gone through, and saying whom it was afterwards."""

from __future__ import annotations

import numpy as np

from ..video.frames import FrameSource
from .boxes import BRIDGED, WHOLE_FRAME, Found
from .choosing import Person, PersonChoice, Shot, choose, chosen_boxes, point_on, say_whom
from .shots import CutFinder, thumbnail
from .tracks import SURE, Track, Tracker, moved_inside

_BRIDGE_SECONDS = 2.0  # a person unseen for longer is taken to be away
_SMALL = 0.15  # longer side over the largest person's: less is part of the background


class PersonTracker:
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
        say_whom(self.shots, self.person, self.width, self.height)
        return boxes, away


def shot_people(found: list[Found], start: int, stop: int, fps: float, tracker: Tracker | None = None) -> Shot:
    """Everybody in the frames ``start`` up to ``stop``; ``tracker`` if one has been through them already."""
    if tracker is None:
        tracker = Tracker(fps)
        for frame in range(start, stop):
            tracker.add(frame, found[frame])
    shot = Shot(start, stop, shown=start)
    bridge = max(round(_BRIDGE_SECONDS * fps), 5)
    wanted = max(1, min(8, (stop - start) // 10))
    tracks = [track for track in tracker.finished() if sum(box[4] >= SURE for box in track.boxes) >= wanted]
    people = [Person(track, _filled(track, start, stop, bridge)) for track in tracks]
    sides = [np.median([(box[2:4] - box[:2]).max() for box in person.track.boxes]) for person in people]
    people = [person for person, side in zip(people, sides) if side >= _SMALL * max(sides)]
    if not people:
        return shot
    present = np.stack([person.present for person in people])
    shot.single = int(present.sum(axis=0).max()) < 2
    at = int(present.sum(axis=0).argmax())
    shot.shown = start + at

    def place(person: Person) -> tuple[bool, float]:
        box = person.boxes[at] if person.present[at] else np.median(person.boxes[person.present], axis=0)
        return not person.present[at], float(box[0] + box[2])

    shot.people = sorted(people, key=place)
    return shot


def _filled(track: Track, start: int, stop: int, bridge: int) -> np.ndarray:
    boxes = np.zeros((stop - start, 5), np.float32)
    boxes[:, 4] = WHOLE_FRAME
    frames, seen = np.array(track.frames) - start, np.stack(track.boxes)
    between = np.setdiff1d(np.arange(frames[0], frames[-1]), frames)
    next_one = np.searchsorted(frames, between)
    gap = frames[next_one] - frames[next_one - 1]
    crowded = np.isin(between + start, list(track.inside))
    kept = between[(gap <= bridge + np.array([np.sum(crowded[next_one == at]) for at in next_one], int))]
    for side in range(4):
        boxes[kept, side] = np.interp(kept, frames, seen[:, side])
    boxes[kept, 4] = BRIDGED
    for at in kept:
        if at + start in track.inside:
            boxes[at, :4] = moved_inside(boxes[at, :4], track.inside[at + start])
    boxes[frames] = seen
    for frame in sorted(track.inside):  # went into a crowd and was not seen again
        if frame - start > frames[-1]:
            boxes[frame - start, :4] = moved_inside(boxes[frames[-1], :4], track.inside[frame])
            boxes[frame - start, 4] = BRIDGED
    return boxes
