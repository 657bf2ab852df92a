"""A workflow from named nodes: the frontend's JSON and the API's from the same links and values.

Formats: the frontend's workflow schema 0.4, and what ComfyUI's ``/prompt`` takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

KIT = "WanAnimateKit"
Definitions = Mapping[str, Any]  # a host's /object_info
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
NOTE_COLOR, NOTE_BACKGROUND = "#2a363b", "#363f42"  # links and text can be read on it in every theme
NAMESPACE = uuid.UUID("410b4eca-2fc2-5994-b68b-8bfd4ac158a5")


class Output(NamedTuple):
    """One output of a node."""

    node: Node
    slot: int
    type: str


class Input(NamedTuple):
    """One input of a node definition. A widget has a value, a socket a link; a nested one is ``format.codec``."""

    name: str
    type: str
    options: Mapping[str, Any]
    required: bool
    widget: bool


@dataclass(eq=False)
class Node:
    """A placed node; ``values`` are widget values and links by input name."""

    id: int
    type: str
    title: str | None
    values: dict[str, Any]
    size: tuple[int, int]
    definition: Mapping[str, Any]
    models: list[dict[str, str]] = field(default_factory=list)
    position: tuple[int, int] = (0, 0)

    def __getitem__(self, output: str) -> Output:
        names = [name.lower() for name in self.definition["output_name"]]
        output = output.lower()
        if output not in names:
            raise KeyError(f"{self.type} has no output {output}: {', '.join(names)}")
        slot = names.index(output)
        return Output(self, slot, self.definition["output"][slot])

    @property
    def shown_title(self) -> str:
        return self.title or self.definition["display_name"] or self.type

    def inputs(self) -> Iterator[Input]:
        """Inputs in the order of the definition, a dynamic combo's own behind it."""
        for group in ("required", "optional"):
            for name in self.definition["input_order"].get(group, []):
                yield from self._input(name, self.definition["input"][group][name], group == "required")

    def _input(self, name: str, spec: Sequence[Any], required: bool) -> Iterator[Input]:
        kind = "COMBO" if isinstance(spec[0], list) else spec[0]
        options = dict(spec[1]) if len(spec) > 1 else {}
        if isinstance(spec[0], list):
            options["options"] = spec[0]
        widget = kind in WIDGET_TYPES and not options.get("forceInput")
        yield Input(name, kind, options, required, widget)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = self.values.get(name, options["options"][0]["key"])
            for option in options["options"]:
                if option["key"] == chosen:
                    for nested, inner in option["inputs"].get("required", {}).items():
                        yield from self._input(f"{name}.{nested}", inner, required)
                    for nested, inner in option["inputs"].get("optional", {}).items():
                        yield from self._input(f"{name}.{nested}", inner, False)

    def value(self, one: Input) -> Any:
        """A widget's value: ours, else the definition's default."""
        if one.name in self.values and not isinstance(self.values[one.name], Output):
            return self.values[one.name]
        if "default" in one.options:
            return one.options["default"]
        choices = one.options.get("options") or [""]
        return choices[0]["key"] if isinstance(choices[0], dict) else choices[0]


@dataclass
class Group:
    """A titled frame around columns of nodes."""

    title: str
    color: str
    columns: list[list[Node]]


class Workflow:
    """Nodes, the groups around them, and what the app view shows.

    Args:
        name: the file's.
        definitions: ComfyUI's node definitions.
        ids: node ids by key; others get the next free number.
        identity: the workflow's id (default: made from the name).
    """

    def __init__(
        self, name: str, definitions: Definitions, ids: Mapping[str, int] | None = None, identity: str | None = None
    ):
        self.name, self._definitions, self._ids = name, definitions, dict(ids or {})
        self.identity = identity or str(uuid.uuid5(NAMESPACE, name))
        self.nodes: list[Node] = []
        self.notes: list[dict[str, Any]] = []
        self.groups: list[dict[str, Any]] = []
        self.app: dict[str, Any] = {}

    def add(self, key: str, type: str, title: str | None, size: tuple[int, int], /, **values: Any) -> Node:
        """Place a node; ``size`` is what it needs after a run. Unknown inputs are refused."""
        node = Node(self._id(key), type, title, values, size, self._definitions[type])
        known = {one.name for one in node.inputs()}
        if unknown := set(values) - known:
            raise KeyError(f"{type} has no input {', '.join(sorted(unknown))}: {', '.join(sorted(known))}")
        self.nodes.append(node)
        return node

    def note(self, key: str, title: str, text: str, position: tuple[int, int], size: tuple[int, int]) -> None:
        self.notes.append(
            {"id": self._id(key), "type": "MarkdownNote", "pos": list(position), "size": list(size), "flags": {},
             "order": 0, "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [text],
             "title": title, "color": NOTE_COLOR, "bgcolor": NOTE_BACKGROUND}
        )  # fmt: skip

    def _id(self, key: str) -> int:
        if key not in self._ids:
            self._ids[key] = max(self._ids.values(), default=0) + 1
        return self._ids[key]

    def group(self, title: str, color: str, bounding: tuple[int, int, int, int]) -> None:
        self.groups.append(
            {"id": len(self.groups) + 1, "title": title, "bounding": list(bounding), "color": color, "font_size": 24,
             "flags": {}}
        )  # fmt: skip

    # -- the two formats

    def api(self) -> dict[str, Any]:
        """What the frontend would post to ``/prompt``."""
        graph = {}
        for node in self.nodes:
            inputs: dict[str, Any] = {}
            for one in node.inputs():
                given = node.values.get(one.name)
                if isinstance(given, Output):
                    inputs[one.name] = [str(given.node.id), given.slot]
                elif one.widget:
                    inputs[one.name] = node.value(one)
            graph[str(node.id)] = {"inputs": inputs, "class_type": node.type, "_meta": {"title": node.shown_title}}
        return graph

    def json(self) -> dict[str, Any]:
        """The frontend's file."""
        links: list[list[Any]] = []
        made = [self._node(node, order, links) for order, node in enumerate(self.nodes, len(self.notes))]
        for link in links:
            origin = next(node for node in made if node["id"] == link[1])
            origin["outputs"][link[2]]["links"].append(link[0])
        for order, note in enumerate(self.notes):
            note["order"] = order
        return {
            "id": self.identity, "revision": 0, "last_node_id": max(self._ids.values()), "last_link_id": len(links),
            "nodes": [*self.notes, *made], "links": links, "groups": self.groups, "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [60, 120]}, **self.app}, "version": 0.4,
        }  # fmt: skip

    def _node(self, node: Node, order: int, links: list[list[Any]]) -> dict[str, Any]:
        slots: list[dict[str, Any]] = []
        values: list[Any] = []
        upload = False
        for one in node.inputs():
            given = node.values.get(one.name)
            if one.widget:
                values.append(node.value(one))
                if one.options.get("control_after_generate"):
                    values.append("fixed")
                upload |= bool(one.options.get("image_upload") or one.options.get("video_upload"))
            if one.widget and not isinstance(given, Output):
                continue
            slot: dict[str, Any] = {"name": one.name, "type": one.type, "link": None}
            if one.widget:
                slot["widget"] = {"name": one.name}
            elif not one.required:
                slot["shape"] = 7
            if isinstance(given, Output):
                slot["link"] = len(links) + 1
                links.append([slot["link"], given.node.id, given.slot, node.id, len(slots), given.type])
            slots.append(slot)
        if upload:
            values.append("image")
        outputs = [
            {"name": name, "type": kind, "links": []}
            for name, kind in zip(node.definition["output_name"], node.definition["output"], strict=True)
        ]
        properties: dict[str, Any] = {"Node name for S&R": node.type}
        if node.models:
            properties["models"] = node.models
        found: dict[str, Any] = {
            "id": node.id, "type": node.type, "pos": list(node.position), "size": list(node.size), "flags": {},
            "order": order, "mode": 0, "inputs": slots, "outputs": outputs, "properties": properties,
            "widgets_values": values,
        }  # fmt: skip
        if node.title:
            found["title"] = node.title
        return found
