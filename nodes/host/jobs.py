"""Where a job's segments lie on the host, and what a job is known by."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sized
from pathlib import Path
from typing import Any

import folder_paths

from ...wan_animate.chain.store import SegmentStore
from ...wan_animate.files import make_folder
from .graph import graph_signature

FOLDER = "wan_animate_kit"


def unfinished_folder(key: str) -> Path:
    """In the output folder, which outlives a restart."""
    return Path(folder_paths.get_output_directory()) / FOLDER / "unfinished" / key


def finished_folder(key: str) -> Path:
    """In the temp folder, which ComfyUI empties when it starts: Save Video keeps the clip."""
    return Path(folder_paths.get_temp_directory()) / FOLDER / key


def stitched_path(fingerprint: str) -> Path:
    """Where a stitched clip is written: in the temp folder, for Save Video to keep."""
    name = hashlib.blake2b(fingerprint.encode(), digest_size=12).hexdigest()
    folder = make_folder(Path(folder_paths.get_temp_directory()) / FOLDER / "stitched", "the stitched clip")
    return folder / f"{name}.mp4"


def finished_meanwhile(store: SegmentStore, key: str, plan: Sized) -> SegmentStore:
    """``store``, or the store of the finished job if another process made it while ``store`` waited."""
    if store.waited and finished_folder(key).is_dir():
        found = SegmentStore(finished_folder(key))
        if found.finished(len(plan)) == len(plan):
            return found
    return store


def model_signature(hidden: Any, names: list[str]) -> str:
    """The same string for the same graph and files above the named inputs; random in a call from Python."""
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return secrets.token_hex(16)
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    return "/".join(graph_signature(graph, hidden.unique_id, name) for name in names)
