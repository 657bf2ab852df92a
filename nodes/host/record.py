"""The record of a clip that a node makes."""

from __future__ import annotations

import json
from typing import Any

import comfyui_version
from comfy.cli_args import args

from ...wan_animate.chain.job import AnimateJob
from ...wan_animate.record.clip_record import ClipRecord, Model, record_of
from ...wan_animate.record.versions import versions
from .graph import files_above
from .ports import HostDenoiser

HOST = "ComfyUI"


def node_record(
    job: AnimateJob, denoiser: HostDenoiser, hidden: Any, names: list[str], device: str
) -> ClipRecord | None:
    """The record of a job; None where the server was started with ``--disable-metadata``.

    Args:
        hidden: the node's hidden inputs; in a call from Python, where the graph is not known, it names no models.
        names: the inputs that weights come in by.
        device: the card's name.
    """
    if args.disable_metadata:
        return None
    models: list[Model] = []
    if hidden is not None and hidden.prompt and hidden.unique_id is not None:
        graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
        models = [
            Model(name, file, key) for name in names for file, key in files_above(graph, str(hidden.unique_id), name)
        ]
    sampling = ("steps", "cfg", "sampler_name", "scheduler", "shift")
    return record_of(
        job,
        HOST,
        {name: getattr(denoiser, name) for name in sampling},
        models=tuple(models),
        versions=versions(comfyui=comfyui_version.__version__),
        device=device,
    )


def workflow_tags(hidden: Any) -> dict[str, str]:
    """The workflow as the host's Save Video writes it into a file; empty where the server was started with
    ``--disable-metadata``, or in a call from Python."""
    if args.disable_metadata or hidden is None:
        return {}
    found = dict(hidden.extra_pnginfo) if isinstance(hidden.extra_pnginfo, dict) else {}
    if hidden.prompt is not None:
        found["prompt"] = hidden.prompt
    return {name: json.dumps(value) for name, value in found.items()}
