"""What a node shows below itself: pictures and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

if TYPE_CHECKING:
    import numpy as np
    import torch


def as_image(picture: np.ndarray) -> torch.Tensor:
    """A picture, uint8 ``[H, W, 3]``, as IMAGE."""
    import torch

    return torch.from_numpy(picture)[None].float() / 255


def preview(cls: type[io.ComfyNode], picture: np.ndarray) -> ui.PreviewImage:
    """A picture, uint8 ``[H, W, 3]``, below a node."""
    return ui.PreviewImage(as_image(picture), cls=cls)


def below(cls: type[io.ComfyNode], pictures: list[np.ndarray], lines: list[str]) -> dict | None:
    """Pictures ``[H, W, 3]`` uint8 of any sizes, and text, below a node; None without either."""
    out: dict = {}
    for picture in pictures:
        for name, values in preview(cls, picture).as_dict().items():
            out[name] = (*out.get(name, ()), *values)
    if lines:
        out |= ui.PreviewText("\n".join(lines)).as_dict()
    return out or None
