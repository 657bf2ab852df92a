"""What Animate Character shows below itself when its clip is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..wan_animate.log import get_logger
from .below import below, preview
from .warning import uncovered_picture

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np

    from ..wan_animate.chain.job import AnimateJob
    from ..wan_animate.chain.segments import Segment, SegmentPlan
    from ..wan_animate.chain.store import SegmentStore
    from ..wan_animate.video.frames import FrameSource
    from .host.sampling import SamplingProgress

log = get_logger(__name__)

MOST_ENDS = 200  # segments whose first and last frame are shown


def finished_report(
    cls: type[io.ComfyNode],
    store: SegmentStore,
    shown: SegmentPlan,
    job: AnimateJob,
    clip: FrameSource,
    boundaries: np.ndarray | None,
    progress: SamplingProgress,
    video: str,
) -> dict | None:
    """Pictures and text: the colours of the segments, the boundaries, frames in which the old person may show; and for
    the frontend the segments and the clip.

    Args:
        shown: the segments in ``clip``.
        boundaries: of :func:`boundary_picture`.
        progress: of the job.
        video: the clip's name in the job's folder.

    Returns:
        For ``io.NodeOutput``; None without any, or where they cannot be made: the clip is whole without them.
    """
    from ..wan_animate.errors import InputError

    try:
        return _report(cls, store, shown, job, clip, boundaries, progress, video)
    except (InputError, OSError) as error:
        log.warning("Animate Character: what is known of the finished clip is not shown: %s", error)
        return None


def boundary_picture(clip: FrameSource, shown: SegmentPlan, check: Callable[[], None]) -> np.ndarray | None:
    """The frames around the boundaries; None without any, or where it cannot be made.

    Args:
        check: called meanwhile; may raise the host's interrupt.
    """
    from ..wan_animate.preview.finished import boundary_strip

    try:
        return boundary_strip(clip, [segment.first - shown.first for segment in shown.segments[1:]], check=check)
    except Exception as error:  # the mp4 is not whole yet, and a picture of it must not cost it
        log.warning("Animate Character: the picture of the boundaries is not shown: %s", error)
        return None


def _report(
    cls: type[io.ComfyNode],
    store: SegmentStore,
    shown: SegmentPlan,
    job: AnimateJob,
    clip: FrameSource,
    boundaries: np.ndarray | None,
    progress: SamplingProgress,
    video: str,
) -> dict | None:
    from ..wan_animate.chain.boundaries import boundary_report
    from ..wan_animate.preview.color_report import ColorReport, draw_color_report
    from .host.accelerate.attention import unmatched, winners

    pictures: list[np.ndarray | None] = []
    lines: list[str] = []
    warnings: list[str] = []
    colors = ColorReport.of(store.records(len(job.plan())))
    if colors is not None:
        pictures.append(draw_color_report(colors))
        lines.append(colors.text())
        log.info("Animate Character: %s", colors.text())
    lines.append(boundary_report(store.boundaries() or []))
    pictures.append(boundaries)
    mask = job.controls.checked_mask
    if mask is not None:
        coverage = mask.coverage(lambda *_: progress.check())
        whole = len(clip) == len(job.controls)
        pictures.append(uncovered_picture(coverage, mask, clip if whole else None, "animate character"))
        warnings = coverage.warnings
    return below(
        cls, [picture for picture in pictures if picture is not None], list(filter(None, lines)) + warnings, warnings,
        clip=_clip(store, shown, job, video), timeline=_timeline(cls, progress), attention=winners(),
        unmatched_attention=unmatched(),
    )  # fmt: skip


def _clip(store: SegmentStore, shown: SegmentPlan, job: AnimateJob, video: str) -> dict[str, Any] | None:
    """Where the browser finds the clip, and which of the driver's frames it shows; None where it does not."""
    from .host.folders import served_file

    file = served_file(store.folder / video)
    return file and {"file": file, "first": shown.first, "frames": shown.keep, "fps": float(job.fps)}


def _timeline(cls: type[io.ComfyNode], progress: SamplingProgress) -> dict[str, Any] | None:
    """The segments, and a picture of their first and last frames below each other, in the order of ``of``."""
    import numpy as np

    if progress.timeline is None:
        return None
    known = {**progress.timeline.plan(), "state": progress.timeline.state()}
    of = sorted(progress.ends)[:MOST_ENDS]
    if of:
        strip = preview(cls, np.concatenate([progress.ends[index] for index in of])).values[0]
        known["ends"] = {"file": strip, "of": of}
    return known


def stored_ends(store: SegmentStore, segments: Sequence[Segment], fps: Fraction) -> Iterator[tuple[int, np.ndarray]]:
    """First and last frame of finished segments (:func:`..wan_animate.preview.finished.segment_ends`), of those that
    can be read."""
    from ..wan_animate.errors import InputError
    from ..wan_animate.preview.finished import segment_ends

    for segment in segments[:MOST_ENDS]:
        try:
            clip = store.clip([segment], fps)
            yield segment.index, segment_ends(clip.read(0, 1)[0], clip.read(len(clip) - 1, len(clip))[0])
            clip.close()
        except (InputError, OSError):  # made again, or read when it is needed
            continue
