"""The driver's motion on the reference's body, in the reference's picture.

Every bone keeps the direction it has in the driver's picture and gets the length of the reference's bone, shortened by
as much as the driver's is foreshortened in that frame. So limbs have the reference's proportions, joint angles are the
driver's, and nothing is ever longer than on the reference. Face, hands and feet are carried by head, wrist and ankle as
they are, scaled. The whole stands where the reference stands, and feet that stand still stay still
(:mod:`.ground`).

Where upstream (``wan/modules/animate/preprocess/retarget_pose.py``) takes the driver's bone lengths from the first frame,
ours come from the whole clip (:mod:`.skeleton`); it shifts all frames by one constant, so that feet slide as soon as
legs differ in length; its hip bones run from the neck, ours from the pelvis, so the hips too get the reference's width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from . import layout as at
from .ground import SOLES, Contacts, contacts, place_root
from .skeleton import (
    FOUND,
    HEAD,
    LEFT_FOOT,
    NECK,
    PARENT,
    PELVIS,
    RIGHT_FOOT,
    Lengths,
    apparent_size,
    bone_lengths,
    hand_sizes,
    joints,
    measure,
    smoothed,
    toes,
)
from .track import PoseTrack

ALIGN = ("auto", "feet", "hips", "neck")
TRAVEL = ("in picture", "full", "none")
_MARGIN = 0.04  # of the picture's width that the neck keeps from its sides, where a shift can do it
_HEAD_FRAMES = 0.1  # share of the clip whose heads look most like the reference's, from which its size is taken


@dataclass(frozen=True)
class Bodies:
    """What was found out about the two bodies: kept for previews and reports.

    Attributes:
        driver, reference: bone lengths in pixels of their own pictures.
        result: bone lengths of the result in pixels of the reference picture.
        best_frame: the frame of the driver that shows most of its bones at full length.
        on_feet: whether the result stands on the reference's ground.
    """

    driver: Lengths
    reference: Lengths
    result: dict[int, float]
    best_frame: int
    on_feet: bool


def retarget(
    driver: PoseTrack,
    reference: PoseTrack,
    driver_edit: PoseTrack | None = None,
    reference_edit: PoseTrack | None = None,
    proportions: float = 1.0,
    align: str = "auto",
    travel: str = "in picture",
    follow_depth: bool = True,
) -> PoseTrack:
    """The driver's motion on the reference's body; see :func:`retarget_bodies`, which also tells the bone lengths."""
    return retarget_bodies(driver, reference, driver_edit, reference_edit, proportions, align, travel, follow_depth)[0]


def retarget_bodies(
    driver: PoseTrack,
    reference: PoseTrack,
    driver_edit: PoseTrack | None = None,
    reference_edit: PoseTrack | None = None,
    proportions: float = 1.0,
    align: str = "auto",
    travel: str = "in picture",
    follow_depth: bool = True,
) -> tuple[PoseTrack, Bodies]:
    """Put the driver's motion on the reference's body.

    Args:
        driver: the driving clip's pose; every shot is placed on its own.
        reference: the reference picture's pose, one frame.
        driver_edit, reference_edit: poses, one frame each, of a driver frame and of the reference picture after an
            image-edit model put the person into a plain standing pose. Where given, the bone lengths come from them;
            a change of scale by the edit is taken out.
        proportions: 1 the reference's bone lengths, 0 the driver's at the reference's size, or between.
        align: what is put where it is in the reference picture in the first frame of a shot: "feet" (on its ground,
            hips above them), "hips", "neck", or "auto" (feet when both pictures show them, else neck).
        travel: how the body moves sideways. "in picture": as the driver does; where that path does not fit into the
            reference picture, the view pans along with it (feet then slide by the pan). "full": as the driver does,
            out of the picture if need be. "none": it stays where the reference stands; a walker walks on the spot.
        follow_depth: the body grows and shrinks as the driver comes nearer and goes away, its nearest moment having
            the reference's size; off, it always has the reference's size.

    Returns:
        The track in pixels of the reference picture (its ``width`` and ``height``) with the driver's frames, rate and
        cuts and no boxes; and the bodies. A keypoint keeps the driver's confidence, 0 where it was not found. Joints
        the reference does not show have ordinary lengths: its legs, for one, end up below the picture.

    Raises:
        InputError: a reference or edit of several frames, no body in the reference or anywhere in the driver, or an
            option outside its range.
    """
    _check(driver, reference, driver_edit, reference_edit, proportions, align, travel)
    points, still = joints(driver), joints(reference)
    fps = float(driver.fps)
    size = apparent_size(points, fps, driver.shots)
    shot = _shot_scales(points, size, driver.shots)
    ours, theirs = measure(points, size * shot), measure(still)
    if ours is None:
        raise InputError("pose: no limb was found in any frame of the driver; choose a clip that shows a person.")
    if theirs is None:
        raise InputError("reference_pose: no limb was found in it; choose a picture that shows more of the body.")
    ours = _from_edit(ours, driver_edit, points / (size * shot)[:, None, None])
    theirs = _from_edit(theirs, reference_edit, still)
    lengths = _blended(ours, theirs, proportions)

    factor = 1 / shot if follow_depth else 1 / (shot * size)
    body = _bones(points, ours, lengths, factor)
    _carry_parts(body, points, still, ours, theirs, lengths, factor, size * shot, proportions)
    anchor = _anchor(align, driver, reference)
    leg = {bone: lengths[bone] / ours.bones[bone] for bone in (at.LEFT_KNEE, at.LEFT_ANKLE, PELVIS)}
    gain = (leg[at.LEFT_KNEE] + leg[at.LEFT_ANKLE]) / 2 if anchor == "feet" else leg[PELVIS]

    out = np.zeros((len(driver), at.COUNT, 3), np.float32)
    for start, stop in driver.shots:
        part = slice(start, stop)
        known = np.flatnonzero(points[part, NECK, 2] > 0)
        if not len(known):
            continue
        span = ours.bones[at.LEFT_KNEE] + ours.bones[at.LEFT_ANKLE]
        standing = contacts(points[part], span * float(shot[start]), fps) if anchor == "feet" else None
        root = place_root(points[part], body[part], gain * factor[part], standing)
        if travel == "none":
            root[:, 0] -= smoothed(root[:, :1] + body[part, _middle(anchor), :1], fps)[:, 0]
        root += _offset(root, body[part], points[part], standing, anchor, still[0], lengths)
        if travel == "in picture":
            inside = (points[part, NECK, 0] >= 0) & (points[part, NECK, 0] < driver.width)
            root[:, 0] += _pan(root[:, 0], inside & (points[part, NECK, 2] > 0), reference.width, fps)
        out[part, :, :2] = (root[:, None] + body[part])[:, : at.COUNT]
    confidence = points[:, : at.COUNT, 2] * (points[:, NECK, 2:] > 0)
    out[..., 2] = np.where(np.isfinite(out[..., :2]).all(axis=2), confidence, 0)
    out[out[..., 2] == 0] = 0
    track = PoseTrack(out, reference.width, reference.height, driver.fps, None, driver.cuts)
    return track, Bodies(ours, theirs, lengths, best_frame(driver), anchor == "feet")


def best_frame(track: PoseTrack) -> int:
    """The frame that tells most about the body: most limbs in view, and as long as they ever are; the earliest such."""
    points = joints(track)
    size = apparent_size(points, float(track.fps), track.shots) * _shot_scales(points, None, track.shots)
    lengths = measure(points, size)
    if lengths is None:
        return 0
    score = np.zeros(len(points))
    for bone, seen in bone_lengths(points).items():
        inside = ((points[:, bone, :2] >= 0) & (points[:, bone, :2] < (track.width, track.height))).all(axis=1)
        ratio = np.minimum(np.nan_to_num(seen / size) / lengths.bones[bone], 1)
        score += np.where(inside, ratio, 0.3 * ratio)
    return int(np.argmax(score >= score.max() * 0.995))


def _check(driver, reference, driver_edit, reference_edit, proportions: float, align: str, travel: str) -> None:
    for name, one in (
        ("reference_pose", reference), ("driver_edit_pose", driver_edit), ("reference_edit_pose", reference_edit)
    ):  # fmt: skip
        if one is None:
            continue
        if len(one) != 1:
            raise InputError(
                f"{name}: it has {len(one)} frames, but it must be the pose of one picture; connect Detect Pose and "
                "Face run on that one image."
            )
        if not one.body_found[0]:
            raise InputError(
                f"{name}: no body was found in the picture; choose one in which head and shoulders of the character "
                "are clearly visible."
            )
    if not driver.body_found.any():
        raise InputError(
            f"pose: no body was found in any of the {len(driver)} frames of the driver; choose a clip in which the "
            "person's head and shoulders are clearly visible."
        )
    if not 0 <= proportions <= 1:
        raise InputError(f"proportions is {proportions}, but it must lie between 0 (driver) and 1 (reference).")
    for name, value, known in (("align", align, ALIGN), ("travel", travel, TRAVEL)):
        if value not in known:
            raise InputError(f"{name} is {value!r}, but it must be one of: {', '.join(known)}.")


def _shot_scales(points: np.ndarray, size: np.ndarray | None, shots: list[tuple[int, int]]) -> np.ndarray:
    """float64 ``[T]``: how large the person is in a shot against the longest shot."""
    scale = np.ones(len(points))
    if len(shots) < 2:
        return scale
    size = np.ones(len(points)) if size is None else size
    bodies = [measure(points[start:stop], size[start:stop]) for start, stop in shots]
    known = [i for i, body in enumerate(bodies) if body is not None]
    if not known:
        return scale
    standard = bodies[max(known, key=lambda i: shots[i][1] - shots[i][0])]
    for i in known:
        scale[slice(*shots[i])] = _size_against(bodies[i], standard)
    return scale


def _size_against(body: Lengths, other: Lengths) -> float:
    shared = body.seen & other.seen
    ratios = [body.bones[bone] / other.bones[bone] for bone in shared]
    return float(np.median(ratios)) if ratios else body.unit / other.unit


def _from_edit(body: Lengths, edit: PoseTrack | None, original: np.ndarray) -> Lengths:
    """The edited picture's lengths at the original's scale."""
    if edit is None:
        return body
    edited_points = joints(edit)
    edited = measure(edited_points)
    if edited is None:
        return body
    # Bones of the original may be foreshortened, those of the plain pose are not: the longest-looking ones tell.
    ratios = [body.bones[bone] / edited.bones[bone] for bone in body.seen & edited.seen if bone != at.NOSE]
    head = [_head_span(points) for points in (original, edited_points)]
    ratios += [head[0] / head[1]] if all(head) else []
    return edited.times(float(np.percentile(ratios, 75))) if ratios else edited.times(body.unit / edited.unit)


def _head_span(points: np.ndarray) -> float | None:
    """Pixels across the head points, the largest over the frames."""
    heads = [points[t, [0, 1, 2, 3, 4]] for t in range(len(points))]
    spans = [np.ptp(head[head[:, 2] > 0][:, 0]) for head in heads if (head[:, 2] > 0).sum() >= 3]
    return float(np.percentile(spans, 97)) if spans else None


def _blended(ours: Lengths, theirs: Lengths, proportions: float) -> dict[int, float]:
    big = [bone for bone in PARENT if bone not in (at.NOSE, at.LEFT_HIP, at.RIGHT_HIP)]
    scale = np.exp(np.median([np.log(theirs.bones[bone] / ours.bones[bone]) for bone in big]))
    return {
        bone: float(theirs.bones[bone] ** proportions * (ours.bones[bone] * scale) ** (1 - proportions))
        for bone in PARENT
    }


def _bones(points: np.ndarray, ours: Lengths, lengths: dict[int, float], factor: np.ndarray) -> np.ndarray:
    """float64 ``[T, 135, 2]``: the new body's joints as seen from its neck.

    A joint whose parent was not found hangs off the next one that was, across both bones.
    """
    body = np.zeros((*points.shape[:2], 2))
    for bone in PARENT:
        todo = points[:, bone, 2] > 0
        own = new = 0.0
        parent = bone
        while parent != NECK and todo.any():
            own, new = own + ours.bones[parent], new + lengths[parent]
            parent = PARENT[parent]
            here = todo & (points[:, parent, 2] > 0)
            vector = (points[here, bone, :2] - points[here, parent, :2]) * (factor[here] * new / own)[:, None]
            long = np.linalg.norm(vector, axis=1)
            vector *= np.minimum(1, new / np.maximum(long, 1e-9))[:, None]
            body[here, bone] = body[here, parent] + vector
            todo &= ~here
    return body


def _carry_parts(
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
    """Head, hands and feet, scaled and hung on nose, wrists and ankles, in place."""
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
        # A clenched or turned hand of the one picture tells little: not far from what the body says.
        hand = between(np.clip(theirs.hand / ours.hand, 0.75 * min(arm, trunk), 1.33 * max(arm, trunk)))
    for wrist, part in ((at.LEFT_WRIST, at.LEFT_HAND), (at.RIGHT_WRIST, at.RIGHT_HAND)):
        _hang(body, points, wrist, range(part.start, part.stop), hand * factor)

    shin = lengths[at.LEFT_ANKLE] / ours.bones[at.LEFT_ANKLE]
    foot = shin
    if ours.foot and theirs.foot:
        foot = between(np.clip(theirs.foot / ours.foot, 0.7 * shin, 1.4 * shin))
    for ankle, part in ((at.LEFT_ANKLE, LEFT_FOOT), (at.RIGHT_ANKLE, RIGHT_FOOT)):
        gain = foot * factor
        if ours.foot:
            seen = np.linalg.norm(toes(points, part)[:, :2] - points[:, ankle, :2], axis=1) * factor
            gain = gain * np.minimum(1, ours.foot / np.maximum(seen, 1e-9))
        _hang(body, points, ankle, part, gain)


def _hang(body: np.ndarray, points: np.ndarray, joint: int, part, gain: np.ndarray) -> None:
    part = list(part)
    offset = points[:, part, :2] - points[:, [joint], :2]
    body[:, part] = body[:, [joint]] + offset * gain[:, None, None]
    points[:, part, 2] *= points[:, [joint], 2] > 0


def _head_gain(points: np.ndarray, still: np.ndarray, size: np.ndarray) -> float | None:
    """The reference's head size over the driver's, from the frames in which it is turned most like the reference's."""
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


def _anchor(align: str, driver: PoseTrack, reference: PoseTrack) -> str:
    def shown(track: PoseTrack, pair: tuple[int, int]) -> np.ndarray:
        both = track.keypoints[:, list(pair)]
        inside = (both[..., :2] >= 0).all(axis=2) & (both[..., 0] < track.width) & (both[..., 1] < track.height)
        return ((both[..., 2] >= FOUND) & inside).any(axis=1)

    ankles, hips = (at.LEFT_ANKLE, at.RIGHT_ANKLE), (at.LEFT_HIP, at.RIGHT_HIP)
    feet = shown(driver, ankles).mean() >= 0.3 and shown(reference, ankles)[0]
    if align in ("auto", "feet") and feet:
        return "feet"
    hips_known = (reference.keypoints[0, list(hips), 2] >= FOUND).all() and shown(driver, hips).any()
    return "hips" if align == "hips" and hips_known else "neck"


def _middle(anchor: str) -> int:
    return NECK if anchor == "neck" else PELVIS


def _offset(
    root: np.ndarray,
    body: np.ndarray,
    points: np.ndarray,
    standing: Contacts | None,
    anchor: str,
    still: np.ndarray,
    lengths: dict[int, float],
) -> np.ndarray:
    """[2]: what puts the first frame of a shot where the reference is."""
    middle = _middle(anchor)
    found = (points[:, middle, 2] > 0) & (points[:, NECK, 2] > 0)
    first = int(np.argmax(found))
    wanted = still[middle, :2] if still[middle, 2] > 0 else still[NECK, :2] + (0, lengths[PELVIS])
    out = wanted - root[first] - body[first, middle]
    if anchor == "feet":
        out[1] = _ground_offset(root, body, points, standing, still)
    return out


def _ground_offset(root, body, points, standing: Contacts, still: np.ndarray) -> float:
    ankles = [sole[0] for sole in SOLES]
    ground = max(still[ankle, 1] for ankle in ankles if still[ankle, 2] > 0)
    # The first moment a foot stands; a clip may begin in the air.
    firm = np.stack([standing.foot(0), standing.foot(1)], axis=1) * (points[:, ankles, 2] > 0)
    any_known = (points[:, ankles, 2] > 0).any(axis=1)
    first = int(np.argmax(firm.max(axis=1) > 0.5)) if (firm > 0.5).any() else int(np.argmax(any_known))
    lowest = max((body[first, ankle, 1] for ankle in ankles if points[first, ankle, 2] > 0), default=0.0)
    return float(ground - root[first, 1] - lowest)


def _pan(necks: np.ndarray, inside: np.ndarray, width: int, fps: float) -> np.ndarray:
    """float64 ``[T]``: how far to shift each frame so that the necks of frames in which the driver's is ``inside`` its
    picture stay in ours: one shift for the whole shot where that will do."""
    if not inside.any():
        return np.zeros(len(necks))
    left, right = _MARGIN * width, (1 - _MARGIN) * width
    path = smoothed(necks[:, None], fps)[:, 0]
    low, high = path[inside].min(), path[inside].max()
    pan = np.zeros(len(necks))
    if high - low > right - left:
        pan = (path - path[inside][0]) * ((right - left) / (high - low) - 1)
        path = path + pan
        low, high = path[inside].min(), path[inside].max()
    return pan + max(left - low, 0) + min(right - high, 0)
