"""Who is in view, and whom of them the user wants."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..log import get_logger
from .boxes import BRIDGED, Found, area, overlap
from .tracks import Track, unalike

log = get_logger(__name__)

HOW = ("largest", "central", "number", "point")
_RESEMBLES = 0.55  # looks of one person in two shots, before two backgrounds
_HELD = 5  # frames
HINT = "choose with person: largest, most central, left to right (by number) or a point on a frame"


@dataclass(frozen=True)
class PersonChoice:
    """Whom of several people to follow. With one person in view every choice is that one.

    Attributes:
        how: "largest" or "central" (over the shot, not by the frame), "number" (left to right in the frame that shows
            the most people) or "point" (whoever the point lies on).
        number: for "number", from 1.
        x, y: for "point", fractions of the frame's width and height.
        frame: for "point", the frame it is on.

    After a cut the same is asked again of the new shot. What a shot cannot answer (a point lies on one frame only; a
    shot may show fewer people than the number) is answered by the person in it who looks most like the one chosen
    before, or else by the largest.

    Raises:
        InputError: a value is out of range.
    """

    how: str = "largest"
    number: int = 1
    x: float = 0.5
    y: float = 0.5
    frame: int = 0

    def __post_init__(self):
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
        """Raises InputError if the point's frame is not in a clip of ``count`` frames."""
        if self.how == "point" and self.frame >= count:
            raise InputError(
                f"point_frame is {self.frame}, but the clip has {count} frames: give one from 0 to {count - 1}."
            )


@dataclass(eq=False)
class Person:
    """One person in one shot.

    Attributes:
        track: the sightings.
        boxes: float32 ``[shot, 5]``: x1, y1, x2, y2 and the score; score 0 between two sightings (the box is
            interpolated), -1 and zeros where the person is away.
    """

    track: Track
    boxes: np.ndarray

    @property
    def present(self) -> np.ndarray:
        return self.boxes[:, 4] >= BRIDGED

    @property
    def size(self) -> float:
        """Mean area over the shot, 0 while away."""
        return float(area(self.boxes[:, :4])[self.present].sum() / len(self.boxes))


@dataclass(eq=False)
class Shot:
    """Who is in view between two cuts.

    Attributes:
        start, stop: its frames.
        people: left to right in frame ``shown``.
        shown: the first of the frames with the most people in view.
        chosen: index into ``people``; None where nobody is in view.
        single: never two people at once: the boxes are those upstream would take.
    """

    start: int
    stop: int
    people: list[Person] = field(default_factory=list)
    shown: int = 0
    chosen: int | None = None
    single: bool = True


def choose(shots: list[Shot], choice: PersonChoice, width: int, height: int) -> None:
    """Set every shot's ``chosen``.

    Raises:
        InputError: nobody answers the choice in any shot; says who there is.
    """
    chosen: list[Person] = []
    later: list[Shot] = []
    for shot in shots:
        if not shot.people:
            continue
        shot.chosen = _answer(shot, choice, width, height)
        if shot.chosen is None:
            later.append(shot)
        else:
            chosen.append(shot.people[shot.chosen])
    if later and not chosen:
        raise InputError(_nobody(max(later, key=lambda shot: len(shot.people)), choice, width, height))
    for shot in later:
        shot.chosen = _most_alike(shot, chosen)
        log.warning(
            "detect pose: frames %d-%d show no person %s; the one there who looks most like the chosen one is followed "
            "(%d of %d from the left).",
            shot.start,
            shot.stop - 1,
            f"number {choice.number}" if choice.how == "number" else "at the point",
            shot.chosen + 1,
            len(shot.people),
        )


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
    return point_on(np.stack([person.boxes[choice.frame - shot.start] for person in people]), choice, width, height)


def _eccentricity(person: Person, width: int, height: int) -> float:
    """Mean distance from the frame's middle in its half-sides, 2 while away."""
    middles = (person.boxes[:, :2] + person.boxes[:, 2:4]) / (width, height) - 1
    return float(np.where(person.present, np.linalg.norm(middles, axis=1), 2).mean())


def point_on(boxes: np.ndarray, choice: PersonChoice, width: int, height: int) -> int | None:
    """Which of the boxes ``[n, 5]`` the point lies on; of several the one whose middle is nearest, in its own size."""
    x, y = choice.x * width, choice.y * height
    inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    inside &= boxes[:, 4] >= BRIDGED
    if not inside.any():
        return None
    size = np.maximum(boxes[:, 2:4] - boxes[:, :2], 1)
    away = np.linalg.norm(((x, y) - (boxes[:, :2] + boxes[:, 2:4]) / 2) / size, axis=1)
    return int(np.where(inside, away, np.inf).argmin())


def _most_alike(shot: Shot, chosen: list[Person]) -> int:
    looks = [person.track.typical_look() for person in chosen]
    looks = [look for look in looks if look is not None]
    mine = [person.track.typical_look() for person in shot.people]
    if looks and all(look is not None for look in mine):
        distance = unalike(np.stack(mine), np.stack(looks)).min(axis=1)
        if distance.min() < _RESEMBLES:
            return int(distance.argmin())
    return int(np.argmax([person.size for person in shot.people]))


def where(boxes: np.ndarray, width: int, height: int) -> str:
    """``1 at 0.25, 0.50; 2 at 0.71, 0.48``: middles of boxes ``[n, 4+]`` as fractions, in the order given."""
    middles = (boxes[:, :2] + boxes[:, 2:4]) / 2 / (width, height)
    return "; ".join(f"{number} at {x:.2f}, {y:.2f}" for number, (x, y) in enumerate(middles, 1))


def _nobody(shot: Shot, choice: PersonChoice, width: int, height: int) -> str:
    at = choice.frame if choice.how == "point" and shot.start <= choice.frame < shot.stop else shot.shown
    here = [person for person in shot.people if person.present[at - shot.start]]
    spots = where(np.stack([person.boxes[at - shot.start] for person in here]), width, height) if here else "nobody"
    if choice.how == "number":
        return (
            f"person number {choice.number} was asked for, but at most {len(shot.people)} "
            f"{'person is' if len(shot.people) == 1 else 'people are'} in view: in frame {at}, left to right as "
            f"fractions of the frame, {spots}; give a number up to {len(shot.people)}."
        )
    return nobody_at(spots, choice)


def nobody_at(spots: str, choice: PersonChoice) -> str:
    return (
        f"nobody is at the point {choice.x:g}, {choice.y:g} in frame {choice.frame}; people there, left to right, have "
        f"their middles at: {spots}. Move the point onto one of them, or choose another frame."
    )


def chosen_boxes(shot: Shot, found: list[Found], how: str) -> tuple[np.ndarray, np.ndarray]:
    """The chosen person's box in every frame of a shot.

    Where never two people are in view at once, it is upstream's box in every frame that has one, unless that is a
    stray detection away from the person; the whole frame with score -1 where nobody is detected for long.

    Returns:
        float32 ``[shot, 5]`` boxes, and bool ``[shot]``: the chosen person is away while others are or were in view;
        there is no use in looking for a pose.
    """
    largest = np.stack([found[frame].largest for frame in range(shot.start, shot.stop)])
    if shot.chosen is None:
        return largest, np.zeros(len(largest), bool)
    mine = shot.people[shot.chosen].boxes.copy()
    others = [person for person in shot.people if person is not shot.people[shot.chosen]]
    if shot.single and how == "largest":  # one after the other: whoever is there
        for person in others:
            mine[person.present] = person.boxes[person.present]
        others = []
    if not shot.single:
        _hold_ends(mine)
    missing = mine[:, 4] < BRIDGED
    if not shot.single:
        return mine, missing
    smaller = np.maximum(np.minimum(area(largest), area(mine)), 1)
    shared = overlap(largest[:, None], mine[:, None])[:, 0, 0]
    away = missing & np.logical_or.reduce([person.present for person in others] or [np.zeros(len(mine), bool)])
    upstreams = (largest[:, 4] > BRIDGED) & ~away & (missing | (shared >= 0.5 * smaller))
    nobody = missing & (largest[:, 4] < BRIDGED)
    return np.where((upstreams | nobody)[:, None], largest, mine), away


def _hold_ends(boxes: np.ndarray) -> None:
    """The first and last box for some frames more, in place: one missed detection is no exit."""
    present = np.flatnonzero(boxes[:, 4] >= BRIDGED)
    for edge, part in (
        (present[0], slice(max(present[0] - _HELD, 0), present[0])),
        (present[-1], slice(present[-1] + 1, present[-1] + 1 + _HELD)),
    ):
        boxes[part, :4], boxes[part, 4] = boxes[edge, :4], BRIDGED


def say_whom(shots: list[Shot], person: PersonChoice, width: int, height: int) -> None:
    """Tell in the log whom the choice fell on, where several people are in view."""
    crowded = [shot for shot in shots if not shot.single and shot.chosen is not None]
    if not crowded:
        return
    shot = max(crowded, key=lambda shot: len(shot.people))
    here = [one for one in shot.people if one.present[shot.shown - shot.start]]
    spots = where(np.stack([one.boxes[shot.shown - shot.start] for one in here]), width, height)
    log.log(
        logging.WARNING if person.how == "largest" else logging.INFO,
        "detect pose: %d people are in view (frame %d, left to right, middles as fractions of the frame: %s); "
        "number %d is followed%s.",
        len(shot.people),
        shot.shown,
        spots,
        shot.chosen + 1,
        f", the largest: {HINT}" if person.how == "largest" else "",
    )
