"""A workflow cut at its cuts: where its shots begin anew, the graph that finds them, and the graph of one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .client import Graph
from .workflow import is_link

ACCELERATE, TIMED = "WanAnimateKitAccelerate", "auto"
"""Its ``attention`` is chosen by timing where it begins so."""
ANIMATE, OPTIONS, PLAN = "WanAnimateKitAnimate", "WanAnimateKitClipOptions", "WanAnimateKitPlanClip"
TRACK = "POSE_TRACK"
ANEW, ON = "start anew", "chain on"
"""What Clip Options has for ``at_cuts``."""
DEFAULTS = {"crossfade": 0, "share_noise": False, "first_segment": 1, "last_segment": 0, "segment_seeds": "",
            "keep_rest": False}  # fmt: skip
"""Of Clip Options; its ``at_cuts`` has no effect without ``shots``."""


@dataclass(frozen=True)
class Cut:
    """Of a graph whose one clip begins anew at its cuts: the ids of Animate Character and of its Clip Options."""

    animate: str
    options: str


def cut_of(graph: Graph) -> Cut | None:
    """None where shots cannot be made apart: several clips or none, one that is continued, a part of one, or one whose
    cuts do not count; nor where an input is missing that a server then asks for."""
    animates = [node for node, what in graph.items() if what["class_type"] == ANIMATE]
    if len(animates) != 1:
        return None
    given = graph[animates[0]]["inputs"]
    if not {"pose", "guidance_frames"} <= given.keys():
        return None
    link = given.get("options")
    options = link[0] if is_link(link) else ""
    if options not in graph or graph[options]["class_type"] != OPTIONS:
        return None
    inputs = graph[options]["inputs"]
    whole = all(inputs.get(name, DEFAULTS[name]) == DEFAULTS[name] for name in ("first_segment", "last_segment"))
    anew = is_link(inputs.get("shots")) and inputs.get("at_cuts", ANEW) == ANEW
    alone = "continue_from" not in inputs and inputs.get("keep_rest", False) is False
    return Cut(animates[0], options) if whole and anew and alone else None


def finding_graph(graph: Graph, cut: Cut) -> tuple[Graph, str]:
    """A graph that plans the clip and makes nothing, and the id of its Plan Clip."""
    given = graph[cut.animate]["inputs"]
    same = {name: given[name] for name in ("mode", "steps", "cfg", "segment_length", "options") if name in given}
    node = _new_id(graph)
    plan: dict[str, Any] = {"frames": given["pose"], "previous_frames": given["guidance_frames"], **same}
    made = {**graph, node: {"class_type": PLAN, "inputs": plan, "_meta": {"title": "Plan Clip"}}}
    return _up_to(made, node), node


def shot_graph(graph: Graph, cut: Cut, first: int, last: int) -> Graph:
    """A graph that makes these segments, from 0, both included, and nothing else."""
    made = _up_to(graph, cut.animate)
    made[cut.options]["inputs"] |= {"first_segment": first + 1, "last_segment": last + 1}
    return made


def is_timed(graph: Graph) -> bool:
    """Whether a server chooses its attention by timing, which on another may end otherwise."""
    chosen = [what["inputs"].get("attention") for what in graph.values() if what["class_type"] == ACCELERATE]
    return any(is_link(one) or str(one).startswith(TIMED) for one in chosen)


def with_cuts(graph: Graph, anew: bool, info: dict[str, Any], where: str) -> Graph:
    """A copy in which shots begin anew, or go on from the ones before; with Clip Options where there is none.

    Args:
        info: the server's ``/object_info``.
        where: begins messages: the job's name.

    Raises:
        InputError: its clip's options come from another node, or its pose from none that is known.
    """
    made = copy.deepcopy(graph)
    for animate in [node for node, what in made.items() if what["class_type"] == ANIMATE]:
        inputs = made[animate]["inputs"]
        if "options" not in inputs:
            if not anew:
                continue
            node = _new_id(made)
            made[node] = {"class_type": OPTIONS, "inputs": dict(DEFAULTS), "_meta": {"title": "Clip Options"}}
            inputs["options"] = [node, 0]
        link = inputs["options"]
        if not is_link(link) or made.get(link[0], {}).get("class_type") != OPTIONS:
            raise InputError(
                f"{where}: the options of Animate Character come from no Clip Options: set its cuts in the workflow."
            )
        options = made[link[0]]["inputs"]
        options["at_cuts"] = ANEW if anew else ON
        if anew and "shots" not in options:
            options["shots"] = _track(made, animate, info, where)
    return made


def _track(graph: Graph, animate: str, info: dict[str, Any], where: str) -> list[Any]:
    """The link of the driver's pose, which knows its cuts: the last one before it is drawn."""
    link, seen = graph[animate]["inputs"].get("pose"), set()
    while is_link(link) and link[0] in graph and link[0] not in seen:
        seen.add(link[0])
        kind = graph[link[0]]["class_type"]
        outputs = (info.get(kind) or {}).get("output") or []
        if link[1] < len(outputs) and outputs[link[1]] == TRACK:
            return list(link)
        link = graph[link[0]]["inputs"].get("pose")
    raise InputError(
        f"{where}: the workflow draws its pose from no pose track, so its cuts are not known: connect shots of Clip "
        "Options there, or leave at_cuts out."
    )


def _new_id(graph: Graph) -> str:
    return str(max((int(node) for node in graph if node.isdigit()), default=0) + 1)


def _up_to(graph: Graph, node: str) -> Graph:
    """A copy of a node and all that it needs."""
    found: Graph = {}
    pending = [node]
    while pending:
        name = pending.pop()
        if name in found or name not in graph:
            continue
        found[name] = copy.deepcopy(graph[name])
        pending += [value[0] for value in graph[name]["inputs"].values() if is_link(value)]
    return found
