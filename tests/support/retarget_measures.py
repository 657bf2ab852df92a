"""What is measured of a retargeted track, from the tracks alone."""

from __future__ import annotations

import numpy as np

from wan_animate.pose import wholebody as at
from wan_animate.pose.track import PoseTrack

# The limbs, spelled out here: what is measured must not lean on what is tested. "neck" and "pelvis" are middles.
LIMBS = {
    "left upper arm": (5, 7), "left forearm": (7, 9), "right upper arm": (6, 8), "right forearm": (8, 10),
    "left thigh": (11, 13), "left shin": (13, 15), "right thigh": (12, 14), "right shin": (14, 16),
    "shoulders": (5, 6), "hips": (11, 12), "trunk": ("neck", "pelvis"), "neck": ("neck", 0),
}  # fmt: skip
# Angles at a joint, between the two limbs that meet there.
ANGLES = {
    "left elbow": (5, 7, 9), "right elbow": (6, 8, 10), "left knee": (11, 13, 15), "right knee": (12, 14, 16),
    "left shoulder": (6, 5, 7), "right shoulder": (5, 6, 8), "left hip": (12, 11, 13), "right hip": (11, 12, 14),
    "neck": ("pelvis", "neck", 0), "shoulder line": ("pelvis", "neck", 5), "hip line": ("neck", "pelvis", 11),
}  # fmt: skip


def place(track: PoseTrack, joint) -> np.ndarray:
    """float64 [T, 2]."""
    xy = track.keypoints[..., :2].astype(np.float64)
    pairs = {"neck": (5, 6), "pelvis": (11, 12)}
    return xy[:, pairs[joint]].mean(axis=1) if joint in pairs else xy[:, joint]


def known(track: PoseTrack, joint, threshold: float = 0.3) -> np.ndarray:
    pairs = {"neck": [5, 6], "pelvis": [11, 12]}
    return (track.keypoints[:, pairs.get(joint, [joint]), 2] >= threshold).all(axis=1)


def limb_lengths(track: PoseTrack, limb: str) -> np.ndarray:
    """float64 [T], NaN where an end is missing."""
    a, b = LIMBS[limb]
    length = np.linalg.norm(place(track, a) - place(track, b), axis=1)
    return np.where(known(track, a) & known(track, b), length, np.nan)


def full_lengths(track: PoseTrack, limbs) -> dict[str, float]:
    """The longest each limb is ever seen."""
    return {limb: float(np.nanmax(limb_lengths(track, limb))) for limb in limbs}


def angles(track: PoseTrack, name: str) -> np.ndarray:
    """float64 [T] degrees in -180..180, NaN where a point is missing."""
    a, joint, b = ANGLES[name]
    first, second = (place(track, end) - place(track, joint) for end in (a, b))
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    angle = np.degrees(np.arctan2(cross, (first * second).sum(axis=1)))
    return np.where(known(track, a) & known(track, joint) & known(track, b), angle, np.nan)


def angle_error(result: PoseTrack, driver: PoseTrack, shortest: float = 0.03) -> float:
    """The largest difference of any joint angle in any frame, in degrees.

    Left out where a limb is seen so end-on that its direction is rounding: below ``shortest`` trunks of the driver,
    told by the neck, which every clip shows.
    """
    trunk = np.median(np.linalg.norm(place(driver, "neck") - place(driver, 0), axis=1)) / 0.4
    worst = 0.0
    for name, (a, joint, b) in ANGLES.items():
        long = np.min([np.linalg.norm(place(driver, end) - place(driver, joint), axis=1) for end in (a, b)], axis=0)
        difference = (angles(result, name) - angles(driver, name) + 180) % 360 - 180
        difference = np.abs(np.where(long > shortest * trunk, difference, np.nan))
        if np.isfinite(difference).any():
            worst = max(worst, float(np.nanmax(difference)))
    return worst


def body_size(track: PoseTrack, limbs=LIMBS) -> float:
    """Pixels of all these limbs that are ever seen, each as long as it ever is, together."""
    lengths = [limb_lengths(track, limb) for limb in limbs]
    return float(sum(np.nanmax(length) for length in lengths if np.isfinite(length).any()))


def leg_size(track: PoseTrack) -> float:
    return sum(full_lengths(track, ("left thigh", "left shin")).values())


def slides(track: PoseTrack, standing: np.ndarray) -> np.ndarray:
    """Of every stretch in which a foot stands (bool [T, 2]): how far the ankle gets from its mean place, in legs."""
    out = []
    for side, ankle in enumerate((at.LEFT_ANKLE, at.RIGHT_ANKLE)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], standing[:, side].astype(int), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - start >= 4:
                path = track.keypoints[start:stop, ankle, :2]
                out.append(np.linalg.norm(path - path.mean(axis=0), axis=1).max())
    return np.array(out) / leg_size(track)


def jitter(track: PoseTrack, limbs=LIMBS) -> float:
    """Mean second difference over time of every limb's end as seen from its start, in lengths of that limb, and of the
    neck's path, in body sizes: the shaking that is not of the motion's own size."""
    values = [_second(place(track, "neck")) / body_size(track, limbs)]
    for limb in limbs:
        a, b = LIMBS[limb]
        length = limb_lengths(track, limb)
        if np.isfinite(length).any():
            values.append(_second(place(track, b) - place(track, a)) / np.nanmax(length))
    return float(np.mean([value[np.isfinite(value)].mean() for value in values]))


def shaking(track: PoseTrack, joints) -> float:
    """Mean second difference of the points in the picture, in body sizes: jitter and motion together."""
    values = [_second(np.where(known(track, joint)[:, None], place(track, joint), np.nan)) for joint in joints]
    return float(np.nanmean(np.concatenate(values))) / body_size(track)


def _second(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(path[2:] - 2 * path[1:-1] + path[:-2], axis=1)


def shares(track: PoseTrack, limb: str, full: float) -> np.ndarray:
    """float64 [T]: a limb's length in the picture over its full length."""
    return limb_lengths(track, limb) / full
