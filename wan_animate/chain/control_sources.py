"""The control videos of a clip: pose, face, background and character mask."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..errors import InputError
from ..log import get_logger
from ..mask.coverage import CheckedMaskSource
from ..pose.draw import DrawnPoseSource
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
            single frame is repeated.
    """

    pose: FrameSource
    face: FrameSource | None = None
    background: FrameSource | None = None
    character_mask: FrameSource | None = None

    def __post_init__(self) -> None:
        if self.background is not None:
            self.background = lasting(self.background, self.pose)
        if self.character_mask is not None:
            self.character_mask = lasting(self.character_mask, self.pose)

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result."""
        return self.pose.width, self.pose.height

    @functools.cached_property
    def checked_mask(self) -> CheckedMaskSource | None:
        """The character mask, checked against the pose as it is read. A pose that came as pictures tells only whether a
        mask is empty."""
        mask, pose = self.character_mask, self.pose
        if mask is None or mask.kind != "mask":
            return None
        alike = (len(mask), mask.width, mask.height) == (len(pose), pose.width, pose.height)
        return CheckedMaskSource(mask, pose.shown if isinstance(pose, DrawnPoseSource) and alike else None)

    @property
    def sources(self) -> dict[str, FrameSource]:
        """Those that are given, by name, the pose first."""
        named = {POSE: self.pose, FACE: self.face, BACKGROUND: self.background, MASK: self.character_mask}
        return {name: source for name, source in named.items() if source is not None}

    @property
    def checked_sources(self) -> dict[str, FrameSource]:
        """:attr:`sources` with the mask checked as it is read."""
        return self.sources if self.checked_mask is None else {**self.sources, MASK: self.checked_mask}

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
                f"the pose video is {width}x{height}, but width and height must be divisible by 16: draw it at {near} "
                "(Draw Pose takes a width and height), or connect a pose track, which is drawn at a size that fits."
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
