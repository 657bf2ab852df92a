"""The character's mask through a clip: prompts from the pose, following, and a check of what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..log import get_logger
from ..pose.track import PoseTrack, fit_track
from ..text import frame_ranges
from ..video.frames import FrameSource
from .lost import FILLS, fill_lost, find_lost
from .prompts import Prompt, combined, prompt_at, prompts_from_pose
from .segmentation import Segmenter
from .specks import without_specks
from .track import MaskTrack

log = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class CharacterMask:
    """What :func:`segment_character` found.

    Attributes:
        masks: of the clip, specks dropped, lost frames filled.
        lost: numbers of the frames in which the segmenter lost the person.
        report: one or two sentences about it.
    """

    masks: MaskTrack
    lost: tuple[int, ...]
    report: str


def segment_character(
    segmenter: Segmenter,
    frames: FrameSource,
    pose: PoseTrack | None = None,
    own: Prompt | None = None,
    replace: bool = False,
    fill: str = "pose",
    progress: Callable[[int, int], None] | None = None,
) -> CharacterMask:
    """Mask the person of the pose, or of the points somebody has set, in every frame.

    Args:
        segmenter: the model.
        frames: the clip.
        pose: of the same clip; gives points and boxes, cuts, and the check. Of another size, it is brought to the
            frames' (:meth:`.PoseTrack.onto`); of a longer part of the video, it is cut
            (:func:`..pose.track.fit_track`).
        own: points or a box set by hand on one frame.
        replace: follow ``own`` alone; otherwise it is added to what the pose shows, on that frame too.
        fill: what goes into lost frames, see :func:`.lost.fill_lost`.
        progress: called with frames done and their number.

    Raises:
        InputError: the pose does not cover the clip, nothing says where the person is, or the person was lost in
            every frame.
    """
    count = len(frames)
    if fill not in FILLS:
        raise InputError(f"segment character: fill is {fill!r}, but it must be one of {', '.join(FILLS)}.")
    if pose is not None:
        pose = fit_track(pose, frames, "segment character, pose").onto(frames)
    if own is not None and not 0 <= own.frame < count:
        raise InputError(
            f"segment character: point_frame is {own.frame}, but the clip has frames 0 to {count - 1}; choose one of "
            "these."
        )
    followed = None if replace and own is not None else pose
    prompts = {} if followed is None else {one.frame: one for one in prompts_from_pose(followed)}
    if own is not None:
        shown = None if followed is None else prompt_at(followed, own.frame)
        prompts[own.frame] = own if shown is None else combined(shown, own)
        if not prompts[own.frame].labels.any() and prompts[own.frame].box is None:
            raise InputError(
                "segment character: points_negative says where the person is not, but nothing says where it is on "
                f"frame {own.frame}; set a positive point or a box as well."
            )
    if not prompts:
        raise InputError(
            "segment character: nothing says where the person is; "
            + (
                "no frame of the pose has three sure joints of the body, so set a point on the person."
                if pose is not None
                else "connect the pose of this clip, or set a point on the person with a points editor."
            )
        )
    cuts = pose.cuts if pose is not None else ()
    masks = without_specks(segmenter.segment(frames, [prompts[frame] for frame in sorted(prompts)], cuts, progress))
    lost = find_lost(masks, pose)
    frame_numbers = np.flatnonzero(lost)
    if len(frame_numbers) == 0:
        return CharacterMask(masks, (), f"The person was followed through all {count} frames.")
    can_fill = fill == "pose" and pose is not None
    if len(frame_numbers) == count and not can_fill:
        raise InputError(
            f"segment character: {segmenter.name} found nobody in any of the {count} frames; set a point on the person "
            "with a points editor, or use Mask from Pose."
        )
    done = {
        "pose": "filled from the pose's outline" if pose is not None else "filled from the masks around them",
        "between": "filled from the masks around them",
        "leave": "left as they are",
    }[fill]
    report = (
        f"The segmenter lost the person in {len(frame_numbers)} of {count} frames ({frame_ranges(lost)}); "
        f"they were {done}. Set a point or a box on one of them (point_frame {_middle(frame_numbers)}), or try a "
        "larger model."
    )
    log.warning("segment character: %s", report)
    return CharacterMask(fill_lost(masks, lost, pose, fill), tuple(int(one) for one in frame_numbers), report)


def _middle(frames: np.ndarray) -> int:
    """A frame in the middle of the longest stretch."""
    stretches = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    longest = max(stretches, key=len)
    return int(longest[len(longest) // 2])
