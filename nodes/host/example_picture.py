"""A character's picture that was never chosen: ComfyUI's own example.png, which Load Image begins with."""

from __future__ import annotations

import hashlib
from typing import Any

import folder_paths
from comfy_execution.graph_utils import is_link

NAME = "example.png"
SHA256 = "a8e215ad32a0052fc4190e9c5863428d5ee35cd98b246243842ba8360511b7c4"
NOTE = (
    "The character is ComfyUI's own example.png, with which Load Image begins: choose your picture there if this one "
    "was not meant."
)


def example_note(hidden: Any, name: str) -> str:
    """:data:`NOTE` if the input ``name`` of the running node shows that picture; else empty."""
    if hidden is None or not hidden.prompt or hidden.unique_id is None:
        return ""
    graph = hidden.dynprompt if getattr(hidden, "dynprompt", None) is not None else hidden.prompt
    get_node = graph.get_node if hasattr(graph, "get_node") else graph.__getitem__
    pending, seen = [get_node(str(hidden.unique_id))["inputs"].get(name)], set()
    while pending:
        link = pending.pop()
        if is_link(link) and link[0] not in seen:
            seen.add(link[0])
            inputs = get_node(link[0])["inputs"]
            if inputs.get("image") == NAME and _is_the_hosts():
                return NOTE
            pending += inputs.values()
    return ""


def _is_the_hosts() -> bool:
    try:
        with open(folder_paths.get_annotated_filepath(NAME), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == SHA256
    except OSError:
        return False
