"""The graph that is being queued. The host gives ``validate_inputs`` the inputs that it names, repeats its sentence for
each of them, and no longer checks their ranges itself: a node that names one and reads the rest here has none of this.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from comfy_execution.graph_utils import is_link

_graph: ContextVar[dict[str, Any] | None] = ContextVar("wan_animate_kit_queued", default=None)


def watch_queue() -> None:
    """The graph of each request is kept while the host checks it."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:  # else a call from Python
        server.add_on_prompt_handler(_keep)


def _keep(request: Any) -> Any:
    graph = request.get("prompt") if isinstance(request, dict) else None
    _graph.set(graph if isinstance(graph, dict) else None)
    return request


def queued_inputs(node: type[Any]) -> dict[str, Any] | None:
    """Values and links of the node that is being checked (a class with the hidden ``unique_id``); None where the graph
    is not known."""
    graph, hidden = _graph.get(), getattr(node, "hidden", None)
    entry = (graph or {}).get(str(getattr(hidden, "unique_id", "")))
    if not isinstance(entry, dict) or entry.get("class_type") != node.SCHEMA.node_id:
        return None
    inputs = entry.get("inputs")
    return inputs if isinstance(inputs, dict) else None


def chosen(node: type[Any], inputs: dict[str, Any], name: str, default: Any = None) -> Any:
    """A widget's value; ``default`` where it is linked, missing, or refused by the host itself."""
    value = inputs.get(name)
    if value is None or is_link(value):
        return default
    (widget,) = [one for one in node.SCHEMA.inputs if one.id == name]
    least, most = getattr(widget, "min", None), getattr(widget, "max", None)
    if least is not None and most is not None:
        inside = isinstance(value, (int, float)) and least <= value <= most
        return value if inside else default
    options = getattr(widget, "options", None)
    return value if options is None or value in options else default
