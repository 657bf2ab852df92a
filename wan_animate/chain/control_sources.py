"""The control videos of a clip: pose, face, background and character mask."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import InputError
from ..log import get_logger
from ..mask.coverage import CheckedMaskSource, Coverage
from ..pose.draw import DrawnPoseSource
from ..pose.track import PoseTrack
from ..video.derived import lasting
from ..video.frames import FrameSource

POSE, FACE, BACKGROUND, MASK = "pose", "face", "background", "character mask"
log = get_logger(__name__)


@dataclass(eq=False)
class Controls:
    """The control videos of one clip.

    Attributes:
        pose: the drawn skeleton; its size and length are the result's.
        face: face crops (512x512 for the published model); None leaves the face to prompt and pose.
        background, character_mask: replace only: the driving frames with the character black, and 1 = character; a
            single frame is repeated. The mask is checked against the pose as it is read (:meth:`coverage`).
    """

    pose: FrameSource
    face: FrameSource | None = None
    background: FrameSource | None = None
    character_mask: FrameSource | None = None

    def __post_init__(self) -> None:
        if self.background is not None:
            self.background = lasting(self.background, self.pose)
        if self.character_mask is not None:
            mask = lasting(self.character_mask, self.pose)
            self.character_mask = mask if mask.kind != "mask" else CheckedMaskSource(mask, self._driver(mask))

    def _driver(self, mask: FrameSource) -> PoseTrack | None:
        """The track that was drawn, where it is known and of the mask's frames."""
        alike = (len(mask), mask.width, mask.height) == (len(self.pose), self.pose.width, self.pose.height)
        return self.pose.shown if isinstance(self.pose, DrawnPoseSource) and alike else None

    def coverage(self, progress: Callable[[int, int], None] | None = None) -> Coverage | None:
        """Whether the character mask held the person of the pose; frames that were not read yet are read.

        None without a mask. A pose that came as pictures tells nothing: then only empty masks are found.
        """
        return self.character_mask.coverage(progress) if isinstance(self.character_mask, CheckedMaskSource) else None

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.pose.width, self.pose.height

    @property
    def sources(self) -> dict[str, FrameSource]:
        """Those that are given, by name, the pose first."""
        named = {POSE: self.pose, FACE: self.face, BACKGROUND: self.background, MASK: self.character_mask}
        return {name: source for name, source in named.items() if source is not None}

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of the sources, by name. A clip in memory is read through for it."""
        return {name: source.fingerprint() for name, source in self.sources.items()}

    def check(self) -> None:
        """Raises InputError for kinds, sizes, lengths or (where known without reading) frames that cannot work."""
        for name, source in self.sources.items():
            _check_kind(name, source)
        width, height = self.size
        if width % 16 or height % 16:
            near = f"{max(16, round(width / 16) * 16)}x{max(16, round(height / 16) * 16)}"
            raise InputError(
                f"the pose video is {width}x{height}, but width and height must be divisible by 16: make it {near}."
            )
        for name, source in self.sources.items():
            self._check_against_pose(name, source)
        for name, source in self.sources.items():
            if source.is_finite() is False:
                raise InputError(
                    f"the {name} input holds values that are NaN or infinite: look at the node that made it, or "
                    "connect another."
                )
        self._check_black()

    def _check_against_pose(self, name: str, source: FrameSource) -> None:
        width, height = self.size
        if len(source) != len(self):
            raise InputError(
                f"the {name} video has {len(source)} frames and the pose video has {len(self)}: all must "
                "come from the same frames of the driving video, so give them the same start, limit and fps."
            )
        if name != FACE and (source.width, source.height) != (width, height):
            raise InputError(
                f"the {name} video is {source.width}x{source.height} and the pose video is {width}x{height}: "
                "bring them to the same size (Draw Pose takes a width and height; 0 keeps the driving video's)."
            )

    def _check_black(self) -> None:
        if self.character_mask is not None and self.character_mask.is_black():
            raise InputError(
                f"the character mask is black in all {len(self)} frames, so nobody would be put into the scene: "
                "look at the mask with Pose Report or Frames to Mask, and choose another person, point or segmenter, "
                "or invert it if black is the character."
            )
        if self.pose.is_black():
            log.warning(
                "the pose video is black in all %d frames: no body was found, so nothing of the motion is taken over; "
                "detect the pose of a part of the video that shows the person.",
                len(self),
            )


def _check_kind(name: str, source: FrameSource) -> None:
    wanted = "mask" if name == MASK else "image"
    if source.kind != wanted:
        remedy = "convert it with Frames to Mask" if wanted == "mask" else "connect frames or images"
        raise InputError(f"the {name} input holds {source.kind}s, but needs {wanted}s: {remedy}.")
