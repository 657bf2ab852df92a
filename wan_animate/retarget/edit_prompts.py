"""Prompts for an image-edit model (FLUX.1 Kontext, Qwen-Image-Edit) that show bones in full length.

As upstream (``process_pipepline.py: get_editing_prompts``), by the clip's limbs and, for spread arms, the picture's
shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..pose import wholebody as at
from ..pose.track import PoseTrack
from .retarget import best_frame

_CLEAR = 0.75  # confidence from which a limb counts as shown, as upstream
_SIDE_ON = 0.45  # shoulder width in trunks (or, without hips, heads) below which a person stands side-on
_KEEP = (
    "Keep the same person with the same face, hair, clothes and body proportions{place}, and "
    "keep camera, light and background as they are."
)


@dataclass(frozen=True)
class EditPrompts:
    """Prompts for both pictures, and the driver frame to edit."""

    driver: str
    reference: str
    frame: int


def edit_prompts(driver: PoseTrack, reference: PoseTrack) -> EditPrompts:
    """Both prompts ask for the limbs that the driver shows.

    Raises:
        InputError: no body, or a reference of several frames.
    """
    if len(reference) != 1:
        raise InputError(
            f"reference_pose: it has {len(reference)} frames, but it must be the pose of one picture; connect Detect "
            "Pose and Face run on that one image."
        )
    for name, track in (("pose", driver), ("reference_pose", reference)):
        if not track.body_found.any():
            raise InputError(f"{name}: no body was found in it; choose one that shows head and shoulders clearly.")
    arms = limbs_shown(driver, (at.LEFT_ELBOW, at.RIGHT_ELBOW, at.LEFT_WRIST, at.RIGHT_WRIST))
    legs = limbs_shown(driver, (at.LEFT_KNEE, at.RIGHT_KNEE, at.LEFT_ANKLE, at.RIGHT_ANKLE))
    frame = best_frame(driver)
    seen = driver.slice(frame, frame + 1)
    return EditPrompts(_prompt(seen, arms, legs), _prompt(reference, arms, legs), frame)


def limbs_shown(track: PoseTrack, joints: tuple[int, ...]) -> bool:
    points = track.keypoints[:, list(joints)]
    inside = (points[..., :2] > 0).all(axis=2) & (points[..., 0] <= track.width) & (points[..., 1] <= track.height)
    return bool((inside & (points[..., 2] >= _CLEAR)).any())


def _prompt(track: PoseTrack, arms: bool, legs: bool) -> str:
    wide = track.width > track.height
    parts = []
    if legs:
        parts.append("The person stands upright on both feet with straight legs slightly apart")
    elif arms:
        parts.append("The person holds the upper body upright")
    else:
        parts.append("The person looks straight into the camera")
    if _turned_away(track):
        parts.append("turned around so that face, chest and both shoulders point at the camera")
    elif legs or arms:
        parts.append("facing the camera squarely")
    sentences = [", ".join(parts) + "."]
    if arms or legs:
        sentences.append(
            "Both arms are stretched straight out to the sides at shoulder height, palms forward, fingers open."
            if wide
            else "Both arms hang straight down beside the body, a little away from it, fingers open."
        )
    if legs:
        sentences.append("The whole figure from head to shoes fits into the picture, hands and feet uncovered.")
        if not limbs_shown(track, (at.LEFT_ANKLE, at.RIGHT_ANKLE)):
            sentences.append("Zoom out as far as that needs.")
            return " ".join([*sentences, _KEEP.format(place="")])
    elif arms:
        sentences.append("Both hands are in the picture and uncovered.")
    return " ".join([*sentences, _KEEP.format(place=", at the same size and place in the picture")])


def _turned_away(track: PoseTrack) -> bool:
    """Side-on or from behind."""
    points = track.keypoints[0]
    left, right = points[at.LEFT_SHOULDER], points[at.RIGHT_SHOULDER]
    if min(left[2], right[2]) < 0.3:
        return True
    hips = points[[at.LEFT_HIP, at.RIGHT_HIP]]
    neck = (left + right)[:2] / 2
    if (hips[:, 2] >= 0.3).all():
        upright = float(np.linalg.norm(hips[:, :2].mean(axis=0) - neck))
    else:
        upright = 2.5 * float(np.linalg.norm(points[at.NOSE, :2] - neck))
    return bool(left[0] - right[0] < _SIDE_ON * upright)
