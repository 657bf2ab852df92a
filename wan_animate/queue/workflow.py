"""A workflow in API format: read, its inputs named and set, held against what a server takes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import reading
from ..json_text import parse_json
from .client import Graph

SHORT = {"image": ("LoadImage", "image"), "video": ("WanAnimateKitLoadVideo", "file")}
"""Names without a node: the class and input they stand for. Others stand for the one input of that name."""
UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload", "model_upload")
MARK = "@"  # before a value: a file of this machine, where the server's node does not say that it takes one
NAMED = 8  # things listed in a message


@dataclass(frozen=True)
class Setting:
    """One named parameter: its name as given, its value, and the folder that a relative file is in."""

    name: str
    value: Any
    folder: Path


@dataclass
class Prepared:
    """A graph that is ready but for its files: ``(node, input) -> file`` is uploaded and named in it."""

    graph: Graph
    files: dict[tuple[str, str], Path] = field(default_factory=dict)


def load_workflow(path: str | Path) -> Graph:
    """Reads a workflow in API format.

    Raises:
        InputError: no such file, no workflow, or one as the canvas saves it.
    """
    with reading(path, "the workflow", "give a workflow that ComfyUI exported (API)") as found:
        content = parse_json(found.read_text(encoding="utf-8"))
    if isinstance(content, dict) and isinstance(content.get("prompt"), dict):
        content = content["prompt"]  # the body of a POST to /prompt
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise InputError(
            f"the workflow {path} is as the canvas saves it, which no server runs: open it in ComfyUI, choose "
            "Workflow > Export (API), and give that file."
        )
    if not _is_graph(content):
        raise InputError(f"{path} holds no workflow: give one that ComfyUI exported (API).")
    return content


def _is_graph(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(
            isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
            for node in content.values()
        )
    )


def title(graph: Graph, node: str) -> str:
    """What the canvas shows above a node."""
    what = graph.get(node, {})
    return str((what.get("_meta") or {}).get("title") or what.get("class_type") or f"node {node}")


def prepare(graph: Graph, settings: list[Setting], info: dict[str, Any], where: str) -> Prepared:
    """A copy of ``graph`` with its parameters set.

    Args:
        info: the server's ``/object_info``.
        where: begins messages: the job's name.

    Raises:
        InputError: no such node or input, several, a value that the node does not take, or no such file.
    """
    made = Prepared(copy.deepcopy(graph))
    check_classes(made.graph, info, where)
    for setting in settings:
        node, name = find_input(made.graph, setting.name, info, where)
        _set(made, node, name, setting, info, where)
    return made


def check_classes(graph: Graph, info: dict[str, Any], where: str) -> None:
    missing = sorted({what["class_type"] for what in graph.values() if what["class_type"] not in info})
    if missing:
        raise InputError(
            f"{where}: the server has no node {_list(missing)}: install the pack that it is from there, or update it."
        )


def find_input(graph: Graph, name: str, info: dict[str, Any], where: str) -> tuple[str, str]:
    """(node, input) that ``node.input``, or the name of an input alone, stands for.

    Raises:
        InputError: none, or several.
    """
    for at in [at for at, letter in enumerate(name) if letter == "."]:
        nodes = _nodes(graph, name[:at])
        inputs = name[at + 1 :]
        having = [node for node in nodes if inputs in _inputs(graph, node, info)]
        if len(having) == 1:
            return having[0], inputs
        if len(having) > 1:
            named = _list([f"{node} ({title(graph, node)})" for node in having])
            raise InputError(f"{where}: {name} is an input of several nodes: give the id of one of {named}.")
        if len(nodes) == 1:
            known = _list(sorted(_inputs(graph, nodes[0], info)), 30)
            raise InputError(f"{where}: {title(graph, nodes[0])} has no input {inputs}: it has {known}.")
    if "." in name:
        known = _list([f"{node} ({title(graph, node)})" for node in graph], 30)
        raise InputError(f"{where}: no node of the workflow is named {name.rpartition('.')[0]}: there are {known}.")
    return _short(graph, name, where)


def _short(graph: Graph, name: str, where: str) -> tuple[str, str]:
    if name in SHORT:
        kind, inner = SHORT[name]
        found = [(node, inner) for node, what in graph.items() if what["class_type"] == kind]
    else:
        found = [(node, name) for node, what in graph.items() if name in what["inputs"]]
        found = [(node, name) for node, name in found if not is_link(graph[node]["inputs"][name])]
    if len(found) == 1:
        return found[0]
    if found:
        named = _list([f"{node}.{inner} ({title(graph, node)})" for node, inner in found])
        raise InputError(f"{where}: {name} may be any of {named}: give one of these names.")
    raise InputError(f"{where}: no node of the workflow has an input {name}: give it as node.input.")


def _nodes(graph: Graph, name: str) -> list[str]:
    """By id, else title, else class, of any case."""
    if name in graph:
        return [name]
    lower = name.lower()
    titled = [node for node, what in graph.items() if str((what.get("_meta") or {}).get("title")).lower() == lower]
    kinds = (lower, f"wananimatekit{lower}")
    return titled or [node for node, what in graph.items() if what["class_type"].lower() in kinds]


def _inputs(graph: Graph, node: str, info: dict[str, Any]) -> set[str]:
    return set(graph[node]["inputs"]) | set(_specs(info, graph[node]["class_type"]))


def _specs(info: dict[str, Any], kind: str) -> dict[str, Any]:
    """Input -> (type, options)."""
    groups = (info.get(kind) or {}).get("input") or {}
    return {**(groups.get("required") or {}), **(groups.get("optional") or {})}


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _set(made: Prepared, node: str, name: str, setting: Setting, info: dict[str, Any], where: str) -> None:
    inputs, called = made.graph[node]["inputs"], f"{where}: {setting.name}"
    before = inputs.get(name)
    if is_link(before):
        raise InputError(f"{called} comes from {title(made.graph, before[0])}: set that node's inputs instead.")
    kind, options = _spec(info, made.graph[node]["class_type"], name)
    text = str(setting.value)
    if any(options.get(upload) for upload in UPLOADS) or text.startswith(MARK):
        if text:
            made.files[node, name] = _file(text.removeprefix(MARK), setting.folder, called)
        inputs[name] = ""
        return
    inputs[name] = _value(setting.value, kind, options, before, called)


def _spec(info: dict[str, Any], kind: str, name: str) -> tuple[Any, dict[str, Any]]:
    spec = _specs(info, kind).get(name) or ["", {}]
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    return spec[0], options


def _file(text: str, folder: Path, called: str) -> Path:
    path = folder / Path(text).expanduser()
    if path.is_dir():
        raise InputError(f"{called} is the folder {path}: name a file in it.")
    if not path.is_file():
        raise InputError(f"{called} is {path}, which does not exist: give a file of this machine.")
    return path


def _value(value: Any, kind: Any, options: dict[str, Any], before: Any, called: str) -> Any:
    text = str(value)
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices:
        for choice in choices:
            if str(choice) == text:
                return choice
        raise InputError(f"{called} is {text!r}, which the server does not have: choose one of {_list(choices, 30)}.")
    if kind in ("", "COMBO", "COMFY_DYNAMICCOMBO_V3"):  # what the server does not say: as it was in the workflow
        kind = {bool: "BOOLEAN", int: "INT", float: "FLOAT"}.get(type(before), "STRING")
    if kind == "BOOLEAN":
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in known:
            raise InputError(f"{called} is {text!r}: give true or false.")
        return known[text.lower()]
    if kind in ("INT", "FLOAT"):
        return _number(text, kind, options, called)
    if kind != "STRING":
        raise InputError(f"{called} takes a connection ({kind}), no value: set an input of the node before it.")
    return text


def _number(text: str, kind: str, options: dict[str, Any], called: str) -> int | float:
    try:
        number = int(text) if kind == "INT" else float(text)
    except ValueError:
        raise InputError(f"{called} is {text!r}: give {'a whole' if kind == 'INT' else 'a'} number.") from None
    least, most = options.get("min"), options.get("max")
    if not (least is None or number >= least) or not (most is None or number <= most):
        raise InputError(f"{called} is {text}: give {least} to {most}.")
    return number


def check_choices(graph: Graph, info: dict[str, Any], where: str) -> None:
    """Raises InputError where a server does not have what is chosen in a list: a model, a sampler."""
    for node, what in graph.items():
        for name, value in what["inputs"].items():
            kind, options = _spec(info, what["class_type"], name)
            choices = kind if isinstance(kind, list) else options.get("options")
            if any(options.get(upload) for upload in UPLOADS) or is_link(value):
                continue
            if kind not in ("COMBO",) and not isinstance(kind, list):
                continue
            if choices and not isinstance(choices[0], dict) and value not in choices:
                raise InputError(
                    f"{where}: {name} of {title(graph, node)} is {value!r}, which the server does not have: choose one "
                    f"of {_list(choices)} with --set '{node}.{name}=...'."
                )


def _list(names: Any, most: int = NAMED) -> str:
    texts = [str(name) or "''" for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
