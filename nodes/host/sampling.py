"""Sampler choices, and progress with live previews."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...wan_animate.chain.clock import RunClock
    from ...wan_animate.chain.generate import Progress

TEXT_SECONDS = 0.5  # between two texts of one stage


def sampler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)


class SamplingProgress:
    """A progress callback: a bar over segments x steps with previews, and what is left as the node's text.

    Previews are the middle frame while sampling (where the host shows previews), and frames of every finished segment.
    Raises on Cancel.

    Args:
        clock: follows the job.
        node_id: whose text it is; None shows none.
    """

    def __init__(self, model: Any, clock: RunClock, node_id: str | None = None) -> None:
        import latent_preview

        self.bar: Any = None
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self.clock, self.node_id = clock, node_id
        self._told = ("", -1.0)  # stage, when

    def check(self) -> None:
        """Raises ``InterruptProcessingException`` on Cancel."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()

    def __call__(self, progress: Progress) -> None:
        import comfy.utils

        self.check()
        self.clock(progress)
        now = time.monotonic()
        if progress.stage != self._told[0] or now - self._told[1] >= TEXT_SECONDS:
            self._told = progress.stage, now
            show_text(self.clock.text(), self.node_id)
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(progress.total)
        self.bar.update_absolute(progress.done, progress.total, self._preview(progress))

    def _preview(self, progress: Progress) -> tuple[str, Any, int | None] | None:
        if progress.frames is not None:
            from PIL import Image

            from ...wan_animate.preview.finished import segment_picture

            return "JPEG", Image.fromarray(segment_picture(progress.frames.numpy())), None
        if self.previewer is None or progress.latent is None:
            return None
        # The previewer shows the first latent frame, here a reference: it gets the middle of the clip.
        first = progress.reference_latents
        middle = first + (progress.latent.shape[2] - first) // 2
        return self.previewer.decode_latent_to_preview_image("JPEG", progress.latent[:, :, middle : middle + 1])


def show_text(text: str, node_id: str | None) -> None:
    """Show text on a node, as the host's own nodes do; in a call from Python, without a server, nowhere."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)
