"""Whether a job's disk has room for it, before anything is sampled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..chain.job import AnimateJob
from ..chain.job_folder import JobFolder
from ..chain.segments import Segment
from ..errors import InputError
from ..text import size_text
from .costs import Disk, disk, tokens
from .measured import Runs, TimedModel
from .sample import lossless_size


def disk_needed(
    job: AnimateJob,
    store: JobFolder,
    device: str,
    runs: Runs,
    shown: tuple[int, int] | None = None,
    model: TimedModel = TimedModel(),  # noqa: B008  frozen
) -> Disk:
    """What is still to be written of a job: its segments that are not finished, and the mp4 of all.

    A pixel takes what it took in this job's finished segments, else in a run of the same mode, else in the character's
    picture (animate) or the driver's frames (replace).

    Args:
        shown: size of the mp4, where it is another than the segments'.
        model: of which runs tell.
    """
    plan, size = job.wanted(), job.controls.size
    finished = [segment for segment in plan if store.is_whole(segment)]
    left = [segment for segment in plan if segment not in finished]
    count = tokens(size, plan.segments[0].latent_frames, job.reference_latents)
    run = runs.nearest(device, job.mode, size, count, model)
    same = run if run is not None and run.mode == job.mode and run.lossless else None
    lossless = _measured(store, finished, size)
    if lossless is None and same is not None:
        lossless = same.lossless
    if lossless is None:
        background = job.controls.background
        lossless = lossless_size(job.reference if background is None else background, size)
    video = same.video or None if same is not None else None
    handing = sum(segment.hands_over for segment in left)
    writes = disk(size, sum(segment.keep for segment in left), handing, job.previous_frames, lossless, video)
    whole = disk(size, plan.keep, 0, 0, lossless, video, shown)
    return Disk(writes.segments, writes.tails, whole.video)


def check_room(need: Disk, folder: str | os.PathLike) -> None:
    """Raises InputError where less is free on the folder's disk than a job still writes."""
    free = free_at(folder)
    if free is None or need.total <= free:
        return
    parts = f"segments {size_text(need.segments + need.tails)}, mp4 {size_text(need.video)}"
    raise InputError(
        f"the clip still needs about {size_text(need.total)} of disk ({parts}), but {size_text(free)} are free at "
        f"{folder}: free space there (wan-animate jobs lists what jobs take), shorten the clip, or take another folder "
        "for it."
    )


def free_at(path: str | os.PathLike) -> int | None:
    """Free bytes on the disk of a file or folder that need not exist; None where the system does not say."""
    path = Path(path).absolute()
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    with suppress(OSError):
        return shutil.disk_usage(path).free
    return None


def _measured(store: JobFolder, finished: Sequence[Segment], size: tuple[int, int]) -> float | None:
    """Bytes a pixel of finished segments."""
    pixels = size[0] * size[1] * sum(segment.keep for segment in finished)
    with suppress(OSError):
        return sum(store.frames_path(segment.index).stat().st_size for segment in finished) / pixels if pixels else None
    return None
