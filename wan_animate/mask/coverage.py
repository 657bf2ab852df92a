"""Whether masks hold the person of the pose, for what they leave out shows in the result, and not the whole scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..log import about, get_logger
from ..pose import wholebody as L
from ..pose.track import PoseTrack, fit_track
from ..text import frame_ranges, nothing_kept
from ..video.derived import DerivedSource, RepeatedSource
from ..video.frames import FrameSource
from .cells import fills
from .from_pose import find_head, person_size
from .lost import HELD
from .prompts import CONFIDENT, EDGE, FEWEST, body_points
from .track import binary

EMPTY, LOST, HEAD, LIMBS = "empty", "lost", "head", "arms or legs"
# part -> (its points, share of those in view that may lie outside the mask: fingers are found less surely than joints)
PARTS = {
    HEAD: ([*range(L.NOSE, L.RIGHT_EAR + 1)], 0.0),
    "left hand": ([L.LEFT_WRIST, *range(L.LEFT_HAND.start, L.LEFT_HAND.stop)], 0.25),
    "right hand": ([L.RIGHT_WRIST, *range(L.RIGHT_HAND.start, L.RIGHT_HAND.stop)], 0.25),
    "left foot": ([L.LEFT_ANKLE, L.LEFT_BIG_TOE, L.LEFT_SMALL_TOE, L.LEFT_HEEL], 0.25),
    "right foot": ([L.RIGHT_ANKLE, L.RIGHT_BIG_TOE, L.RIGHT_SMALL_TOE, L.RIGHT_HEEL], 0.25),
    LIMBS: ([L.LEFT_SHOULDER, L.RIGHT_SHOULDER, L.LEFT_ELBOW, L.RIGHT_ELBOW,
             L.LEFT_HIP, L.RIGHT_HIP, L.LEFT_KNEE, L.RIGHT_KNEE], 0.0),
}  # fmt: skip
FAULTS = (EMPTY, LOST, *PARTS)
NEAR = 0.03  # of the shoulders' width: a point so near the mask may be a mistake of the pose
TOP = 1.6  # halves of the face's height above its middle; the skull ends at about 2
READ_AT_ONCE = 8

log = get_logger(__name__)


def uncovered(mask: np.ndarray, keypoints: np.ndarray, picture: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What one mask leaves out of the visible person: fault (of :data:`FAULTS`) -> points outside, float ``[N, 2]``.

    Args:
        mask: uint8 ``[H, W]`` of 0 and 1.
        keypoints: float ``[133, 3]`` in pixels of the mask; those below 0.5 or outside the picture do not count.
        picture: left, top, width, height of the whole picture in pixels of a mask that is a window of it: what is
            beyond the window is outside the mask. None: the mask is of the whole picture.
    """
    size = np.array(mask.shape[::-1])
    corner, whole = (np.zeros(2), size) if picture is None else (picture[:2], picture[2:])
    points, sure = keypoints[:, :2].astype(np.float64), keypoints[:, 2] >= CONFIDENT
    person = person_size(points, sure)
    inner = body_points(keypoints, *size.tolist())
    if person < 2:
        return {}
    if len(inner) >= FEWEST:
        held = _near_mask(mask, inner, 0)
        if held.mean() < HELD:
            return {LOST if mask.any() else EMPTY: inner[~held]}
    out = {}
    for part, (members, share) in PARTS.items():
        shown = points[members][sure[members]]
        if part == HEAD:
            shown = np.concatenate([shown, _head_top(points, sure, person)])
        # joints near the edge are guesses (hips behind a desk)
        edge = EDGE * whole.min() if part == LIMBS else 0
        shown = shown[((shown >= corner + edge) & (shown <= corner + whole - 1 - edge)).all(axis=1)]
        if len(shown):
            outside = ~_near_mask(mask, shown, max(round(NEAR * person), 1))
            if outside.mean() > share:
                out[part] = shown[outside]
    return out if mask.any() or not out else {EMPTY: np.concatenate([*out.values()])}


def _near_mask(mask: np.ndarray, points: np.ndarray, reach: int) -> np.ndarray:
    """bool ``[N]``: the mask has a pixel within ``reach`` across and down."""
    at = np.rint(points).astype(int)
    starts, stops = np.maximum(at - reach, 0).tolist(), np.maximum(at + reach + 1, 0).tolist()
    return np.array(
        [mask[y:bottom, x:right].any() for (x, y), (right, bottom) in zip(starts, stops, strict=True)], bool
    )


def _head_top(points: np.ndarray, sure: np.ndarray, person: float) -> np.ndarray:
    """``[1, 2]``: a point below the top of the head; ``[0, 2]`` where the face does not tell."""
    head = find_head(points, sure, person) if sure[L.FACE].sum() >= 30 else None
    if head is None:
        return np.zeros((0, 2))
    return (head.middle + head.up * TOP * head.half_face)[None]


@dataclass(frozen=True, eq=False)
class Coverage:
    """What masks leave out of the person, frame by frame.

    Attributes:
        faults: bool ``[T, 8]``, in the order of :data:`FAULTS`.
        points: int ``[T]``: how many points lie outside.
        beyond: whether the masks are of a window, beyond which some of the points may lie.
        white: bool ``[T]``: frames of which the mask leaves nothing.
    """

    faults: np.ndarray
    points: np.ndarray
    beyond: bool = False
    white: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    @property
    def uncovered(self) -> np.ndarray:
        """bool ``[T]``: frames in which the old person may show."""
        return np.asarray(self.faults.any(axis=1))

    @property
    def worst(self) -> int | None:
        """The frame with the most points outside, else the first that is all mask; None if there is neither."""
        if self.uncovered.any():
            return int(np.argmax(self.points + self.uncovered))
        return int(np.argmax(self.white)) if self.white.any() else None

    def frames(self, fault: str) -> np.ndarray:
        """bool ``[T]``: frames with this fault."""
        return self.faults[:, FAULTS.index(fault)]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each kind of fault, with its frames and the remedy."""
        count = len(self.faults)
        parts = {part: self.frames(part) for part in PARTS if self.frames(part).any()}
        empty, lost = self.frames(EMPTY), self.frames(LOST)
        said = []
        if empty.any():
            said.append(
                f"the mask is empty in {empty.sum()} of {count} frames ({frame_ranges(empty)}) that show a person: "
                "nobody is put in there and the old person stays. Set a point or a box on one of them in Segment "
                "Character, or fill lost frames with the pose outline."
            )
        if lost.any():
            said.append(
                f"the mask is not where the pose is in {lost.sum()} of {count} frames ({frame_ranges(lost)}): the old "
                "person stays there. Look at the mask and the pose there, and set a point or a box on the person in "
                "Segment Character."
            )
        if parts:
            cut = np.any(list(parts.values()), axis=0)
            beyond = " What lies beyond the window comes in with more margin in Crop to Character."
            where = "; ".join(f"{part} {frame_ranges(frames, 4)}" for part, frames in parts.items())
            said.append(
                f"the mask cuts off part of the person in {cut.sum()} of {count} frames ({where}): the old person "
                "shows there. Raise grow iterations in Shape Mask or lower its blocks across and blocks down; where a "
                "hand or foot is missing altogether, set a point on it in Segment Character." + beyond * self.beyond
            )
        if self.white.any():
            frames = frame_ranges(self.white)
            said.append(nothing_kept("every frame" if self.white.all() else f"{self.white.sum()} frames ({frames})"))
        return said


class CheckedMaskSource(DerivedSource):
    """Masks, unchanged, that are checked as they are read.

    Args:
        source: masks.
        pose: the driver's, of these frames, at any size; None: only empty masks are found. With
            :attr:`..pose.track.PoseTrack.pictures`, what is beyond the window is outside the mask.

    Attributes:
        pose: in pixels of the masks, or None.

    Raises:
        InputError: the pose does not belong to the masks.
    """

    kind = "mask"

    def __init__(self, source: FrameSource, pose: PoseTrack | None = None) -> None:
        super().__init__(source)
        self.picture, self.start_seconds = source.picture, source.start_seconds
        if pose is not None:
            pose = fit_track(pose, source, "character mask, pose")
        self.pose = None if pose is None else pose.onto(source)
        self._faults = np.zeros((len(source), len(FAULTS)), bool)
        self._points = np.zeros(len(source), np.int64)
        self._white, self._checked = np.zeros(len(source), bool), np.zeros(len(source), bool)

    def _read(self, start: int, stop: int) -> np.ndarray:
        masks = self.source.read(start, stop)
        for frame, mask in enumerate(masks, start):
            if not self._checked[frame]:
                self._check(frame, binary(mask))
        return masks

    def uncovered(self, frame: int, mask: np.ndarray) -> dict[str, np.ndarray]:
        """:func:`uncovered` of one frame; ``mask``: uint8 ``[H, W]`` of 0 and 1."""
        if self.pose is None:
            return {} if mask.any() else {EMPTY: np.zeros((0, 2))}
        pictures = self.pose.pictures
        return uncovered(mask, self.pose.keypoints[frame], None if pictures is None else pictures[frame])

    def _check(self, frame: int, mask: np.ndarray) -> None:
        for fault, points in self.uncovered(frame, mask).items():
            self._faults[frame, FAULTS.index(fault)] = True
            self._points[frame] += len(points)
        self._white[frame] = fills(mask) and not self.of_window  # whose surroundings stay
        self._checked[frame] = True

    def coverage(self, progress: Callable[[int, int], None] | None = None) -> Coverage:
        """The check of every frame; those not read yet are read. ``progress``: (frames done, frames)."""
        for start in range(0, len(self), READ_AT_ONCE):
            stop = min(start + READ_AT_ONCE, len(self))
            if not self._checked[start:stop].all():
                self.read(start, stop)
            if progress is not None:
                progress(stop, len(self))
        return self.found()

    @property
    def of_window(self) -> bool:
        """Whether the masks are of a window (crop and stitch), as far as the pose tells."""
        return self.pose is not None and self.pose.pictures is not None

    def found(self) -> Coverage:
        """The check of the frames that were read until now."""
        return Coverage(self._faults.copy(), self._points.copy(), self.of_window, self._white.copy())

    def is_black(self) -> bool | None:
        return self.source.is_black()

    def is_finite(self) -> bool | None:
        return self.source.is_finite()

    def fingerprint(self) -> str:
        return self.source.fingerprint()


def checked_masks(masks: FrameSource, pose: PoseTrack | None = None) -> CheckedMaskSource:
    """:class:`CheckedMaskSource`; a single mask is repeated for every frame of the pose."""
    if pose is not None and len(masks) == 1 < len(pose):
        masks = RepeatedSource(masks, len(pose), pose.fps)
    return CheckedMaskSource(masks, pose)


def check_masks(
    masks: FrameSource, pose: PoseTrack | None = None, progress: Callable[[int, int], None] | None = None
) -> Coverage:
    """Look for frames in which the person of ``pose`` is not in the mask; arguments as of :func:`checked_masks`."""
    return checked_masks(masks, pose).coverage(progress)


def warn_of_uncovered(coverage: Coverage, who: str) -> list[str]:
    """Log and return the warnings; ``who`` comes first in the log."""
    for words in coverage.warnings:
        log.warning("%s: %s", who, words, extra=about(words))
    return coverage.warnings
