"""All workflows by their short names."""

from __future__ import annotations

from demo.workflows import catalog, catalog_host
from demo.workflows.graph import Definitions, Workflow

MAKE: dict[str, catalog.Make] = {
    "animate": catalog.animate,
    "replace": catalog.replace,
    "replace_crop": catalog.replace_crop,
    "talking_head": catalog.talking_head,
    "long_clip": catalog.long_clip,
    "low_vram": catalog.low_vram,
    "four_steps": catalog.four_steps,
    "edited_pose": catalog_host.edited_pose,
    "host_pose": catalog_host.host_pose,
    "saved_pose": catalog_host.saved_pose,
    "more_frames": catalog_host.more_frames,
}


def make(definitions: Definitions) -> dict[str, Workflow]:
    """Every workflow, by ComfyUI's node definitions."""
    return {name: build(definitions) for name, build in MAKE.items()}
