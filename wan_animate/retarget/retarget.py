"""The driver's motion on the reference's body, in the reference's picture.

Bones keep direction and foreshortening and get the reference's lengths. Unlike upstream
(``wan/modules/animate/preprocess/retarget_pose.py``), lengths come from the whole clip, not frame 0 (:mod:`.bones`),
standing feet do not slide (:mod:`.contacts`), and hips hang off the pelvis, not the neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..pose import wholebody as at
from ..pose.track import PoseTrack
from .bones import NECK, PARENT, PELVIS, Lengths, apparent_size, bone_lengths, joints, measure, shot_scales
from .contacts import contacts, place_root, settle_feet
from .extremities import carry_parts
from .placement import choose_anchor, middle, offset, pan, shown, smooth_path

ALIGN = ("auto", "feet", "hips", "neck")
TRAVEL = ("in picture", "full", "none")
_LEGS = [at.LEFT_KNEE, at.LEFT_ANKLE, at.RIGHT_KNEE, at.RIGHT_ANKLE]
_FEET_SHOWN = 0.3  # share of a shot in which an ankle must be in view for the body to be moved by its feet


@dataclass(frozen=True)
class Bodies:
    """Both bodies as measured.

    Attributes:
        driver, reference: in pixels of their own pictures.
        result: in pixels of the reference picture.
        best_frame: driver frame that shows most bones at full length.
        on_feet: some shot stands on the reference's ground.
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
    """:func:`retarget_bodies` without the bone lengths."""
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
    """Puts the driver's motion on the reference's body.

    Args:
        driver: the clip's pose; every shot is placed on its own.
        reference: one frame.
        driver_edit, reference_edit: one frame each, edited to stand upright at the original's scale; for bone lengths.
        proportions: bone lengths, 1 the reference's, 0 the driver's at the reference's size.
        align: what a shot's first frame aligns: "feet", "hips", "neck" or "auto" (feet if both show them, else neck).
        travel: horizontal motion: "full" the driver's; "in picture" pans where that leaves the picture; "none".
        follow_depth: scale with the driver's distance, the reference's size when nearest.

    Returns:
        The track in pixels of the reference picture, without boxes (average lengths for joints missing there), and the
        bodies.

    Raises:
        InputError: several frames in a reference or edit, no body, or an option outside its range.
    """
    check(driver, reference, driver_edit, reference_edit, proportions, align, travel)
    points, still = joints(driver), joints(reference)
    fps = float(driver.fps)
    size = apparent_size(points, fps, driver.shots)
    shot = shot_scales(points, size, driver.shots)
    ours, theirs = measure(points, size * shot), measure(still)
    if ours is None:
        raise InputError("pose: no limb was found in any frame of the driver; choose a clip that shows a person.")
    if theirs is None:
        raise InputError("reference_pose: no limb was found in it; choose a picture that shows more of the body.")
    telling = _shown_lengths(driver, points, ours, shot)
    best = _best(_shown_lengths(driver, points, ours, size * shot))
    ours = _from_edit(ours, driver_edit, points / (size * shot)[:, None, None])
    theirs = _from_edit(theirs, reference_edit, still)
    lengths = _blended(ours, theirs, proportions)

    factor = 1 / shot if follow_depth else 1 / (shot * size)
    body = _bones(points, ours, lengths, factor)
    carry_parts(body, points, still, ours, theirs, lengths, factor, size * shot, proportions)
    out, on_feet = np.zeros((len(driver), at.COUNT, 3), np.float32), False
    ankles_shown, hips_shown = shown(driver, at.LEFT_ANKLE), shown(driver, at.LEFT_HIP)
    for start, stop in driver.shots:
        part = slice(start, stop)
        known = np.flatnonzero(points[part, NECK, 2] > 0)
        if not len(known):
            continue
        walks = bool(ankles_shown[part].mean() >= _FEET_SHOWN)
        anchor = choose_anchor(align, walks, bool(hips_shown[part].any()), reference)
        on_feet |= anchor == "feet"
        legs = _LEGS if walks else [PELVIS]
        span = sum(ours.bones[bone] for bone in legs)
        gain = sum(lengths[bone] for bone in legs) / span
        standing = contacts(points[part], span / 2 * float(shot[start]), fps) if walks else None
        root = place_root(points[part], body[part], gain * factor[part], standing)
        if standing is not None:
            settle_feet(root, body[part], points[part], gain * factor[part], standing, lengths)
        if travel == "none":
            root[:, 0] -= smooth_path(root[:, 0] + body[part, middle(anchor), 0], fps / 2)
        root += offset(root, body[part], points[part], standing, anchor, still[0], lengths, _best(telling[part]))
        if travel == "in picture":
            inside = (points[part, NECK, 0] >= 0) & (points[part, NECK, 0] < driver.width)
            root[:, 0] += pan(root[:, 0], inside & (points[part, NECK, 2] > 0), reference.width, still[0, NECK, 0], fps)
        out[part, :, :2] = (root[:, None] + body[part])[:, : at.COUNT]
    confidence = points[:, : at.COUNT, 2] * (points[:, NECK, 2:] > 0)
    out[..., 2] = np.where(np.isfinite(out[..., :2]).all(axis=2), confidence, 0)
    out[out[..., 2] == 0] = 0
    picture = reference.width, reference.height
    track = PoseTrack(out, *picture, driver.fps, None, driver.cuts, start_seconds=driver.start_seconds)
    return track, Bodies(ours, theirs, lengths, best, on_feet)


def best_frame(track: PoseTrack) -> int:
    """The earliest frame with most limbs at full length."""
    points = joints(track)
    size = apparent_size(points, float(track.fps), track.shots)
    size = size * shot_scales(points, size, track.shots)
    lengths = measure(points, size)
    return 0 if lengths is None else _best(_shown_lengths(track, points, lengths, size))


def _best(shown_lengths: np.ndarray) -> int:
    return int(np.argmax(shown_lengths >= shown_lengths.max() * 0.995))


def _shown_lengths(track: PoseTrack, points: np.ndarray, lengths: Lengths, size: np.ndarray) -> np.ndarray:
    """float64 ``[T]``: limbs seen, weighted by length; a third outside the frame."""
    total = np.zeros(len(points))
    for bone, seen in bone_lengths(points).items():
        inside = ((points[:, bone, :2] >= 0) & (points[:, bone, :2] < (track.width, track.height))).all(axis=1)
        share = np.minimum(np.nan_to_num(seen / size) / lengths.bones[bone], 1)
        total += np.where(inside, share, share / 3)
    return total


def check(
    driver: PoseTrack,
    reference: PoseTrack,
    driver_edit: PoseTrack | None,
    reference_edit: PoseTrack | None,
    proportions: float,
    align: str,
    travel: str,
) -> None:
    for name, track in (
        ("reference_pose", reference), ("driver_edit_pose", driver_edit), ("reference_edit_pose", reference_edit)
    ):  # fmt: skip
        if track is None:
            continue
        if len(track) != 1:
            raise InputError(
                f"{name}: it has {len(track)} frames, but it must be the pose of one picture; connect Detect Pose and "
                "Face run on that one image."
            )
        if not track.body_found[0]:
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


def _from_edit(body: Lengths, edit: PoseTrack | None, original: np.ndarray) -> Lengths:
    if edit is None:
        return body
    edited_points = joints(edit)
    edited = measure(edited_points)
    if edited is None:
        return body
    # Only the original's bones may be foreshortened, so the largest ratios count.
    ratios = [body.bones[bone] / edited.bones[bone] for bone in body.seen & edited.seen if bone != at.NOSE]
    head, edited_head = _head_span(original), _head_span(edited_points)
    ratios += [head / edited_head] if head and edited_head else []
    return edited.times(float(np.percentile(ratios, 75))) if ratios else edited.times(body.unit / edited.unit)


def _head_span(points: np.ndarray) -> float | None:
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
    """float64 ``[T, 135, 2]``: the new body's joints relative to its neck, each from its nearest found ancestor."""
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
