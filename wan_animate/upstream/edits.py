"""Pictures edited by FLUX.1 Kontext so that they show bones in full length, as upstream's ``--use_flux``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files import replacing
from ..video.resample import letterbox

GUIDANCE, STEPS = 2.5, 28
"""Upstream's (``process_pipepline.py``)."""


def edit_with_flux(
    model: str | os.PathLike,
    pictures: Mapping[str, tuple[np.ndarray, str]],
    folder: str | os.PathLike,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Edits pictures one after the other and saves each as ``<name>.png``; returns the paths by name.

    Args:
        model: FLUX.1-Kontext-dev in diffusers' layout.
        pictures: (uint8 ``[H, W, 3]`` RGB, prompt) by name.
        folder: where they are saved.

    Raises:
        InputError: no model there, or no diffusers.
    """
    if not (Path(model) / "model_index.json").is_file():
        raise InputError(
            f"--use_flux needs FLUX.1-Kontext-dev in diffusers' layout, and {model} has no model_index.json: download "
            "black-forest-labs/FLUX.1-Kontext-dev there, or give pictures edited elsewhere (--refer_edit, --tpl_edit)."
        )
    try:
        from diffusers import FluxKontextPipeline
    except ImportError as error:
        raise InputError("--use_flux needs diffusers: pip install diffusers, or leave it out.") from error
    from PIL import Image

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    pipeline = FluxKontextPipeline.from_pretrained(
        str(Path(model).absolute()), torch_dtype=dtype, local_files_only=True
    ).to(device)
    saved = {}
    for number, (name, (pixels, prompt)) in enumerate(pictures.items(), 1):
        height, width = (side // 16 * 16 for side in pixels.shape[:2])
        edited = pipeline(
            image=Image.fromarray(pixels), prompt=prompt, height=height, width=width, guidance_scale=GUIDANCE,
            num_inference_steps=STEPS, generator=torch.Generator().manual_seed(0),
        ).images[0]  # fmt: skip
        # FLUX chooses a size of about a million pixels
        edited = Image.fromarray(letterbox(np.asarray(edited.convert("RGB")), pixels.shape[1], pixels.shape[0]))
        saved[name] = str(Path(folder) / f"{name}.png")
        with replacing(saved[name], "the edited picture") as temporary:
            edited.save(temporary, format="PNG")
        if progress is not None:
            progress(number, len(pictures))
    return saved
