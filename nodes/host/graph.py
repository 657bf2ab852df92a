"""A digest of the graph above a node, stable across restarts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import folder_paths
from comfy_execution.graph_utils import is_link

_BLOCK = 4096
_BLOCKS = 64
_NONE: Mapping[str, str] = MappingProxyType({})


def graph_signature(
    prompt: Any, node_id: str, input_name: str | None = None, changed: Mapping[str, str] = _NONE
) -> str:
    """32 hex digits over classes, values and named files above a node; ids, titles and order do not matter.

    Args:
        prompt: in API format, or the host's ``DynamicPrompt``.
        input_name: only what is linked to this input.
        changed: values that meant something else in older versions, and what they mean now: the digest holds both.
    """
    get_node = prompt.get_node if hasattr(prompt, "get_node") else prompt.__getitem__
    digests: dict[str, str] = {}

    def value_of(value: Any) -> Any:
        if is_link(value):
            return ["link", node_digest(value[0]), value[1]]
        if isinstance(value, str):
            now = [changed[value]] if value in changed else []
            return [value, *now, *(file_identity(path) for path in _files_named(value))]
        return value

    def node_digest(node: str) -> str:
        if node not in digests:
            entry = get_node(node)
            digests[node] = _digest(
                [entry["class_type"], {name: value_of(entry["inputs"][name]) for name in entry["inputs"]}]
            )
        return digests[node]

    if input_name is None:
        return node_digest(node_id)
    return _digest(value_of(get_node(node_id)["inputs"].get(input_name)))


def file_identity(path: str) -> str:
    """A digest of size and 64 blocks (256 KiB), equal for a copy; the path if unreadable."""
    try:
        stat = os.stat(path)
        return _file_identity(path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return f"unreadable:{path}"


@lru_cache(maxsize=256)
def _file_identity(path: str, size: int, _mtime: int) -> str:
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        if size <= _BLOCK * _BLOCKS:
            digest.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _files_named(value: str) -> list[str]:
    if not value or len(value) > 255 or "\n" in value or "." not in value:
        return []
    paths = {folder_paths.get_full_path(key, value) for key in sorted(folder_paths.folder_names_and_paths)}
    if folder_paths.exists_annotated_filepath(value):
        paths.add(folder_paths.get_annotated_filepath(value))
    return sorted(path for path in paths if path is not None and os.path.isfile(path))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
