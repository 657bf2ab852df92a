"""Where a job's finished segments lie on the host."""

from __future__ import annotations

import secrets
from pathlib import Path

import folder_paths

from .graph import graph_signature

FOLDER = "wan_animate_kit"


def unfinished_folder(key: str) -> Path:
    """In the output folder, since it must outlive a restart of the host."""
    return Path(folder_paths.get_output_directory()) / FOLDER / "unfinished" / key


def finished_folder(key: str) -> Path:
    """In the temp folder, which the host empties when it starts: the clip itself is what Save Video keeps."""
    return Path(folder_paths.get_temp_directory()) / FOLDER / key


def model_signature(hidden, names: list[str]) -> str:
    """What stands behind the named inputs of the running node, for the job's key: same graph, same files, same string.

    Without a prompt (a call from Python) there is nothing to know two jobs by, so no two are the same.
    """
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return secrets.token_hex(16)
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    return "/".join(graph_signature(graph, hidden.unique_id, name) for name in names)
