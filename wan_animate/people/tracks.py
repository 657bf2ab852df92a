"""Multi-person tracking within a shot.

Matches detections to predicted boxes by overlap, distance, size and appearance. Appearance, not learnt from shared
detections, decides after occlusions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .appearance import SIZE
from .boxes import INTERPOLATED, WHOLE_FRAME, FrameDetections, area, iou, overlap

MIN_START_SCORE = 0.3  # detection score that starts a track; lower ones may continue a track
_MAX_LOST_SECONDS = 2.0  # after which a track is no longer matched
_MOTION_FRAMES = 12  # decay of the assumed motion of a lost person
_OCCLUDED = 0.5  # share of a predicted box in another's detection
_SEPARATE = 0.25  # share of a box in other boxes up to which its appearance is learnt
_ESTABLISHED = 5  # sightings after which a track takes part in occlusions
_MIN_IOU = 0.8  # of a detection and the predicted box, for a detection of one person in an occlusion
_MAX_RESIZE = 0.25  # log of box size over usual size, for the same
_RECOVERY = 6  # separate sightings after an occlusion until motion is trusted again
_APPEARANCE_FRAMES = 30
_DECISIVE = 0.1  # difference of appearance distances
_SAME_PERSON = 0.35  # appearance distance before and after being lost
_MOST_JOINED = 1000  # tracks of a shot, those seen most, of which interruptions are joined
_SIGHTING = ("frames", "boxes", "appearances", "separate")  # lists of a Track, one entry per sighting


@dataclass(eq=False)
class Track:
    """Sightings of one person.

    Attributes:
        frames, boxes, appearances, separate: per sighting; ``separate``: clear of others.
        appearance: float32 ``[128]``, running mean.
        recovering: separate sightings still needed after an occlusion.
        shared: by frame, a detection of this person and another.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    appearances: list[np.ndarray] = field(default_factory=list)
    separate: list[bool] = field(default_factory=list)
    appearance: np.ndarray = field(init=False, repr=False)
    recovering: int = 0
    shared: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, frame: int, box: np.ndarray, appearance: np.ndarray, separate: bool) -> None:
        first = not self.frames
        self.frames.append(frame)
        self.boxes.append(box)
        self.appearances.append(appearance)
        self.separate.append(separate)
        if first:
            self.appearance = appearance
        elif separate:
            self.recovering = max(self.recovering - 1, 0)
            if not self.recovering:
                blend = 0.9 * self.appearance + 0.1 * appearance
                self.appearance = blend / max(float(np.linalg.norm(blend)), 1e-6)

    def predicted(self, frame: int) -> np.ndarray:
        """Box ``[4]`` extrapolated with decaying velocity."""
        last = self.boxes[-1][:4].astype(np.float64)
        recent = [at for at in range(max(len(self.frames) - 6, 0), len(self.frames)) if self.separate[at]]
        velocity = np.zeros(4)
        if len(recent) > 1:
            first, final = recent[0], recent[-1]
            velocity = (self.boxes[final][:4] - self.boxes[first][:4]) / (self.frames[final] - self.frames[first])
        gap = _MOTION_FRAMES * (1 - np.exp(-(frame - self.frames[-1]) / _MOTION_FRAMES))
        center = (velocity[:2] + velocity[2:]) / 2  # the size stays
        ahead = last + np.tile(center, 2) * gap
        return moved_inside(ahead, self.shared[self.latest]) if self.latest in self.shared else ahead

    def fits_usual_size(self, box: np.ndarray) -> bool:
        alone = [self.boxes[at] for at in range(len(self.boxes)) if self.separate[at]][-10:] or self.boxes[:1]
        usual = np.median([sighting[2:4] - sighting[:2] for sighting in alone], axis=0)
        return bool(np.abs(np.log((box[2:4] - box[:2]) / np.maximum(usual, 1))).max() < _MAX_RESIZE)

    @property
    def latest(self) -> int:
        """Last frame with a sighting or shared detection."""
        return max(self.frames[-1], max(self.shared, default=-1))

    def typical_appearance(
        self, first: int = 0, last: int | None = None, count: int = _APPEARANCE_FRAMES
    ) -> np.ndarray | None:
        """Mean over the last (negative: first) ``count`` separate sightings."""
        last = self.frames[-1] if last is None else last
        chosen = [at for at, frame in enumerate(self.frames) if first <= frame <= last and self.separate[at]]
        chosen = chosen[-count:] if count > 0 else chosen[:-count]
        if not chosen:
            return None
        mean = np.stack([self.appearances[at] for at in chosen]).mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-6)

    def interpolated(self, start: int, stop: int, max_gap: int) -> np.ndarray:
        """``[stop - start, 5]``; occlusions may prolong ``max_gap``."""
        boxes = np.zeros((stop - start, 5), np.float32)
        boxes[:, 4] = WHOLE_FRAME
        frames, seen = np.array(self.frames) - start, np.stack(self.boxes)
        between = np.setdiff1d(np.arange(frames[0], frames[-1]), frames)
        following = np.searchsorted(frames, between)
        gap = frames[following] - frames[following - 1]
        shared = np.isin(between + start, list(self.shared))
        filled = between[gap <= max_gap + np.array([np.sum(shared[following == at]) for at in following], int)]
        for side in range(4):
            boxes[filled, side] = np.interp(filled, frames, seen[:, side])
        boxes[filled, 4] = INTERPOLATED
        for at in filled:
            if at + start in self.shared:
                boxes[at, :4] = moved_inside(boxes[at, :4], self.shared[at + start])
        boxes[frames] = seen
        for frame in sorted(self.shared):  # occluded, and not seen again
            if frame - start > frames[-1]:
                boxes[frame - start, :4] = moved_inside(boxes[frames[-1], :4], self.shared[frame])
                boxes[frame - start, 4] = INTERPOLATED
        return boxes


@dataclass(eq=False)
class _Occlusion:
    people: tuple[Track, Track]
    start: int
    stop: int


class MultiPersonTracker:
    def __init__(self, fps: float = 30.0) -> None:
        self.tracks: list[Track] = []
        self._max_lost = max(round(_MAX_LOST_SECONDS * fps), 5)
        self._occlusions: list[_Occlusion] = []

    def update(self, frame: int, detections: FrameDetections) -> None:
        boxes, appearances = _without_partial_boxes(detections.boxes, detections.appearances)
        if not len(boxes):
            return
        active = [track for track in self.tracks if frame - track.latest <= self._max_lost]
        pairs: dict[int, int] = {}
        taken: set[int] = set()
        if active:
            predicted = np.stack([track.predicted(frame) for track in active])
            distance = appearance_distance(np.stack([track.appearance for track in active]), appearances)
            pairs = dict(assign(_costs(frame, active, predicted, boxes, distance)))
            taken = set(pairs.values())
            if len(pairs) < len(active):
                taken |= self._resolve_occlusions(frame, active, predicted, boxes, distance, pairs)
        covered = np.zeros(1)
        if len(boxes) > 1:
            shared = overlap(boxes, boxes) / np.maximum(area(boxes)[:, None], 1)
            np.fill_diagonal(shared, 0)
            covered = shared.max(axis=1)
        for row, column in pairs.items():
            occluded = any(frame == seen.stop and active[row] in seen.people for seen in self._occlusions[-8:])
            separate = not occluded and bool(covered[column] <= _SEPARATE)
            active[row].add(frame, boxes[column], appearances[column], separate)
        for column in range(len(boxes)):
            if column not in taken and boxes[column, 4] >= MIN_START_SCORE:
                track = Track()
                track.add(frame, boxes[column], appearances[column], bool(covered[column] <= _SEPARATE))
                self.tracks.append(track)

    def _resolve_occlusions(
        self,
        frame: int,
        active: list[Track],
        predicted: np.ndarray,
        boxes: np.ndarray,
        distance: np.ndarray,
        pairs: dict[int, int],
    ) -> set[int]:
        """Finds shared detections (returned) and re-assigns one person's to whoever fits, in ``pairs`` (track to
        detection).

        ``distance``: appearance distances ``[tracks, n]``.
        """
        owner = {column: row for row, column in pairs.items()}
        covered = overlap(predicted, boxes) / np.maximum(area(predicted), 1)[:, None]
        shared = set()
        for row, track in enumerate(active):
            column = int(covered[row].argmax())
            if row in pairs or covered[row, column] < _OCCLUDED or len(track.frames) < _ESTABLISHED:
                continue
            holder = owner.get(column)
            if holder is None:
                if track.shared and frame - track.latest < 10:  # the occlusion goes on
                    track.shared[frame] = boxes[column]
                    shared.add(column)
                continue
            other = active[holder]
            if len(other.frames) < _ESTABLISHED:
                continue
            self._note_occlusion(track, other, frame)
            union = np.concatenate(
                [
                    np.minimum(predicted[row, :2], predicted[holder, :2]),
                    np.maximum(predicted[row, 2:], predicted[holder, 2:]),
                ]
            )
            fits = iou(np.stack([union, predicted[row], predicted[holder]]), boxes[column : column + 1])[:, 0]
            better = distance[holder, column] - distance[row, column]
            winner = row if better > 0 else holder
            pairs.pop(holder)
            shared.add(column)
            fit = fits[1 + (winner == holder)]
            single = fit >= max(_MIN_IOU, fits[0] - 0.05) and active[winner].fits_usual_size(boxes[column])
            if abs(better) >= _DECISIVE and single:
                pairs[winner] = column
                owner[column] = winner
            else:
                owner.pop(column)
            for index in (row, holder):
                if pairs.get(index) != column:
                    active[index].shared[frame] = boxes[column]
        return shared

    def _note_occlusion(self, first: Track, second: Track, frame: int) -> None:
        first.recovering = second.recovering = _RECOVERY
        for seen in self._occlusions:
            if first in seen.people and second in seen.people and frame - seen.stop <= 15:
                seen.stop = frame
                return
        self._occlusions.append(_Occlusion((first, second), frame, frame))

    def finish(self, tick: Callable[[], None] = lambda: None) -> list[Track]:
        """Tracks, with identity switches corrected and interruptions joined; ``tick`` is called on the way."""
        for seen in sorted(self._occlusions, key=lambda seen: seen.start):
            before = [track.typical_appearance(0, seen.start - 1) for track in seen.people]
            after = [track.typical_appearance(seen.stop + 1, None, -_APPEARANCE_FRAMES) for track in seen.people]
            known_before = [appearance for appearance in before if appearance is not None]
            known_after = [appearance for appearance in after if appearance is not None]
            if len(known_before) < 2 or len(known_after) < 2:
                continue
            distance = appearance_distance(np.stack(known_before), np.stack(known_after))
            if distance[0, 1] + distance[1, 0] < distance[0, 0] + distance[1, 1] - _DECISIVE:
                _swap_after(*seen.people, seen.stop)
        return _joined([track for track in self.tracks if track.frames], self._max_lost, tick)


def _costs(
    frame: int, tracks: list[Track], predicted: np.ndarray, boxes: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """Matching costs ``[tracks, n]`` of ``predicted`` ``[tracks, 4]`` and ``boxes`` ``[n, 5]``; inf: impossible."""
    shared = iou(predicted, boxes)
    sizes = predicted[:, None, 2:] - predicted[:, None, :2], boxes[None, :, 2:4] - boxes[None, :, :2]
    centers = predicted[:, None, :2] + predicted[:, None, 2:], boxes[None, :, :2] + boxes[None, :, 2:4]
    away = np.linalg.norm((centers[0] - centers[1]) / 2, axis=-1) / np.maximum(sizes[0].max(-1), 1)
    resized = np.abs(np.log(np.maximum(sizes[1].max(-1), 1) / np.maximum(sizes[0].max(-1), 1)))
    gap = np.array([frame - track.frames[-1] for track in tracks])[:, None]
    recovering = np.array([track.recovering > 0 for track in tracks])[:, None]
    near = (shared > 0.1) | (away < np.minimum(0.3 + 0.04 * gap, 1.0) + 0.5 * recovering)
    allowed = near & (resized < 1.2) & ((boxes[None, :, 4] >= MIN_START_SCORE) | (shared > 0.3))
    weight_place, weight_appearance = np.where(recovering, 0.5, 1.0), np.where(recovering, 1.5, 0.6)
    cost = weight_place * (1 - shared + 0.3 * away) + weight_appearance * distance + 0.3 * np.minimum(resized, 1)
    return np.where(allowed, cost, np.inf)


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost; inf excludes pairs."""
    finite = np.isfinite(cost)
    if not finite.any():
        return []
    if not finite.all():  # so high that no excluded pair is taken for the sake of cheaper others
        cost = np.where(finite, cost, (np.abs(cost[finite]).max() + 1) * (sum(cost.shape) + 1))
    rows, columns = linear_sum_assignment(cost)
    return [(row, column) for row, column in zip(rows.tolist(), columns.tolist()) if finite[row, column]]


def moved_inside(box: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Box ``[4]`` shifted, or cropped, into ``outer``."""
    low = np.minimum(np.maximum(box[:2], outer[:2]), np.maximum(outer[2:4] - (box[2:4] - box[:2]), outer[:2]))
    return np.concatenate([low, np.minimum(low + box[2:4] - box[:2], outer[2:4])])


def _swap_after(first: Track, second: Track, frame: int) -> None:
    at, other_at = (
        next((i for i, seen in enumerate(track.frames) if seen > frame), len(track.frames)) for track in (first, second)
    )
    for name in _SIGHTING:
        values, others = getattr(first, name), getattr(second, name)
        values[at:], others[other_at:] = others[other_at:], values[at:]


def _joined(tracks: list[Track], max_lost: int, tick: Callable[[], None]) -> list[Track]:
    """Joins, cheapest first, pairs of which one begins after the other ends."""
    seen_most = sorted(range(len(tracks)), key=lambda at: -len(tracks[at].frames))[:_MOST_JOINED]
    left = [track for at, track in enumerate(tracks) if at not in set(seen_most)]
    tracks = [tracks[at] for at in sorted(seen_most)]
    count, most = len(tracks), max(2 * len(tracks) - 1, 1)  # each join adds one at the end
    ends = _Ends(most)
    costs = np.full((most, most), np.inf, np.float32)
    for at, track in enumerate(tracks):
        ends.set(at, track)
    alive = np.arange(most) < count
    costs[:count, :count] = ends.costs(slice(count), slice(count), max_lost)
    nearest = costs.argmin(axis=1)  # the first of the cheapest
    lowest = costs[np.arange(most), nearest]
    while count < most:
        tick()
        first = int(lowest.argmin())
        if not lowest[first] < _SAME_PERSON:
            break
        pair = first, int(nearest[first])
        joined = Track(shared=tracks[pair[0]].shared | tracks[pair[1]].shared)
        for name in _SIGHTING:
            getattr(joined, name).extend([*getattr(tracks[pair[0]], name), *getattr(tracks[pair[1]], name)])
        for at in pair:
            alive[at] = False
            costs[at, :] = costs[:, at] = np.inf
        ends.set(count, joined)
        alive[count], new = True, slice(count, count + 1)
        known = slice(count + 1)
        costs[new, known] = np.where(alive[known], ends.costs(new, known, max_lost), np.inf)
        costs[known, new] = np.where(alive[known, None], ends.costs(known, new, max_lost), np.inf)
        stale = np.isin(nearest, pair) | (costs[:, count] < lowest)
        stale[[*pair, count]] = True
        nearest[stale] = costs[stale].argmin(axis=1)
        lowest = costs[np.arange(most), nearest]
        tracks.append(joined)
        count += 1
    return left + [track for at, track in enumerate(tracks) if alive[at]]


class _Ends:
    """First and last sightings of up to ``count`` tracks, for the costs of joining them."""

    def __init__(self, count: int) -> None:
        self.first, self.last = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.entry, self.exit = np.zeros((count, 4)), np.zeros((count, 4))
        self.before, self.after = np.zeros((count, SIZE), np.float32), np.zeros((count, SIZE), np.float32)

    def set(self, at: int, track: Track) -> None:
        typical = track.typical_appearance()
        self.first[at], self.last[at] = track.frames[0], track.frames[-1]
        self.entry[at], self.exit[at] = track.boxes[0][:4], track.boxes[-1][:4]
        self.before[at] = track.appearances[-1] if typical is None else typical
        self.after[at] = track.appearances[0] if typical is None else typical

    def costs(self, earlier: slice, later: slice, max_lost: int) -> np.ndarray:
        """float ``[earlier, later]``; inf where the later one begins before the earlier one ends."""
        gap = self.first[None, later] - self.last[earlier, None]
        # not by @, which rounds equal pairs differently from place to place
        alike = np.einsum("nd,md->nm", self.before[earlier], self.after[later])
        cost = np.sqrt(np.maximum(1 - alike, 0))
        leaving = self.exit[earlier]
        away = np.abs(leaving[:, None] - self.entry[None, later]).max(axis=2)
        away = away / np.maximum((leaving[:, 2:] - leaving[:, :2]).max(axis=1), 1)[:, None]
        # then the place says nothing, so the appearance must be closer
        cost = cost + np.where((gap > max_lost // 2) | (away > 0.75 + 0.1 * gap), np.float32(0.1), np.float32(0))
        return np.where(gap > 0, cost, np.inf)


def _without_partial_boxes(boxes: np.ndarray, appearances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drops upper bodies inside the person's box."""
    if len(boxes) < 2:
        return boxes, appearances
    size = boxes[:, 2:4] - boxes[:, :2]
    inside = overlap(boxes, boxes) / np.maximum(area(boxes)[:, None], 1) > 0.85
    top = np.abs(boxes[:, None, 1] - boxes[None, :, 1]) < 0.08 * size[None, :, 1]
    wide = size[:, None, 0] > 0.6 * size[None, :, 0]
    smaller = area(boxes)[:, None] < area(boxes)[None, :]
    part = (inside & top & wide & smaller & (boxes[None, :, 4] >= MIN_START_SCORE)).any(axis=1)
    return boxes[~part], appearances[~part]


def appearance_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hellinger distance ``[..., n, m]`` of ``[..., n, 128]`` and ``[..., m, 128]``, 0..1.

    About 0.1 for one person in two frames, from 0.4 for different clothes.
    """
    return np.sqrt(np.maximum(1 - first @ np.swapaxes(second, -1, -2), 0))
