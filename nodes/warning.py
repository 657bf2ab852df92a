"""Warnings below a node."""

from __future__ import annotations

from comfy_api.latest import ui


def rarely_found(cls, pose, who: str) -> ui.PreviewImage | None:
    """A picture, and a line in the log, if the body was found in less than half of the frames."""
    import torch

    from ..wan_animate.pose.found import warn_if_rarely_found
    from ..wan_animate.preview.rarely_found import found_picture

    words = warn_if_rarely_found(pose, who)
    if words is None:
        return None
    return ui.PreviewImage(torch.from_numpy(found_picture(pose, words))[None].float() / 255, cls=cls)
