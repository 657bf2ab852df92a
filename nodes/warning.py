"""Warnings below a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

if TYPE_CHECKING:
    from ..wan_animate.pose.track import PoseTrack


def rarely_found(cls: type[io.ComfyNode], pose: PoseTrack, who: str) -> ui.PreviewImage | None:
    """A picture and a log line if the body was found in less than half of the frames."""
    import torch

    from ..wan_animate.pose.found import warn_if_rarely_found
    from ..wan_animate.preview.rarely_found import found_picture

    warning = warn_if_rarely_found(pose, who)
    if warning is None:
        return None
    return ui.PreviewImage(torch.from_numpy(found_picture(pose, warning))[None].float() / 255, cls=cls)
