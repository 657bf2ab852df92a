"""Where a retargeted body stands in the reference picture."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..pose import wholebody as at
from ..pose.track import PoseTrack
from ..video.resample import area_size
from .bones import FOUND, NECK, PELVIS
from .contacts import SOLES, Contacts

_MARGIN = 0.12  # of the picture's width that the neck keeps from its sides (unless the reference is nearer to one)


def sized(reference: PoseTrack, pixels: int) -> PoseTrack:
    """The reference letterboxed to about ``pixels`` pixels, as upstream in animate mode."""
    return reference.letterboxed(*area_size(reference.width, reference.height, pixels))


def shown(track: PoseTrack, left: int) -> np.ndarray:
    """bool ``[T]``: the left or right joint of a pair is inside the picture."""
    pair = track.keypoints[:, left : left + 2]
    inside = (pair[..., :2] >= 0).all(axis=2) & (pair[..., 0] < track.width) & (pair[..., 1] < track.height)
    return np.any((pair[..., 2] >= FOUND) & inside, axis=1)


def choose_anchor(align: str, walks: bool, hips_shown: bool, reference: PoseTrack) -> str:
    """What is aligned: "feet", "hips" or "neck"."""
    if align in ("auto", "feet") and walks and shown(reference, at.LEFT_ANKLE)[0]:
        return "feet"
    hips_known = (reference.keypoints[0, [at.LEFT_HIP, at.RIGHT_HIP], 2] >= FOUND).all()
    return "hips" if align == "hips" and hips_known and hips_shown else "neck"


def smooth_path(path: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of ``[T]``, ``sigma`` in frames; odd reflection at the ends keeps trends."""
    radius = min(int(3 * sigma + 0.5), len(path) - 1)
    padded = np.pad(path, radius, mode="reflect", reflect_type="odd")
    return gaussian_filter1d(padded, sigma, radius=radius)[radius : radius + len(path)]


def middle(anchor: str) -> int:
    return NECK if anchor == "neck" else PELVIS


def offset(
    root: np.ndarray,
    body: np.ndarray,
    points: np.ndarray,
    standing: Contacts | None,
    anchor: str,
    still: np.ndarray,
    lengths: dict[int, float],
    best: int,
) -> np.ndarray:
    """``[2]``: aligns the body with the reference.

    x in the shot's first frame; y on the ground, else in frame ``best``, as a clip may begin bent down.
    """
    joint = middle(anchor) if (points[:, middle(anchor), 2] > 0).any() else NECK
    wanted = still[joint, :2] if still[joint, 2] > 0 else still[NECK, :2] + (0, lengths[PELVIS])
    found = (points[:, joint, 2] > 0) & (points[:, NECK, 2] > 0)
    first = int(np.argmax(found))
    best = best if found[best] else first
    out = wanted - (root[first] + body[first, joint])
    out[1] = wanted[1] - (root[best, 1] + body[best, joint, 1])
    if anchor == "feet":
        assert standing is not None  # feet are the anchor only of a person who walks
        out[1] = _ground_offset(root, body, points, standing, still)
    return out


def _ground_offset(
    root: np.ndarray, body: np.ndarray, points: np.ndarray, standing: Contacts, still: np.ndarray
) -> float:
    ankles = [sole[0] for sole in SOLES]
    ground = max(still[ankle, 1] for ankle in ankles if still[ankle, 2] > 0)
    # The first moment a foot stands; a clip may begin in the air.
    firm = np.stack([standing.foot(0), standing.foot(1)], axis=1) * (points[:, ankles, 2] > 0)
    any_known = (points[:, ankles, 2] > 0).any(axis=1)
    first = int(np.argmax(firm.max(axis=1) > 0.5)) if (firm > 0.5).any() else int(np.argmax(any_known))
    lowest = max((body[first, ankle, 1] for ankle in ankles if points[first, ankle, 2] > 0), default=0.0)
    return float(ground - root[first, 1] - lowest)


def pan(necks: np.ndarray, inside: np.ndarray, width: int, at_rest: float, fps: float) -> np.ndarray:
    """float64 ``[T]``: horizontal shift that keeps the neck in the picture, constant where possible.

    Only frames ``inside`` count: the driver's neck is in view.
    """
    if not inside.any():
        return np.zeros(len(necks))
    left, right = min(_MARGIN * width, at_rest), max((1 - _MARGIN) * width, at_rest)
    path = smooth_path(necks, fps / 2)
    low, high = path[inside].min(), path[inside].max()
    shift = np.zeros(len(necks))
    if high - low > right - left:
        shift = (path - path[inside][0]) * ((right - left) / (high - low) - 1)
        path = path + shift
        low, high = path[inside].min(), path[inside].max()
    return shift + max(left - low, 0) + min(right - high, 0)
