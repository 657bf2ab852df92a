"""Head, hands and feet of a retargeted body."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..pose import wholebody as at
from .bones import HEAD, LEFT_FOOT, NECK, PELVIS, RIGHT_FOOT, Lengths, toes

_HEAD_FRAMES = 0.1  # share of the clip, with heads most like the reference's, that the head's size is taken from


def carry_parts(
    body: np.ndarray,
    points: np.ndarray,
    still: np.ndarray,
    ours: Lengths,
    theirs: Lengths,
    lengths: dict[int, float],
    factor: np.ndarray,
    size: np.ndarray,
    proportions: float,
) -> None:
    """Scales the driver's head, hands and feet and attaches them; changes ``body`` and ``points``."""
    trunk = lengths[PELVIS] / ours.bones[PELVIS]

    def between(gain: float) -> float:
        return float(gain**proportions * trunk ** (1 - proportions))

    head = between(_head_gain(points, still, size) or trunk)
    nose = points[:, at.NOSE, 2] > 0
    _hang(body, points, at.NOSE, HEAD, head * factor)
    if not nose.all():
        # Seen from behind: the middle of what was found of the head stands in for the nose.
        shown = (points[:, 1:5, 2] > 0) & ~nose[:, None]
        rows = np.flatnonzero(shown.any(axis=1) & (points[:, NECK, 2] > 0))
        for t in rows:
            middle = points[t, 1:5][shown[t]][:, :2].mean(axis=0)
            reach = (middle - points[t, NECK, :2]) * factor[t] * lengths[at.NOSE] / ours.bones[at.NOSE]
            for point in HEAD:
                body[t, point] = reach + (points[t, point, :2] - middle) * head * factor[t]

    arm = lengths[at.LEFT_WRIST] / ours.bones[at.LEFT_WRIST]
    hand = arm
    if ours.hand and theirs.hand:
        # A clenched or foreshortened hand in a single picture says little: halfway to the arm's ratio.
        hand = between(np.sqrt(arm * np.clip(theirs.hand / ours.hand, 0.6 * arm, 1.6 * arm)))
    for wrist, part in ((at.LEFT_WRIST, at.LEFT_HAND), (at.RIGHT_WRIST, at.RIGHT_HAND)):
        _hang(body, points, wrist, range(part.start, part.stop), hand * factor)

    shin = lengths[at.LEFT_ANKLE] / ours.bones[at.LEFT_ANKLE]
    foot = shin
    if ours.foot and theirs.foot:
        foot = between(np.clip(theirs.foot / ours.foot, 0.7 * shin, 1.4 * shin))
    for ankle, members in ((at.LEFT_ANKLE, LEFT_FOOT), (at.RIGHT_ANKLE, RIGHT_FOOT)):
        gain = foot * factor
        if ours.foot:
            seen = np.linalg.norm(toes(points, members)[:, :2] - points[:, ankle, :2], axis=1) * factor
            gain = gain * np.minimum(1, ours.foot / np.maximum(seen, 1e-9))
        _hang(body, points, ankle, members, gain)


def _hang(body: np.ndarray, points: np.ndarray, joint: int, members: Iterable[int], gain: np.ndarray) -> None:
    part = list(members)
    offset = points[:, part, :2] - points[:, [joint], :2]
    body[:, part] = body[:, [joint]] + offset * gain[:, None, None]
    points[:, part, 2] *= points[:, [joint], 2] > 0


def _head_gain(points: np.ndarray, still: np.ndarray, size: np.ndarray) -> float | None:
    """Head size, reference over driver, at the most similar head poses."""
    names = [0, *HEAD]
    shared = (still[0, names, 2] > 0) & (points[:, names, 2] > 0)
    enough = np.flatnonzero(shared.sum(axis=1) >= 4)
    if not len(enough):
        return None
    gains, unlike = [], []
    for t in enough:
        kept = np.array(names)[shared[t]]
        theirs = still[0, kept, 0] + 1j * still[0, kept, 1]
        ours = (points[t, kept, 0] + 1j * points[t, kept, 1]) / size[t]
        theirs, ours = theirs - theirs.mean(), ours - ours.mean()
        spread = np.linalg.norm(theirs), np.linalg.norm(ours)
        if min(spread) < 1e-6:
            continue
        gains.append(spread[0] / spread[1])
        unlike.append(1 - abs(np.vdot(ours, theirs)) / (spread[0] * spread[1]))
    if not gains:
        return None
    best = np.argsort(unlike, kind="stable")[: max(3, int(_HEAD_FRAMES * len(gains)))]
    return float(np.median(np.array(gains)[best]))
