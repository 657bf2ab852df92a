"""A digest of the graph above a node, stable across restarts."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import folder_paths
from comfy_execution.graph_utils import is_link

from ...wan_animate.errors import InputError
from ...wan_animate.record.identity import weights_hash
from ...wan_animate.weights.header import shard_paths
from .loaded import Loaded, file_identity

OWN, OWN_LOADER = "WanAnimateKit", "WanAnimateKitLoadModel"
_NONE: Mapping[str, str] = MappingProxyType({})


def graph_signature(
    prompt: Any,
    node_id: str,
    input_name: str | None = None,
    changed: Mapping[str, str] = _NONE,
    loaded: Loaded | None = None,
) -> str:
    """32 hex digits over classes, values and named files above a node; ids, titles and order do not matter.

    Args:
        prompt: in API format, or the host's ``DynamicPrompt``.
        input_name: only what is linked to this input.
        changed: values that meant something else in older versions, and what they mean now: the digest holds both.
        loaded: what the input's model came from: of files that ComfyUI loads and keeps, the content then counts, not
            what is there now. This pack's nodes look again in each run.
    """
    get_node = prompt.get_node if hasattr(prompt, "get_node") else prompt.__getitem__
    digests: dict[str, str] = {}

    def identity(path: str, kind: str) -> str:
        looks_again = kind.startswith(OWN) and kind != OWN_LOADER
        return file_identity(path) if loaded is None or looks_again else loaded.identity(path)

    def value_of(value: Any, kind: str) -> Any:
        if is_link(value):
            return ["link", node_digest(value[0]), value[1]]
        if isinstance(value, str):
            now = [changed[value]] if value in changed else []
            return [value, *now, *(identity(path, kind) for path in _files_named(value))]
        return value

    def node_digest(node: str) -> str:
        if node not in digests:
            entry = get_node(node)
            digests[node] = _digest(
                [
                    entry["class_type"],
                    {name: value_of(value, entry["class_type"]) for name, value in entry["inputs"].items()},
                ]
            )
        return digests[node]

    if input_name is None:
        return node_digest(node_id)
    entry = get_node(node_id)
    return _digest(value_of(entry["inputs"].get(input_name), entry["class_type"]))


def is_installed(node: str) -> bool:
    """Whether the host has a node of this class, of any pack."""
    return node in importlib.import_module("nodes").NODE_CLASS_MAPPINGS


def files_above(prompt: Any, node_id: str, input_name: str) -> list[tuple[str, str]]:
    """(base name, :func:`weights_hash`) of :func:`paths_above`; those that cannot be read are left out."""
    found = []
    for path in paths_above(prompt, node_id, input_name):
        with suppress(OSError):
            found.append((os.path.basename(path), weights_hash(path)))
    return sorted(found)


def paths_above(prompt: Any, node_id: str, input_name: str) -> set[str]:
    """The files in the host's model folders that nodes above an input name."""
    get_node = prompt.get_node if hasattr(prompt, "get_node") else prompt.__getitem__
    paths: set[str] = set()
    pending, seen = [get_node(node_id)["inputs"].get(input_name)], set()
    while pending:
        value = pending.pop()
        if is_link(value) and value[0] not in seen:
            seen.add(value[0])
            pending += get_node(value[0])["inputs"].values()
        elif isinstance(value, str):
            paths.update(_model_files(value))
    return paths


def _files_named(value: str) -> list[str]:
    paths = _model_files(value)
    if _may_be_a_file(value) and folder_paths.exists_annotated_filepath(value):
        paths.add(folder_paths.get_annotated_filepath(value))
    return sorted(path for path in paths if os.path.isfile(path))


def _model_files(value: str) -> set[str]:
    if not _may_be_a_file(value):
        return set()
    paths = {folder_paths.get_full_path(key, value) for key in sorted(folder_paths.folder_names_and_paths)}
    return {shard for path in paths if path is not None and os.path.isfile(path) for shard in all_shards(path)}


def all_shards(path: str) -> list[str]:
    """The file, and the others of its model that are there."""
    try:
        return shard_paths(path)
    except InputError:
        return [path]


def _may_be_a_file(value: str) -> bool:
    return 0 < len(value) <= 255 and "\n" not in value and "." in value


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
