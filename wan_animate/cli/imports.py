"""Packages that the shell's job imports where it uses them."""

from __future__ import annotations

from .options import RunOptions


def import_packages(options: RunOptions) -> None:
    """What is imported where it is used, before anything is written. One that is missing is said there."""
    from contextlib import suppress

    with suppress(ImportError):
        import cv2  # noqa: F401
    if options.detector:
        with suppress(ImportError):
            import onnxruntime  # noqa: F401
    if options.sam2:
        with suppress(ImportError):
            from transformers import Sam2VideoModel  # noqa: F401
    with suppress(ImportError):
        from diffusers import (  # noqa: F401
            AutoencoderKLWan,
            UniPCMultistepScheduler,
            WanAnimateTransformer3DModel,
        )
    with suppress(ImportError):
        from transformers import (  # noqa: F401
            AutoImageProcessor,
            AutoTokenizer,
            CLIPVisionModel,
            UMT5EncoderModel,
        )
