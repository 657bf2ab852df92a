"""Which box in one frame is which box in the next: people followed through a shot.

Boxes are paired with where each person should be by now (overlap with the predicted box, size) and with what that
person looks like. When one person passes another, the detector gives one box for both, or only the one in front. Then
nobody's motion or looks are learnt from it; who comes out on which side is told by the looks from before. Whether that
went right is checked again when the shot is over, with all the looks before and after, and people who were lost for a
while are joined with themselves.

The cheapest way to pair rows with columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .boxes import Found, area, iou, overlap

SURE = 0.3  # score that starts a person; less goes on with one
LOST_SECONDS = 2.0  # for so long a person is expected where they should be by now
_FADE = 12  # frames in which an unseen person's assumed motion comes to rest
_COVERED = 0.5  # share of a predicted box inside a detection that makes it a crowd
_CLEAN = 0.25  # share of a box in others' boxes up to which its looks are its own
_KNOWN = 5  # sightings until somebody counts in a crowd
_FITS = 0.8  # overlap with the predicted box that says a detection in a crowd is of one person
_RESIZED = 0.25  # logarithm of how much larger or smaller than usual one person gets in a crowd
_SETTLED = 6  # clean sightings after a crowd until motion is trusted again
_MEMORY = 30  # sightings before and after a crowd whose looks are compared
_CLEARLY = 0.1  # difference of looks that decides
_AGAIN = 0.35  # looks of one person before and after being lost


@dataclass(eq=False)
class Track:
    """Sightings of one person."""

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    looks: list[np.ndarray] = field(default_factory=list)
    clean: list[bool] = field(default_factory=list)
    look: np.ndarray | None = None
    unsettled: int = 0  # clean sightings still wanted after a crowd
    inside: dict[int, np.ndarray] = field(default_factory=dict)  # by frame: the box that stood for this and another

    def add(self, frame: int, box: np.ndarray, look: np.ndarray, clean: bool) -> None:
        self.frames.append(frame)
        self.boxes.append(box)
        self.looks.append(look)
        self.clean.append(clean)
        if self.look is None:
            self.look = look
        elif clean:
            self.unsettled = max(self.unsettled - 1, 0)
            if not self.unsettled:
                blend = 0.9 * self.look + 0.1 * look
                self.look = blend / max(float(np.linalg.norm(blend)), 1e-6)

    def predicted(self, frame: int) -> np.ndarray:
        """Box ``[4]`` at ``frame``: on at the pace of the last clean sightings, which fades while nothing is seen, and
        not out of a crowd's box."""
        last = self.boxes[-1][:4].astype(np.float64)
        recent = [at for at in range(max(len(self.frames) - 6, 0), len(self.frames)) if self.clean[at]]
        pace = np.zeros(4)
        if len(recent) > 1:
            first, final = recent[0], recent[-1]
            pace = (self.boxes[final][:4] - self.boxes[first][:4]) / (self.frames[final] - self.frames[first])
        gap = _FADE * (1 - np.exp(-(frame - self.frames[-1]) / _FADE))
        centre = (pace[:2] + pace[2:]) / 2  # the size stays
        ahead = last + np.tile(centre, 2) * gap
        return moved_inside(ahead, self.inside[self.latest]) if self.latest in self.inside else ahead

    def could_be(self, box: np.ndarray) -> bool:
        """Whether a box is about as large as this person's were when they stood alone."""
        alone = [self.boxes[at] for at in range(len(self.boxes)) if self.clean[at]][-10:] or self.boxes[:1]
        usual = np.median([one[2:4] - one[:2] for one in alone], axis=0)
        return bool(np.abs(np.log((box[2:4] - box[:2]) / np.maximum(usual, 1))).max() < _RESIZED)

    @property
    def latest(self) -> int:
        """When this person was last seen, or last inside another box."""
        return max(self.frames[-1], max(self.inside, default=-1))

    def typical_look(self, first: int = 0, last: int | None = None, frames: int = _MEMORY) -> np.ndarray | None:
        """Mean look of the clean sightings between two frames: the ``frames`` last ones, or first if negative."""
        last = self.frames[-1] if last is None else last
        chosen = [at for at, frame in enumerate(self.frames) if first <= frame <= last and self.clean[at]]
        chosen = chosen[-frames:] if frames > 0 else chosen[:-frames]
        return mean_appearance(np.stack([self.looks[at] for at in chosen])) if chosen else None


class Tracker:
    """Follows everybody through the frames of one shot, given one after the other.

    Attributes:
        tracks: everybody so far, in the order in which they were first seen.
    """

    def __init__(self, fps: float = 30.0):
        self.tracks: list[Track] = []
        self._lost = max(round(LOST_SECONDS * fps), 5)
        self._crowds: list[list] = []  # [track, track, first frame, last frame]

    def add(self, frame: int, found: Found) -> None:
        boxes, looks = _without_parts(found.boxes, found.looks)
        live = [track for track in self.tracks if frame - track.latest <= self._lost]
        if not len(boxes):
            return
        pairs: dict[int, int] = {}
        taken: set[int] = set()
        if live:
            predicted = np.stack([track.predicted(frame) for track in live])
            distance = unalike(np.stack([track.look for track in live]), looks)
            pairs = dict(assign(self._costs(frame, live, predicted, boxes, distance)))
            taken = set(pairs.values())
            if len(pairs) < len(live):
                taken |= self._part_crowds(frame, live, predicted, boxes, distance, pairs)
        others = np.zeros(1)
        if len(boxes) > 1:
            shared = overlap(boxes, boxes) / np.maximum(area(boxes)[:, None], 1)
            np.fill_diagonal(shared, 0)
            others = shared.max(axis=1)
        for row, column in pairs.items():
            crowded = any(frame == crowd[3] and live[row] in crowd[:2] for crowd in self._crowds[-8:])
            clean = not crowded and others[column] <= _CLEAN
            live[row].add(frame, boxes[column], looks[column], clean)
        for column in range(len(boxes)):
            if column not in taken and boxes[column, 4] >= SURE:
                track = Track()
                track.add(frame, boxes[column], looks[column], bool(others[column] <= _CLEAN))
                self.tracks.append(track)

    def _costs(self, frame, live, predicted, boxes, distance) -> np.ndarray:
        shared = iou(predicted, boxes)
        sizes = predicted[:, None, 2:] - predicted[:, None, :2], boxes[None, :, 2:4] - boxes[None, :, :2]
        middles = predicted[:, None, :2] + predicted[:, None, 2:], boxes[None, :, :2] + boxes[None, :, 2:4]
        away = np.linalg.norm((middles[0] - middles[1]) / 2, axis=-1) / np.maximum(sizes[0].max(-1), 1)
        grown = np.abs(np.log(np.maximum(sizes[1].max(-1), 1) / np.maximum(sizes[0].max(-1), 1)))
        gap = np.array([frame - track.frames[-1] for track in live])[:, None]
        unsettled = np.array([track.unsettled > 0 for track in live])[:, None]
        near = (shared > 0.1) | (away < np.minimum(0.3 + 0.04 * gap, 1.0) + 0.5 * unsettled)
        allowed = near & (grown < 1.2) & ((boxes[None, :, 4] >= SURE) | (shared > 0.3))
        weight_place, weight_look = np.where(unsettled, 0.5, 1.0), np.where(unsettled, 1.5, 0.6)
        cost = weight_place * (1 - shared + 0.3 * away) + weight_look * distance + 0.3 * np.minimum(grown, 1)
        return np.where(allowed, cost, np.inf)

    def _part_crowds(self, frame, live, predicted, boxes, distance, pairs: dict[int, int]) -> set[int]:
        """Where one detection stands for two people, take it from both, or give it to the one it looks like and fits.
        Returns those detections."""
        owner = {column: row for row, column in pairs.items()}
        covered = overlap(predicted, boxes) / np.maximum(area(predicted), 1)[:, None]
        held = set()
        for row, track in enumerate(live):
            column = int(covered[row].argmax())
            if row in pairs or covered[row, column] < _COVERED or len(track.frames) < _KNOWN:
                continue
            holder = owner.get(column)
            if holder is None:
                if track.inside and frame - track.latest < 10:  # still in the box it was in
                    track.inside[frame] = boxes[column]
                    held.add(column)
                continue
            other = live[holder]
            if len(other.frames) < _KNOWN:
                continue
            self._note_crowd(track, other, frame)
            both = np.concatenate(
                [
                    np.minimum(predicted[row, :2], predicted[holder, :2]),
                    np.maximum(predicted[row, 2:], predicted[holder, 2:]),
                ]
            )
            fits = iou(np.stack([both, predicted[row], predicted[holder]]), boxes[column : column + 1])[:, 0]
            better = distance[holder, column] - distance[row, column]
            winner = row if better > 0 else holder
            pairs.pop(holder)
            held.add(column)
            fit = fits[1 + (winner == holder)]
            of_one = fit >= max(_FITS, fits[0] - 0.05) and live[winner].could_be(boxes[column])
            if abs(better) >= _CLEARLY and of_one:
                pairs[winner] = column
                owner[column] = winner
            else:
                owner.pop(column)
            for one in (row, holder):
                if pairs.get(one) != column:
                    live[one].inside[frame] = boxes[column]
        return held

    def _note_crowd(self, first: Track, second: Track, frame: int) -> None:
        first.unsettled = second.unsettled = _SETTLED
        for crowd in self._crowds:
            if first in crowd[:2] and second in crowd[:2] and frame - crowd[3] <= 15:
                crowd[3] = frame
                return
        self._crowds.append([first, second, frame, frame])

    def finished(self) -> list[Track]:
        """Everybody in the shot, once it is over: crowds checked, the lost joined with themselves."""
        for first, second, start, stop in sorted(self._crowds, key=lambda crowd: crowd[2]):
            before = [track.typical_look(0, start - 1) for track in (first, second)]
            after = [track.typical_look(stop + 1, None, -_MEMORY) for track in (first, second)]
            if any(look is None for look in (*before, *after)):
                continue
            distance = unalike(np.stack(before), np.stack(after))
            if distance[0, 1] + distance[1, 0] < distance[0, 0] + distance[1, 1] - _CLEARLY:
                _swap_tails(first, second, stop)
        return _joined([track for track in self.tracks if track.frames], self._lost)


def moved_inside(box: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """``box`` shifted, and cut if it is too large, so that it lies in ``outer``."""
    low = np.minimum(np.maximum(box[:2], outer[:2]), np.maximum(outer[2:4] - (box[2:4] - box[:2]), outer[:2]))
    return np.concatenate([low, np.minimum(low + box[2:4] - box[:2], outer[2:4])])


def _swap_tails(first: Track, second: Track, stop: int) -> None:
    for name in ("boxes", "looks", "clean", "frames"):
        one, two = getattr(first, name), getattr(second, name)
        at = [next((i for i, frame in enumerate(track.frames) if frame > stop), len(track.frames)) for track in
              (first, second)]  # fmt: skip
        one[at[0] :], two[at[1] :] = two[at[1] :], one[at[0] :]


def _joined(tracks: list[Track], lost: int) -> list[Track]:
    """Tracks of which one begins after the other has ended, made one where looks and place say so; cheapest first."""
    while True:
        best, cheapest = None, _AGAIN
        looks = [track.typical_look() for track in tracks]
        for one in range(len(tracks)):
            for two in range(len(tracks)):
                gap = tracks[two].frames[0] - tracks[one].frames[-1]
                if gap <= 0:
                    continue
                first = looks[one] if looks[one] is not None else tracks[one].looks[-1]
                second = looks[two] if looks[two] is not None else tracks[two].looks[0]
                cost = float(unalike(first[None], second[None])[0, 0])
                leaving, coming = tracks[one].boxes[-1], tracks[two].boxes[0]
                away = np.abs(leaving[:4] - coming[:4]).max() / max(float((leaving[2:4] - leaving[:2]).max()), 1)
                if gap > lost // 2 or away > 0.75 + 0.1 * gap:
                    cost += 0.1  # anywhere by now, or too far for the time: the looks must be very alike
                if cost < cheapest:
                    best, cheapest = (one, two), cost
        if best is None:
            return tracks
        one, two = (tracks[at] for at in best)
        whole = Track(one.frames + two.frames, one.boxes + two.boxes, one.looks + two.looks, one.clean + two.clean)
        whole.inside = one.inside | two.inside
        tracks = [track for track in tracks if track is not one and track is not two] + [whole]


def _without_parts(boxes: np.ndarray, looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes less those around the upper part of a person who has a box already: inside it, same top, about as wide."""
    if len(boxes) < 2:
        return boxes, looks
    size = boxes[:, 2:4] - boxes[:, :2]
    inside = overlap(boxes, boxes) / np.maximum(area(boxes)[:, None], 1) > 0.85
    top = np.abs(boxes[:, None, 1] - boxes[None, :, 1]) < 0.08 * size[None, :, 1]
    wide = size[:, None, 0] > 0.6 * size[None, :, 0]
    smaller = area(boxes)[:, None] < area(boxes)[None, :]
    part = (inside & top & wide & smaller & (boxes[None, :, 4] >= SURE)).any(axis=1)
    return boxes[~part], looks[~part]


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, every row or every column used once, whichever are fewer.

    The Hungarian method with potentials (Kuhn 1955, in the shortest-path form of Jonker and Volgenant), for a handful
    of people: no package needed. Infinite costs mark pairs that must not be; they are never returned.
    """
    cost = np.asarray(cost, np.float64)
    if cost.size == 0:
        return []
    finite = np.isfinite(cost)
    if not finite.any():
        return []
    if cost.size == 1:
        return [(0, 0)]
    # dear enough that no forbidden pair is taken for the sake of cheaper others
    table = np.where(finite, cost, (np.abs(cost[finite]).max() + 1) * (sum(cost.shape) + 1))
    turned = table.shape[0] > table.shape[1]
    if turned:
        table = table.T
    rows, columns = table.shape
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, int)  # 1-based; 0 = free
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        least = np.full(columns + 1, np.inf)
        came_from = np.zeros(columns + 1, int)
        done = np.zeros(columns + 1, bool)
        while True:
            done[column] = True
            current = row_of[column]
            reduced = table[current - 1] - row_price[current] - column_price[1:]
            better = ~done[1:] & (reduced < least[1:])
            least[1:][better], came_from[1:][better] = reduced[better], column
            nearest = int(np.where(done, np.inf, least).argmin())
            step = least[nearest]
            row_price[row_of[done]] += step
            column_price[done] -= step
            least[~done] -= step
            column = nearest
            if row_of[column] == 0:
                break
        while column:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    pairs = [(row_of[column] - 1, column - 1) for column in range(1, columns + 1) if row_of[column]]
    if turned:
        pairs = [(second, first) for first, second in pairs]
    return sorted((int(first), int(second)) for first, second in pairs if finite[first, second])


def unalike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya distance, 0 (the same colours) to 1 (none in common), of looks ``[..., n, 128]`` and
    ``[..., m, 128]``: ``[..., n, m]``. About 0.1 for one person in two frames, 0.4 and more for two differently
    dressed."""
    return np.sqrt(np.maximum(1 - first @ np.swapaxes(second, -1, -2), 0))


def mean_appearance(looks: np.ndarray) -> np.ndarray:
    """The mean of ``[n, 128]`` looks, again of unit length."""
    mean = looks.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)
