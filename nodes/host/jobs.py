"""Folders and keys of a job's segments on the host."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths

from ...wan_animate.chain.job_cleaning import Keeping, clean
from ...wan_animate.chain.job_list import COMFYUI, FORMER_COMFYUI
from ...wan_animate.files import make_folder
from ...wan_animate.json_text import parse_json
from ...wan_animate.log import get_logger
from ...wan_animate.plan.measured import Runs
from ...wan_animate.plan.room import free_at
from ...wan_animate.record.server import ANEW, ATTENTION
from ...wan_animate.text import parse_size, size_text
from ...wan_animate.video.audio import audio_digest
from ...wan_animate.weights.held import HeldFiles
from . import results
from .accelerate.attention import CHANGED, agree
from .graph import graph_signature, paths_above
from .loaded import hold_files, loaded_from
from .prompts import features_digest

log = get_logger(__name__)

FOLDER = "wan_animate_kit"
PROMPTS, FEATURES = ("positive", "negative"), "clip_vision_output"
LIMIT = "WAN_ANIMATE_JOBS_LIMIT"
"""Environment variable: what jobs may take, as ``100GB``; 0 for any."""


def jobs_folder() -> Path:
    """In the output folder, which outlives a restart."""
    return Path(folder_paths.get_output_directory()) / COMFYUI


def job_folder(key: str) -> Path:
    """Of a job, stopped or finished; one that an older version left under the same key is brought there."""
    folder, former = jobs_folder() / key, Path(folder_paths.get_output_directory()) / FORMER_COMFYUI / key
    if former.is_dir() and not folder.exists():
        with suppress(OSError):
            folder.parent.mkdir(parents=True, exist_ok=True)
            former.rename(folder)
            former.parent.rmdir()
    return folder


def keeping() -> Keeping:
    """What jobs may take: the environment's word, else that of ComfyUI's settings, else the defaults."""
    settings: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        file = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
        read = parse_json(file.read_text(encoding="utf-8"))
        settings = read if isinstance(read, dict) else {}
    limit = _number(settings.get("WanAnimateKit.Jobs.Limit"))
    days = _number(settings.get("WanAnimateKit.Jobs.FinishedDays")), _number(settings.get("WanAnimateKit.Jobs.Days"))
    chosen = Keeping()
    size = parse_size(os.environ.get(LIMIT, ""))
    most = size if size is not None else chosen.limit if limit is None else round(limit * 1e9)
    return Keeping(
        most or None,
        chosen.finished_days if days[0] is None else days[0],
        chosen.stopped_days if days[1] is None else days[1],
    )


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
    return float(value) if usable else None


def clean_jobs() -> None:
    """Removes jobs as :func:`keeping` says, and logs what was removed and what the rest takes."""
    keep = keeping()
    try:
        done = clean([folder_paths.get_output_directory()], keep, results.in_use, results.made_here)
    except OSError as error:  # it costs no clip
        log.warning("%s was not cleaned up: %s", jobs_folder(), error)
        return
    if done.removed:
        log.info("%s of finished or old jobs were removed in %s", size_text(done.freed), jobs_folder())
    stopped = sum(job.state == "stopped" for job in done.left)
    allowed = "" if keep.limit is None else f" of at most {size_text(keep.limit)}"
    log.info("%d jobs are kept (%d of them stopped): %s%s", len(done.left), stopped, size_text(done.size), allowed)
    older = [job for job in done.left if job.older and job.finished]
    if older:
        _tell_older(len(older), size_text(sum(job.size for job in older)), older[0].folder.parent, keep.stopped_days)


@lru_cache(maxsize=1)
def _tell_older(count: int, size: str, folder: Path, days: float) -> None:
    """Once."""
    log.warning(
        "%d stopped jobs of an older version (%s) in %s are begun anew when they are run, as their keys did not see "
        "every change of a model: delete them, or leave it to %g days.",
        count, size, folder, days,
    )  # fmt: skip


def runs() -> Runs:
    """What this server's jobs took."""
    return Runs(Path(folder_paths.get_user_directory()) / FOLDER / "runs.json")


def free_disk() -> int | None:
    """Free bytes for jobs; None where the system does not say."""
    return free_at(jobs_folder())


def stitched_path(fingerprint: str, audio: dict | None = None, tags: dict[str, str] | None = None) -> Path:
    """Where a stitched clip is written: in the temp folder, for Save Video to keep. Another for other frames, sound or
    tags. Raises InputError for what is no sound."""
    content = json.dumps([fingerprint, audio_digest(audio), tags])
    name = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
    folder = make_folder(Path(folder_paths.get_temp_directory()) / FOLDER / "stitched", "the stitched clip")
    return folder / f"{name}.mp4"


def run_mark(hidden: Any) -> str:
    """What a run with :data:`...wan_animate.record.server.ANEW` adds to its job's folder; else empty."""
    extra = getattr(hidden, "extra_pnginfo", None)
    mark = extra.get(ANEW) if isinstance(extra, dict) else None
    return f"-{mark}" if isinstance(mark, str) and re.fullmatch("[0-9a-f]{8,32}", mark) else ""


def agree_attention(hidden: Any) -> None:
    """Takes the attention that a prompt brings along (:data:`...wan_animate.record.server.ATTENTION`)."""
    extra = getattr(hidden, "extra_pnginfo", None)
    agree(extra.get(ATTENTION) if isinstance(extra, dict) else None)


def other_jobs() -> list[Path]:
    """Folders of jobs, finished or not, whose segments may be taken over."""
    return [folder for folder in jobs_folder().glob("*") if folder.is_dir()]


def job_words(hidden: Any, linked: Mapping[str, Any], sampling: str, prompts: Sequence[str] | None) -> tuple[str, str]:
    """What decides a clip's frames beside its job, and what of that all its segments share but their prompts.

    What was encoded counts as it is: ComfyUI keeps it, also after the encoder's file is replaced under its name. The
    graph above it counts where it holds what cannot be compared.

    Args:
        linked: as ``inputs`` of :func:`model_signature`.
        sampling: the sampler's settings.
        prompts: a word for each segment's (:meth:`.ports.HostDenoiser.set_clip`).
    """
    features = features_digest(linked[FEATURES])
    encoded = {*(() if prompts is None else PROMPTS), *(() if features is None else (FEATURES,))}
    signature = model_signature(hidden, {name: given for name, given in linked.items() if name not in encoded})
    shared = f"{signature} {sampling} {features}"
    return f"{shared} {json.dumps(prompts)}", shared


def hold_models(hidden: Any, inputs: Iterable[str]) -> HeldFiles:
    """The files that the inputs' weights come from; none in a call from Python."""
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return hold_files([])
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    return hold_files(path for name in inputs for path in paths_above(graph, str(hidden.unique_id), name))


def model_signature(hidden: Any, inputs: Mapping[str, Any]) -> str:
    """Equal for equal graph and files above the named inputs; random in a call from Python.

    Args:
        inputs: name -> what came in by it: files count as they were when a MODEL or VAE was loaded from them.

    Another than in older versions where the attention could be a kernel that is gone: such a job begins anew.
    """
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return secrets.token_hex(16)
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    return "/".join(
        graph_signature(graph, hidden.unique_id, name, CHANGED, loaded_from(given)) for name, given in inputs.items()
    )
