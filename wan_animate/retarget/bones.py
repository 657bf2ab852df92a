"""Bone lengths of a person from 2D keypoints.

Foreshortening only shortens: a length is the longest seen. Implausible lengths follow the other side and average
proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..pose import wholebody as at
from ..pose.track import PoseTrack

FOUND = 0.3  # confidence from which a keypoint counts as found
NECK, PELVIS = 133, 134  # the middle of the shoulders and of the hips
JOINTS = 135
LEFT_FOOT = (at.LEFT_BIG_TOE, at.LEFT_SMALL_TOE, at.LEFT_HEEL)
RIGHT_FOOT = (at.RIGHT_BIG_TOE, at.RIGHT_SMALL_TOE, at.RIGHT_HEEL)
HEAD = (at.LEFT_EYE, at.RIGHT_EYE, at.LEFT_EAR, at.RIGHT_EAR, *range(at.FACE.start, at.FACE.stop))

# Outer joint of a bone -> inner joint; parents come before children.
PARENT = {
    at.LEFT_SHOULDER: NECK, at.RIGHT_SHOULDER: NECK, PELVIS: NECK, at.NOSE: NECK,
    at.LEFT_ELBOW: at.LEFT_SHOULDER, at.RIGHT_ELBOW: at.RIGHT_SHOULDER,
    at.LEFT_WRIST: at.LEFT_ELBOW, at.RIGHT_WRIST: at.RIGHT_ELBOW,
    at.LEFT_HIP: PELVIS, at.RIGHT_HIP: PELVIS,
    at.LEFT_KNEE: at.LEFT_HIP, at.RIGHT_KNEE: at.RIGHT_HIP,
    at.LEFT_ANKLE: at.LEFT_KNEE, at.RIGHT_ANKLE: at.RIGHT_KNEE,
}  # fmt: skip
PAIRS = tuple((left, left + 1) for left in range(at.LEFT_SHOULDER, at.LEFT_ANKLE + 1, 2))

# Average lengths in trunks (neck to pelvis), from Drillis and Contini's body segment parameters (1966; Winter,
# Biomechanics of Human Movement, fig. 4.1): of a stature, trunk 0.288, upper arm 0.186, forearm 0.146, thigh 0.245,
# shin 0.246. Half widths are between joints as keypoint networks place them, narrower than the outline.
AVERAGE = {
    PELVIS: 1.0, at.NOSE: 0.40, at.LEFT_SHOULDER: 0.375, at.LEFT_ELBOW: 0.646, at.LEFT_WRIST: 0.507,
    at.LEFT_HIP: 0.24, at.LEFT_KNEE: 0.85, at.LEFT_ANKLE: 0.855,
}  # fmt: skip
AVERAGE |= {right: AVERAGE[left] for left, right in PAIRS}
CHAINS = ((at.LEFT_ELBOW, at.LEFT_WRIST), (at.LEFT_KNEE, at.LEFT_ANKLE))
# Below the first fraction of the average length a bone counts as foreshortened, above the second as measured.
FORESHORTENED, MEASURED = 0.35, 0.55
# Below the first fraction of the other side's length a limb takes that length, above the second it keeps its own.
UNLIKE, ALIKE = 0.80, 0.90
AVERAGE_FOOT = 0.35  # ankle to toes
_FULL = 97  # percentile over a clip that counts as a bone's full length
_DEPTH_IGNORED = 0.15  # log of the apparent size; smaller changes count as foreshortening


@dataclass(frozen=True)
class Lengths:
    """Full bone lengths in pixels.

    Attributes:
        bones: outer joint -> length, for all of :data:`PARENT`.
        seen: outer joints that were measured.
        foot, hand: ankle to toes and width of the palm, or None.
        unit: trunk length of an average person of this size.
    """

    bones: dict[int, float]
    seen: frozenset[int]
    foot: float | None
    hand: float | None
    unit: float

    def times(self, factor: float) -> Lengths:
        bones = {bone: length * factor for bone, length in self.bones.items()}
        foot, hand = (None if size is None else size * factor for size in (self.foot, self.hand))
        return Lengths(bones, self.seen, foot, hand, self.unit * factor)


def joints(track: PoseTrack) -> np.ndarray:
    """float64 ``[T, 135, 3]``: keypoints, neck, pelvis; confidence 0 below :data:`FOUND`.

    Neck and pelvis are the middle of two points, or the one found; a hand replaces a missing wrist.
    """
    points = np.zeros((len(track), JOINTS, 3))
    points[:, : at.COUNT] = track.keypoints
    points[..., 2] = np.where(points[..., 2] >= FOUND, points[..., 2], 0)
    for wrist, hand in ((at.LEFT_WRIST, at.LEFT_HAND.start), (at.RIGHT_WRIST, at.RIGHT_HAND.start)):
        lost = (points[:, wrist, 2] == 0) & (points[:, hand, 2] > 0)
        points[lost, wrist] = points[lost, hand]
    for middle, pair in ((NECK, [5, 6]), (PELVIS, [11, 12])):
        found = points[:, pair, 2] > 0
        both = found.all(axis=1)
        points[:, middle, :2] = (points[:, pair, :2] * found[..., None]).sum(axis=1) / np.maximum(found.sum(axis=1), 1)[
            :, None
        ]
        points[:, middle, 2] = np.where(both, points[:, pair, 2].min(axis=1), points[:, pair, 2].max(axis=1))
    return points


def bone_lengths(points: np.ndarray) -> dict[int, np.ndarray]:
    """Outer joint -> apparent length ``[T]`` in pixels, NaN where an end was not found."""
    return {bone: distance(points, bone, parent) for bone, parent in PARENT.items()}


def distance(points: np.ndarray, a: int, b: int) -> np.ndarray:
    """float64 ``[T]``: pixels between two joints, NaN where one was not found."""
    length = np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1)
    return np.where((points[:, a, 2] > 0) & (points[:, b, 2] > 0), length, np.nan)


def toes(points: np.ndarray, foot: tuple[int, int, int]) -> np.ndarray:
    """float64 ``[T, 3]``: middle of two toes, as drawn; confidence 0 where one was not found."""
    big, small = points[:, foot[0]], points[:, foot[1]]
    middle = (big + small) / 2
    middle[:, 2] = np.minimum(big[:, 2], small[:, 2])
    return middle


def foot_lengths(points: np.ndarray) -> np.ndarray:
    """float64 ``[T, 2]`` (left, right): pixels from ankle to toes, or NaN."""
    out = []
    for ankle, foot in ((at.LEFT_ANKLE, LEFT_FOOT), (at.RIGHT_ANKLE, RIGHT_FOOT)):
        toe = toes(points, foot)
        length = np.linalg.norm(toe[:, :2] - points[:, ankle, :2], axis=1)
        out.append(np.where((toe[:, 2] > 0) & (points[:, ankle, 2] > 0), length, np.nan))
    return np.stack(out, axis=1)


def hand_sizes(points: np.ndarray) -> np.ndarray:
    """float64 ``[T, 2]`` (left, right): the palm's longest side in pixels, nearly independent of rotation, or NaN."""
    out = []
    for hand in (at.LEFT_HAND.start, at.RIGHT_HAND.start):
        corners = (hand, hand + 5, hand + 17)
        sides = [distance(points, a, b) for a, b in zip(corners, (*corners[1:], hand), strict=True)]
        out.append(np.max(sides, axis=0))
    return np.stack(out, axis=1)


def _full(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.percentile(values, _FULL)) if len(values) else None


def measure(points: np.ndarray, size: np.ndarray | None = None) -> Lengths | None:
    """Full bone lengths from :func:`joints` over :func:`apparent_size`; None without bones."""
    size = np.ones(len(points)) if size is None else size
    full = {bone: _full(length / size) for bone, length in bone_lengths(points).items()}
    for left, right in PAIRS:
        sides = [length for length in (full[left], full[right]) if length]
        for bone in (left, right):
            if sides:
                full[bone] = _one_side(full[bone] or 0.0, max(sides))
    observed = {bone: length for bone, length in full.items() if length}
    if not observed:
        return None
    feet, hands = foot_lengths(points) / size[:, None], hand_sizes(points) / size[:, None]
    return _plausible(observed, _full(feet.ravel()), _full(hands.ravel()))


def _one_side(length: float, longest: float) -> float:
    """A limb's own length if close to the other side's, else the longer."""
    trust = np.clip((length / longest - UNLIKE) / (ALIKE - UNLIKE), 0, 1)
    return float(trust * length + (1 - trust) * longest)


def _plausible(observed: dict[int, float], foot: float | None, hand: float | None) -> Lengths:
    left_sided = [bone for bone in observed if bone in (PELVIS, at.NOSE) or bone % 2]
    # The body's size comes from its least foreshortened bones.
    unit = float(np.percentile([observed[bone] / AVERAGE[bone] for bone in left_sided], 65))
    bones = {}
    for bone, usual in AVERAGE.items():
        bones[bone] = _trusted(observed.get(bone, usual * unit), usual * unit)
    for upper, lower in CHAINS:
        # Both bones short by one factor: a short limb. Foreshortening affects one more than the other.
        if upper in observed and lower in observed:
            ratios = [observed[bone] / AVERAGE[bone] / unit for bone in (upper, lower)]
            if min(ratios) > 0.75 * max(ratios) and min(ratios) > 0.2:
                for bone in (upper, lower):
                    bones[bone], bones[bone + 1] = observed[bone], observed[bone + 1]
    return Lengths(bones, frozenset(observed), foot and _trusted(foot, AVERAGE_FOOT * unit), hand, unit)


def _trusted(length: float, average: float) -> float:
    """``length``, or the average where only foreshortening explains it."""
    trust = np.clip((length / average - FORESHORTENED) / (MEASURED - FORESHORTENED), 0, 1)
    return float(trust * length + (1 - trust) * average)


def apparent_size(points: np.ndarray, fps: float, shots: list[tuple[int, int]]) -> np.ndarray:
    """float64 ``[T]``, 0..1: size relative to the nearest moment of the shot.

    Changes below about 15% count as foreshortening.
    """
    lengths = bone_lengths(points)
    bones = [bone for bone in lengths if np.isfinite(lengths[bone]).any()]
    size = np.ones(len(points))
    if not bones:
        return size
    seen = np.stack([lengths[bone] for bone in bones], axis=1)
    for start, stop in shots:
        shot = seen[start:stop]
        kept = np.isfinite(shot).sum(axis=0) >= max(3, 0.3 * len(shot))
        if kept.sum() < 3 or len(shot) < 3:
            continue
        shot = shot[:, kept]
        full = np.nanpercentile(shot, 90, axis=0)
        ratio = shot / np.maximum(full, 1e-6)
        filled = np.where(np.isfinite(ratio), ratio, -np.inf)
        order = -np.sort(-filled, axis=1)
        count = np.isfinite(ratio).sum(axis=1)
        pick = np.clip((count * 0.25).astype(int), 0, order.shape[1] - 1)
        now = order[np.arange(len(order)), pick]
        good = np.isfinite(now) & (count >= 2)
        if good.sum() < 3:
            continue
        log = np.interp(np.arange(len(now)), np.flatnonzero(good), np.log(np.maximum(now[good], 1e-3)))
        radius = min(int(1.5 * fps + 0.5), len(log) - 1)
        log = gaussian_filter1d(log, fps * 0.5, mode="nearest", radius=radius)
        log -= np.percentile(log, 95)
        size[start:stop] = np.exp(np.minimum(log + _DEPTH_IGNORED, 0))
    return size


def shot_scales(points: np.ndarray, size: np.ndarray | None, shots: list[tuple[int, int]]) -> np.ndarray:
    """float64 ``[T]``: the person's size in a shot relative to the longest shot's."""
    scale = np.ones(len(points))
    if len(shots) < 2:
        return scale
    size = np.ones(len(points)) if size is None else size
    bodies = [measure(points[start:stop], size[start:stop]) for start, stop in shots]
    known = {i: body for i, body in enumerate(bodies) if body is not None}
    if not known:
        return scale
    standard = known[max(known, key=lambda i: shots[i][1] - shots[i][0])]
    for i, body in known.items():
        scale[slice(*shots[i])] = _size_against(body, standard)
    return scale


def _size_against(body: Lengths, other: Lengths) -> float:
    shared = body.seen & other.seen
    ratios = [body.bones[bone] / other.bones[bone] for bone in shared]
    return float(np.median(ratios)) if ratios else body.unit / other.unit
