"""Sampler choices, and progress with live previews."""

from __future__ import annotations

from typing import Any

from ...wan_animate.chain.generate import Progress


def sampler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)


class SamplingProgress:
    """A bar over segments x steps, with the middle frame as preview. Raises on Cancel."""

    def __init__(self, model: Any) -> None:
        import latent_preview

        self.bar: Any = None
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def check(self) -> None:
        """Raises ``InterruptProcessingException`` on Cancel."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()

    def __call__(self, progress: Progress) -> None:
        import comfy.utils

        self.check()
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(progress.total)
        preview = None
        if self.previewer is not None and progress.latent is not None:
            # The previewer shows the first latent frame, here the reference: it gets the middle of the clip.
            middle = 1 + (progress.latent.shape[2] - 1) // 2
            preview = self.previewer.decode_latent_to_preview_image("JPEG", progress.latent[:, :, middle : middle + 1])
        self.bar.update_absolute(progress.done, progress.total, preview)
