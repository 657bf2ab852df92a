"""The character's mask through a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..log import about, get_logger
from ..pose.track import PoseTrack, fit_track
from ..text import frame_ranges
from ..video.frames import FrameSource
from .lost import FILLS, fill_lost, find_lost
from .prompts import Prompt, combined, prompt_at, prompts_from_pose
from .segmentation import Segmenter
from .specks import without_specks
from .track import MaskTrack

DONE = {
    "pose": "filled from the pose's outline",
    "between": "filled from the masks around them",
    "leave": "left as they are",
}

log = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class CharacterMask:
    masks: MaskTrack  # without specks, lost frames filled
    lost: tuple[int, ...]  # frames in which the segmenter lost the person
    report: str


def segment_character(
    segmenter: Segmenter,
    frames: FrameSource,
    pose: PoseTrack | None = None,
    own: Prompt | Sequence[Prompt] | None = None,
    replace: bool = False,
    fill: str = "pose",
    progress: Callable[[int, int], None] | None = None,
) -> CharacterMask:
    """Masks the person of the pose, or of points set by hand, in every frame.

    Args:
        pose: fitted by :func:`..pose.track.fit_track`.
        own: prompts set by hand, added to the pose's; with ``replace`` in their place.
        fill: see :func:`.lost.fill_lost`.
        progress: called with (frames done, frames).

    Raises:
        InputError: no prompt, pose shorter than the clip, or all frames lost.
    """
    count = len(frames)
    if fill not in FILLS:
        raise InputError(f"segment character: fill is {fill!r}, but it must be one of {', '.join(FILLS)}.")
    if pose is not None:
        pose = fit_track(pose, frames, "segment character, pose").onto(frames)
    by_hand = _each_frame([own] if isinstance(own, Prompt) else own or (), count)
    followed = None if replace and by_hand else pose
    prompts = {} if followed is None else {prompt.frame: prompt for prompt in prompts_from_pose(followed)}
    for prompt in by_hand:
        shown = None if followed is None else prompt_at(followed, prompt.frame)
        prompts[prompt.frame] = prompt if shown is None else combined(shown, prompt)
        if not prompts[prompt.frame].labels.any() and prompts[prompt.frame].box is None:
            raise InputError(
                "segment character: points_negative says where the person is not, but nothing says where it is on "
                f"frame {prompt.frame}; set a positive point or a box as well."
            )
    if not prompts:
        raise InputError(
            "segment character: nothing says where the person is; "
            + (
                "no frame of the pose has three sure joints of the body, so set a point on the person."
                if pose is not None
                else "connect the pose of this clip, or set a point on the person (Edit points)."
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
            "(Edit points), or use Mask from Pose."
        )
    done = DONE["between" if fill == "pose" and pose is None else fill]
    report = lost_report(lost, done)
    log.warning("segment character: %s", report, extra=about(report))
    return CharacterMask(fill_lost(masks, lost, pose, fill), tuple(int(frame) for frame in frame_numbers), report)


def lost_report(lost: np.ndarray, done: str) -> str:
    """What is said of lost frames, bool ``[T]``; ``done``: what became of them."""
    frames = np.flatnonzero(lost)
    return (
        f"The segmenter lost the person in {len(frames)} of {len(lost)} frames ({frame_ranges(lost)}); they were "
        f"{done}. Set a point or a box on one of them (point_frame {_middle(frames)}), or try a larger model."
    )


def _each_frame(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """One prompt a frame. Raises InputError for a frame outside the clip."""
    found: dict[int, Prompt] = {}
    for prompt in prompts:
        if not 0 <= prompt.frame < count:
            raise InputError(
                f"segment character: point_frame is {prompt.frame}, but the clip has frames 0 to {count - 1}; choose "
                "one of these."
            )
        found[prompt.frame] = combined(found[prompt.frame], prompt) if prompt.frame in found else prompt
    return list(found.values())


def _middle(frames: np.ndarray) -> int:
    """Of the longest run."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])
