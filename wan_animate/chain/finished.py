"""What stands for the model where every segment is finished, so that none is loaded."""

from __future__ import annotations

from typing import NoReturn

import torch

from ..errors import InputError


class Finished:
    """A denoiser and a video VAE (:mod:`.ports`) that are not asked to make anything.

    Args:
        steps: of the denoiser that made the segments.
    """

    face_size, face_dtype = 0, torch.float32

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def denoise(self, *_: object) -> NoReturn:
        raise InputError("a finished segment was changed meanwhile: run the same command again, it makes it anew.")

    encode = decode = denoise
