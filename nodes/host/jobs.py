"""Folders and keys of a job's segments on the host."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths

from ...wan_animate.chain.segments import SegmentPlan
from ...wan_animate.chain.store import SegmentStore
from ...wan_animate.files import make_folder
from ...wan_animate.plan.measured import Runs
from ...wan_animate.record.server import ANEW
from ...wan_animate.video.audio import audio_digest
from .accelerate.attention import CHANGED
from .graph import graph_signature

FOLDER = "wan_animate_kit"


def unfinished_folder(key: str) -> Path:
    """In the output folder, which outlives a restart."""
    return Path(folder_paths.get_output_directory()) / FOLDER / "unfinished" / key


def finished_folder(key: str) -> Path:
    """In the temp folder, which ComfyUI empties when it starts."""
    return Path(folder_paths.get_temp_directory()) / FOLDER / key


def runs() -> Runs:
    """What this server's jobs took."""
    return Runs(Path(folder_paths.get_user_directory()) / FOLDER / "runs.json")


def free_disk() -> int | None:
    """Free bytes for unfinished jobs; None where the system does not say."""
    with suppress(OSError):
        return shutil.disk_usage(folder_paths.get_output_directory()).free
    return None


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


def other_jobs() -> list[Path]:
    """Folders of jobs, finished or not, whose segments may be taken over."""
    parents = unfinished_folder("-").parent, finished_folder("-").parent
    return [folder for parent in parents if parent.is_dir() for folder in parent.iterdir() if folder.is_dir()]


def finished_meanwhile(store: SegmentStore, key: str, plan: SegmentPlan) -> SegmentStore:
    """``store``, or the finished job's if another process made it meanwhile."""
    if store.waited and finished_folder(key).is_dir():
        found = SegmentStore(finished_folder(key))
        if found.finished(plan) == len(plan):
            return found
    return store


def model_signature(hidden: Any, names: list[str]) -> str:
    """Equal for equal graph and files above the named inputs; random in a call from Python.

    Another than in older versions where the attention could be a kernel that is gone: such a job begins anew.
    """
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return secrets.token_hex(16)
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    return "/".join(graph_signature(graph, hidden.unique_id, name, CHANGED) for name in names)
