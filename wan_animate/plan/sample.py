"""What a clip's pictures will take on disk, from pictures like them."""

from __future__ import annotations

import numpy as np
import torch

from ..chain.segment_files import bytes_a_pixel
from ..video.frames import FrameSource, as_uint8
from ..video.resample import letterbox

FRAMES = 3


def lossless_size(like: torch.Tensor | FrameSource, size: tuple[int, int]) -> float:
    """Bytes a pixel of lossless frames of this size that look like a picture, ``[H, W, 3]`` in 0..1 (animate: the
    character's scene), or like a clip (replace: the driver's)."""
    if isinstance(like, torch.Tensor):
        pictures = [like.float().cpu().numpy()]
    else:
        at = np.linspace(0, len(like) - 1, min(FRAMES, len(like))).round().astype(int)
        pictures = [like.read(frame, frame + 1)[0] for frame in at.tolist()]
    shown = [picture if picture.shape[1::-1] == size else letterbox(picture, *size) for picture in pictures]
    return bytes_a_pixel([as_uint8(picture) for picture in shown])
