"""What Animate Character shows below itself when its clip is finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..wan_animate.log import get_logger
from .below import below
from .warning import uncovered_picture

if TYPE_CHECKING:
    import numpy as np

    from ..wan_animate.chain.job import AnimateJob
    from ..wan_animate.chain.segments import SegmentPlan
    from ..wan_animate.chain.store import SegmentStore
    from ..wan_animate.video.frames import FrameSource

log = get_logger(__name__)


def finished_report(
    cls: type[io.ComfyNode],
    store: SegmentStore,
    shown: SegmentPlan,
    job: AnimateJob,
    clip: FrameSource,
    check: Callable[[], None],
) -> dict | None:
    """Pictures and text: the colours of the segments, the boundaries, frames in which the old person may show.

    Args:
        shown: the segments in ``clip``.
        check: called meanwhile; may raise to stop.

    Returns:
        For ``io.NodeOutput``; None without any, or where they cannot be made: the clip is whole without them.
    """
    from ..wan_animate.errors import InputError

    try:
        return _report(cls, store, shown, job, clip, check)
    except (InputError, OSError) as error:
        log.warning("Animate Character: what is known of the finished clip is not shown: %s", error)
        return None


def _report(
    cls: type[io.ComfyNode],
    store: SegmentStore,
    shown: SegmentPlan,
    job: AnimateJob,
    clip: FrameSource,
    check: Callable[[], None],
) -> dict | None:
    from ..wan_animate.chain.boundaries import boundary_report
    from ..wan_animate.preview.color_report import ColorReport, draw_color_report
    from ..wan_animate.preview.finished import boundary_strip

    pictures: list[np.ndarray | None] = []
    lines = []
    colors = ColorReport.of(store.records(len(job.plan())))
    if colors is not None:
        pictures.append(draw_color_report(colors))
        lines.append(colors.text())
        log.info("Animate Character: %s", colors.text())
    lines.append(boundary_report(store.boundaries() or []))
    pictures.append(boundary_strip(clip, [segment.first - shown.first for segment in shown.segments[1:]]))
    mask = job.controls.checked_mask
    if mask is not None:
        coverage = mask.coverage(lambda *_: check())
        whole = len(clip) == len(job.controls)
        pictures.append(uncovered_picture(coverage, mask, clip if whole else None, "animate character"))
        lines += coverage.warnings
    return below(cls, [picture for picture in pictures if picture is not None], list(filter(None, lines)))
