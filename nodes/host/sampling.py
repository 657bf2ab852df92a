"""Sampler choices, and progress with live previews."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ...wan_animate.log import get_logger
from .progress import Teller

if TYPE_CHECKING:
    import numpy as np

    from ...wan_animate.chain.clock import RunClock
    from ...wan_animate.chain.generate import Progress
    from ...wan_animate.chain.timeline import Timeline

log = get_logger(__name__)


def sampler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    import comfy.samplers

    return list(comfy.samplers.KSampler.SCHEDULERS)


class SamplingProgress:
    """A progress callback: a bar over segments x steps with previews, and what is done, running and left on the node.

    Previews are the middle frame while sampling (where the host shows previews), and frames of every finished segment.
    Raises on Cancel.

    Args:
        clock, timeline: follow the job.

    Attributes:
        ends: first and last frame of finished segments (:func:`...wan_animate.preview.finished.segment_ends`).
        warnings: sentences on the inputs, as far as they were read, which the node shows while it runs.
    """

    def __init__(self, model: Any, clock: RunClock, timeline: Timeline | None = None) -> None:
        import latent_preview

        self.bar: Any = None
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        self.clock, self.timeline, self.tell = clock, timeline, Teller()
        self.ends: dict[int, np.ndarray] = {}
        self.warnings: Callable[[], list[str]] = list
        self._warned: list[str] | None = None

    def check(self) -> None:
        """Raises ``InterruptProcessingException`` on Cancel."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()

    def begin(self, ends: Iterable[tuple[int, np.ndarray]]) -> None:
        """Say what a job begins with: its plan, and the ``ends`` of segments that are there."""
        if self.timeline is None:
            return
        self.tell.send({"text": self._begun(), "plan": self.timeline.plan(), "state": self.timeline.state()})
        for segment, picture in ends:
            self._show_ends(segment, picture)

    def _begun(self) -> str:
        assert self.timeline is not None
        resumed, count = self.timeline.resumed, len(self.timeline.plan()["first"])
        return f"goes on: {resumed} of {count} segments are there" if resumed else "begins"

    def __call__(self, progress: Progress) -> None:
        import comfy.utils

        self.check()
        self.clock(progress)
        self._warn()
        if self.timeline is not None:
            self.timeline(progress)
            phase = f"{progress.segment} {progress.stage}"
            self.tell(self.clock.text(left=False), phase, left=self.clock.seconds_left, state=self.timeline.state())
        if progress.frames is not None:
            self._keep_ends(progress)
        if self.bar is None:
            self.bar = comfy.utils.ProgressBar(progress.total)
        done = progress.total - self.clock.steps_left
        preview = self._preview(progress)
        if preview is not None and self.tell.draws:
            if url := _shown(preview[1]):
                self.tell.show(url)
            preview = None
        self.bar.update_absolute(done, progress.total, preview)

    def _warn(self) -> None:
        said = self.warnings()
        if said != self._warned:
            self._warned = said
            self.tell.send({"warnings": said})

    def finish(self) -> None:
        """Everything is made and shown."""
        if self.bar is not None:
            self.bar.update_absolute(self.bar.total, self.bar.total)

    def _keep_ends(self, progress: Progress) -> None:
        from ...wan_animate.preview.finished import segment_ends

        assert progress.frames is not None
        if self.timeline is not None:
            first, last = progress.frames[0].numpy(), progress.frames[-1].numpy()
            self._show_ends(progress.segment, segment_ends(first, last))

    def _show_ends(self, segment: int, picture: np.ndarray) -> None:
        self.ends[segment] = picture
        if url := _shown(picture):
            self.tell.send({f"ends_{segment}": url})

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


def _shown(picture: Any) -> str | None:
    """:func:`as_data_url`; a picture that cannot be shown costs no clip."""
    try:
        return as_data_url(picture)
    except OSError as error:
        log.warning("a picture is not shown: %s", error)
        return None


def as_data_url(picture: Any, largest: int = 512) -> str:
    """A picture, uint8 ``[H, W, 3]`` RGB or of PIL, at most ``largest`` pixels a side, as a JPEG in a URL."""
    from PIL import Image

    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.thumbnail((largest, largest))
    held = io.BytesIO()
    image.convert("RGB").save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
