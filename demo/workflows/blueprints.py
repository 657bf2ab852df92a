"""A workflow as a subgraph: one node with picture, video and prompt in, the clip out.

Format: the frontend's subgraph blueprints, as in ComfyUI's ``blueprints/``.
"""

from __future__ import annotations

import uuid
from typing import Any

from demo.workflows.catalog import BLUEPRINTS
from demo.workflows.graph import NAMESPACE, Workflow

INSIDE, OUTSIDE = -10, -20  # the frontend's ids of a subgraph's input and output panels
# what stays outside: the picture comes in as IMAGE, the clip goes out as VIDEO
LEFT_OUT = {"LoadImage", "SaveVideo", "MarkdownNote"}
# widgets of the node: label, class of the node inside, its widget
WIDGETS = (
    ("video", "WanAnimateKitLoadVideo", "file"),
    ("limit", "WanAnimateKitLoadVideo", "limit"),
    ("width", "WanAnimateKitLoadVideo", "width"),
    ("height", "WanAnimateKitLoadVideo", "height"),
    ("prompt", "WanAnimateKitCachedPrompt", "text"),
    ("seed", "WanAnimateKitAnimate", "seed"),
    ("steps", "WanAnimateKitAnimate", "steps"),
)
ABOUT = {
    "animate": "A character's picture performs a driving video, in the picture's own scene (Wan 2.2 Animate).",
    "replace": "A character's picture takes the place of the person in a video, lit as the scene is (Wan 2.2 Animate).",
}
ALIASES = {
    "animate": ["animate character", "wan animate", "motion transfer", "mimic motion", "animate anyone", "dance"],
    "replace": ["replace person", "character swap", "face swap", "person swap", "wan animate", "relight"],
}


def blueprint(name: str, workflow: Workflow) -> dict[str, Any]:
    """The blueprint file of a workflow."""
    page, title = workflow.json(), BLUEPRINTS[name]
    kind = str(uuid.uuid5(NAMESPACE, f"blueprint {name}"))
    gone = {node["id"]: node["type"] for node in page["nodes"] if node["type"] in LEFT_OUT}
    nodes = [node for node in page["nodes"] if node["id"] not in gone]
    links, image_links, video_links = [], [], []
    for at, origin, slot, target, target_slot, type_ in page["links"]:
        if gone.get(origin) == "LoadImage":
            origin, slot = INSIDE, 0
            image_links.append(at)
        elif gone.get(target) == "SaveVideo":
            target, target_slot = OUTSIDE, 0
            video_links.append(at)
        links.append(
            {
                "id": at,
                "origin_id": origin,
                "origin_slot": slot,
                "target_id": target,
                "target_slot": target_slot,
                "type": type_,
            }
        )
    proxies = [(label, _first(nodes, type_), widget) for label, type_, widget in WIDGETS]
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    inputs = [
        {
            "id": str(uuid.uuid5(NAMESPACE, f"{name} image")),
            "name": "image",
            "type": "IMAGE",
            "linkIds": image_links,
            "label": "character",
            "pos": [330, 20],
        }
    ]
    slots: list[dict[str, Any]] = [{"name": "image", "label": "character", "type": "IMAGE", "link": None}]
    number = page["last_link_id"]
    for label, node, widget in proxies:
        number += 1
        target_slot = len(node["inputs"])
        kind_of = _widget_type(workflow, node["id"], widget)
        node["inputs"].append({"name": widget, "type": kind_of, "widget": {"name": widget}, "link": number})
        links.append(
            {
                "id": number,
                "origin_id": INSIDE,
                "origin_slot": len(inputs),
                "target_id": node["id"],
                "target_slot": target_slot,
                "type": kind_of,
            }
        )
        inputs.append(
            {
                "id": str(uuid.uuid5(NAMESPACE, f"{name} {label}")),
                "name": widget,
                "type": kind_of,
                "linkIds": [number],
                "label": label,
                "pos": [330, 20 + 20 * len(inputs)],
            }
        )
        slots.append({"name": widget, "label": label, "type": kind_of, "widget": {"name": widget}, "link": None})
    outputs = [
        {
            "id": str(uuid.uuid5(NAMESPACE, f"{name} video")),
            "name": "video",
            "type": "VIDEO",
            "linkIds": video_links,
            "pos": [right + 120, 20],
        }
    ]
    subgraph = {
        "id": kind,
        "version": 1,
        "revision": 0,
        "config": {},
        "name": title,
        "category": "WanAnimateKit",
        "state": {
            "lastGroupId": len(page["groups"]),
            "lastNodeId": page["last_node_id"],
            "lastLinkId": number,
            "lastRerouteId": 0,
        },
        "description": ABOUT[name],
        "inputNode": {"id": INSIDE, "bounding": [220, 0, 130, 60 + 20 * len(inputs)]},
        "outputNode": {"id": OUTSIDE, "bounding": [right + 100, 0, 130, 70]},
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": nodes,
        "groups": [{**group, "font_size": 24} for group in page["groups"]],
        "links": links,
        "extra": {},
    }
    node = {
        "id": 1,
        "type": kind,
        "pos": [0, 0],
        "size": [420, 320],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": slots,
        "outputs": [{"name": "video", "type": "VIDEO", "links": []}],
        "title": title,
        "widgets_values": [],
        "properties": {"proxyWidgets": [[str(node["id"]), widget] for _, node, widget in proxies]},
    }
    return {
        "revision": 0,
        "last_node_id": page["last_node_id"],
        "last_link_id": 0,
        "nodes": [node],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": ABOUT[name], "BlueprintSearchAliases": ALIASES[name]},
    }


def _first(nodes: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    return next(node for node in nodes if node["type"] == type_)


def _widget_type(workflow: Workflow, number: int, widget: str) -> str:
    (node,) = [node for node in workflow.nodes if node.id == number]
    return next(one.type for one in node.inputs() if one.name == widget)
