"""What a node shows of a pose or of masks, with its warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from .below import Shown, preview

if TYPE_CHECKING:
    import numpy as np

    from ..wan_animate.mask.coverage import CheckedMaskSource, Coverage
    from ..wan_animate.pose.track import PoseTrack
    from ..wan_animate.video.frames import FrameSource


def rarely_found(
    cls: type[io.ComfyNode],
    pose: PoseTrack,
    who: str,
    clip: FrameSource | None = None,
    frames: FrameSource | None = None,
) -> Shown | None:
    """Moments of ``clip``, over ``frames``; or a picture, a sentence and a log line if the body was found in less than
    half of the frames. None without either."""
    from ..wan_animate.pose.found import warn_if_rarely_found
    from ..wan_animate.preview.moments import moments_picture
    from ..wan_animate.preview.rarely_found import found_picture

    warning = warn_if_rarely_found(pose, who)
    if warning is not None:
        return preview(cls, found_picture(pose, warning), [warning])
    return None if clip is None else preview(cls, moments_picture(clip, frames))


def uncovered(
    cls: type[io.ComfyNode], coverage: Coverage, masks: CheckedMaskSource, frames: FrameSource | None, who: str
) -> Shown | None:
    """A picture, sentences, and lines in the log, if the masks do not hold the person in every frame."""
    picture = uncovered_picture(coverage, masks, frames, who)
    return None if picture is None else preview(cls, picture, coverage.warnings)


def uncovered_picture(
    coverage: Coverage, masks: CheckedMaskSource, frames: FrameSource | None, who: str
) -> np.ndarray | None:
    """The picture of :func:`uncovered`, uint8 ``[H, W, 3]``."""
    from ..wan_animate.mask.coverage import warn_of_uncovered
    from ..wan_animate.preview.coverage import coverage_picture

    warn_of_uncovered(coverage, who)
    return coverage_picture(coverage, masks, frames)
