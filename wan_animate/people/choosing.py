"""The choice of the person to follow."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..log import get_logger
from .boxes import INTERPOLATED, area, overlap
from .tracks import appearance_distance

log = get_logger(__name__)

HOW = ("largest", "central", "number", "point")
_SAME_PERSON = 0.55  # appearance distance up to which it may be the same person in two shots (backgrounds differ)
_HOLD_FRAMES = 5
HINT = "choose with person: largest, most central, left to right (by number) or a point on a frame"


@dataclass(frozen=True)
class PersonChoice:
    """Which of several people to follow; where this has no answer in a shot, the most similar person, else the largest.

    Attributes:
        how: "largest" or "central" (mean over the shot), "number" (left to right in the frame with most people) or
            "point".
        number: from 1.
        x, y: the point in fractions of the frame size.
        frame: of the point.

    Raises:
        InputError: a value is out of range.
    """

    how: str = "largest"
    number: int = 1
    x: float = 0.5
    y: float = 0.5
    frame: int = 0

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise InputError(f"person is {self.how!r}, but it must be one of {', '.join(HOW)}.")
        if self.number < 1:
            raise InputError(f"person_number is {self.number}, but people are counted from 1, left to right.")
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise InputError(
                f"the point on the person is at {self.x:g}, {self.y:g}, but it must lie between 0 and 1, as fractions "
                "of the frame's width and height."
            )
        if self.frame < 0:
            raise InputError(f"point_frame is {self.frame}, but the first frame is 0.")

    def check(self, count: int) -> None:
        """Raises InputError if the clip ends before the point's frame."""
        if self.how == "point" and self.frame >= count:
            raise InputError(
                f"point_frame is {self.frame}, but the clip has {count} frames: give one from 0 to {count - 1}."
            )


@dataclass(eq=False)
class Person:
    """A person in a shot of T frames.

    Attributes:
        boxes: float32 ``[T, 5]``: x1, y1, x2, y2, score; 0 if interpolated, -1 if not in view.
        appearance: float32 ``[128]``; None if always occluded.
    """

    boxes: np.ndarray
    appearance: np.ndarray | None

    @property
    def present(self) -> np.ndarray:
        return self.boxes[:, 4] >= INTERPOLATED

    @property
    def size(self) -> float:
        """Mean box area in square pixels."""
        return float(area(self.boxes[:, :4])[self.present].sum() / len(self.boxes))


@dataclass(eq=False)
class Shot:
    """People between two cuts.

    Attributes:
        start, stop: frame range.
        boxes: float32 ``[stop - start, 5]`` of the chosen person; at first upstream's.
        people: left to right in frame ``shown``.
        shown: first frame with most people.
        chosen: index into ``people``.
        single: never two people at once.
        away: bool ``[stop - start]``: only others are in view.
    """

    start: int
    stop: int
    boxes: np.ndarray
    people: list[Person] = field(default_factory=list)
    shown: int = 0
    chosen: int | None = None
    single: bool = True
    away: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.away = np.zeros(self.stop - self.start, bool)


def choose(shots: list[Shot], choice: PersonChoice, width: int, height: int) -> None:
    """Sets every shot's ``chosen``, ``boxes`` and ``away``. Raises InputError if no shot has an answer."""
    chosen: list[Person] = []
    unanswered: list[Shot] = []
    for shot in shots:
        if not shot.people:
            continue
        shot.chosen = _answer(shot, choice, width, height)
        if shot.chosen is None:
            unanswered.append(shot)
        else:
            chosen.append(shot.people[shot.chosen])
    if unanswered and not chosen:
        raise InputError(_no_answer(max(unanswered, key=lambda shot: len(shot.people)), choice, width, height))
    for shot in unanswered:
        index = shot.chosen = _most_similar(shot, chosen)
        log.warning(
            "detect pose: frames %d-%d show no person %s; the one there who looks most like the chosen one is followed "
            "(%d of %d from the left).",
            shot.start,
            shot.stop - 1,
            f"number {choice.number}" if choice.how == "number" else "at the point",
            index + 1,
            len(shot.people),
        )
    for shot in shots:
        if shot.chosen is not None:
            shot.boxes, shot.away = _chosen_boxes(shot, shot.chosen, choice.how)


def _answer(shot: Shot, choice: PersonChoice, width: int, height: int) -> int | None:
    people = shot.people
    if choice.how == "largest":
        return int(np.argmax([person.size for person in people]))
    if choice.how == "central":
        return int(np.argmin([_eccentricity(person, width, height) for person in people]))
    if choice.how == "number":
        return choice.number - 1 if choice.number <= len(people) else None
    if not shot.start <= choice.frame < shot.stop:
        return None
    return person_at(np.stack([person.boxes[choice.frame - shot.start] for person in people]), choice, width, height)


def _eccentricity(person: Person, width: int, height: int) -> float:
    centers = (person.boxes[:, :2] + person.boxes[:, 2:4]) / (width, height) - 1
    return float(np.where(person.present, np.linalg.norm(centers, axis=1), 2).mean())


def person_at(boxes: np.ndarray, choice: PersonChoice, width: int, height: int) -> int | None:
    """Index of the box ``[n, 5]`` around the point; the most central of several."""
    x, y = choice.x * width, choice.y * height
    inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    inside &= boxes[:, 4] >= INTERPOLATED
    if not inside.any():
        return None
    size = np.maximum(boxes[:, 2:4] - boxes[:, :2], 1)
    distance = np.linalg.norm(((x, y) - (boxes[:, :2] + boxes[:, 2:4]) / 2) / size, axis=1)
    return int(np.where(inside, distance, np.inf).argmin())


def _most_similar(shot: Shot, chosen: list[Person]) -> int:
    wanted = [person.appearance for person in chosen if person.appearance is not None]
    here = [person.appearance for person in shot.people if person.appearance is not None]
    if wanted and len(here) == len(shot.people):
        distance = appearance_distance(np.stack(here), np.stack(wanted)).min(axis=1)
        if distance.min() < _SAME_PERSON:
            return int(distance.argmin())
    return int(np.argmax([person.size for person in shot.people]))


def describe_positions(boxes: np.ndarray, width: int, height: int) -> str:
    """Box centres: ``1 at 0.25, 0.50; 2 at 0.71, 0.48``."""
    centers = (boxes[:, :2] + boxes[:, 2:4]) / 2 / (width, height)
    return "; ".join(f"{number} at {x:.2f}, {y:.2f}" for number, (x, y) in enumerate(centers, 1)) or "nobody"


def _no_answer(shot: Shot, choice: PersonChoice, width: int, height: int) -> str:
    at = choice.frame if choice.how == "point" and shot.start <= choice.frame < shot.stop else shot.shown
    positions = _positions(shot, at, width, height)
    if choice.how == "number":
        return (
            f"person number {choice.number} was asked for, but at most {len(shot.people)} "
            f"{'person is' if len(shot.people) == 1 else 'people are'} in view: in frame {at}, left to right as "
            f"fractions of the frame, {positions}; give a number up to {len(shot.people)}."
        )
    return nobody_at(positions, choice)


def _positions(shot: Shot, frame: int, width: int, height: int) -> str:
    boxes = [person.boxes[frame - shot.start] for person in shot.people]
    boxes = [box for box in boxes if box[4] >= INTERPOLATED]
    return describe_positions(np.reshape(boxes, (-1, 5)), width, height)


def nobody_at(positions: str, choice: PersonChoice) -> str:
    return (
        f"nobody is at the point {choice.x:g}, {choice.y:g} in frame {choice.frame}; people there, left to right, have "
        f"their middles at: {positions}. Move the point onto one of them, or choose another frame."
    )


def _chosen_boxes(shot: Shot, chosen: int, how: str) -> tuple[np.ndarray, np.ndarray]:
    """(boxes, away). Of a single person upstream's boxes, without false detections."""
    largest, mine = shot.boxes, shot.people[chosen].boxes.copy()
    others = [person for index, person in enumerate(shot.people) if index != chosen]
    if not shot.single:
        _hold_ends(mine)
        return mine, mine[:, 4] < INTERPOLATED
    if how == "largest":  # people one after the other: each of them in turn
        for person in others:
            mine[person.present] = person.boxes[person.present]
        others = []
    missing = mine[:, 4] < INTERPOLATED
    smaller = np.maximum(np.minimum(area(largest), area(mine)), 1)
    shared = overlap(largest[:, None], mine[:, None])[:, 0, 0]
    away = missing & np.logical_or.reduce([person.present for person in others] or [np.zeros(len(mine), bool)])
    upstreams = (largest[:, 4] > INTERPOLATED) & ~away & (missing | (shared >= 0.5 * smaller))
    nobody = missing & (largest[:, 4] < INTERPOLATED)
    return np.where((upstreams | nobody)[:, None], largest, mine), away


def _hold_ends(boxes: np.ndarray) -> None:
    """Holds the first and last box, in place: a missed detection is no exit."""
    present = np.flatnonzero(boxes[:, 4] >= INTERPOLATED)
    for edge, part in (
        (present[0], slice(max(present[0] - _HOLD_FRAMES, 0), present[0])),
        (present[-1], slice(present[-1] + 1, present[-1] + 1 + _HOLD_FRAMES)),
    ):
        boxes[part, :4], boxes[part, 4] = boxes[edge, :4], INTERPOLATED


def log_choice(shots: list[Shot], choice: PersonChoice, width: int, height: int) -> None:
    """Logs who was chosen of several; a warning unless somebody was asked for."""
    shot = max((shot for shot in shots if not shot.single), key=lambda shot: len(shot.people), default=None)
    if shot is None or shot.chosen is None:
        return
    log.log(
        logging.WARNING if choice.how == "largest" else logging.INFO,
        "detect pose: %d people are in view (frame %d, left to right, middles as fractions of the frame: %s); "
        "number %d is followed%s.",
        len(shot.people),
        shot.shown,
        _positions(shot, shot.shown, width, height),
        shot.chosen + 1,
        f", the largest: {HINT}" if choice.how == "largest" else "",
    )
