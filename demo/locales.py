"""Names and tooltips of the nodes as files, made from the schemas.

``python -m demo.locales`` writes ``locales/en/nodeDefs.json`` and, for every other language in ``locales/``, the head
of the help pages ``js/docs/<NodeId>/<language>.md``: title, description, inputs, outputs. What a language lacks is
printed. The English pages, and the notes below the lists, are written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import host as host_module
from demo.importing import ROOT

LOCALES, PAGES = ROOT / "locales", ROOT / "js" / "docs"
HEADINGS = {  # inputs, outputs, default, optional, advanced
    "zh": ("输入", "输出", "默认", "可选", "高级"),
}
Defs = dict[str, dict[str, Any]]


def pack_info() -> dict[str, Any]:
    """``/object_info`` of our nodes, without the names of files on this machine."""
    found = host_module.find_host()
    if found is None:
        raise SystemExit(host_module.NOT_FOUND)
    host_module.load_in_process(found)
    classes = host_module.pack_nodes(host_module.load_pack())
    return {name: node.GET_SCHEMA().get_v1_info(node).__dict__ for name, node in sorted(classes.items())}


def inputs_of(info: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(id, options, whether it is optional) in the order of the node."""
    for section in ("required", "optional"):
        for name, (_, options) in info["input"].get(section, {}).items():
            yield name, options, section == "optional"


def node_defs(infos: dict[str, Any]) -> Defs:
    """As the frontend reads ``nodeDefs.json``."""
    return {
        node: {
            "display_name": info["display_name"],
            "description": info["description"],
            "inputs": {
                name: {"name": options.get("display_name", name), "tooltip": options.get("tooltip", "")}
                for name, options, _ in inputs_of(info)
            },
            "outputs": {
                str(at): {"name": name.replace("_", " "), "tooltip": tip or ""}
                for at, (name, tip) in enumerate(zip(info["output_name"], info["output_tooltips"]))
            },
        }
        for node, info in infos.items()
    }


def texts(defs: Any, path: str = "") -> dict[str, str]:
    """Every text by its place, as ``WanAnimateKitAnimate/inputs/seed/tooltip``."""
    if isinstance(defs, str):
        return {path: defs}
    return {place: text for key in defs for place, text in texts(defs[key], f"{path}/{key}".lstrip("/")).items()}


def page(info: dict[str, Any], words: dict[str, Any], language: str, old: str = "") -> str:
    """A help page; the sections of ``old`` other than those on inputs and outputs are kept."""
    inputs, outputs, default, optional, advanced = HEADINGS[language]
    lines = [f"# {words['display_name']}", "", words["description"], ""]
    lines += [f"## {inputs}", ""] if words["inputs"] else []
    for name, options, is_optional in inputs_of(info):
        said = words["inputs"][name]
        notes = [f"`{name}`"]
        if _told(options.get("default")):
            notes.append(f"{default} {_plain(options['default'])}")
        notes += [optional] * (is_optional and "default" not in options) + [advanced] * bool(options.get("advanced"))
        lines.append(f"- **{said['name']}** ({', '.join(notes)}): {said['tooltip']}")
    lines += ["", f"## {outputs}", ""] if words["outputs"] else []
    for at, name in enumerate(info["output_name"]):
        said = words["outputs"][str(at)]
        lines.append(f"- **{said['name']}** (`{name}`): {said['tooltip']}")
    sections = re.split(r"^(?=## )", old, flags=re.M)[1:]
    rest = [part for part in sections if not part.startswith((f"## {inputs}\n", f"## {outputs}\n"))]
    return "\n".join(lines) + "\n" + "".join(f"\n{part.strip()}\n" for part in rest)


def main() -> None:
    infos = pack_info()
    english = node_defs(infos)
    _write(LOCALES / "en" / "nodeDefs.json", json.dumps(english, indent=2, ensure_ascii=False) + "\n")
    for folder in sorted(path for path in LOCALES.iterdir() if path.is_dir() and path.name != "en"):
        defs = json.loads((folder / "nodeDefs.json").read_text(encoding="utf-8"))
        missing = sorted(texts(english).keys() - texts(defs).keys())
        print(f"{folder.name}: {len(missing)} texts missing", *missing, sep="\n  ")
        for node, info in infos.items():
            if not any(place.startswith(f"{node}/") for place in missing):
                path = PAGES / node / f"{folder.name}.md"
                _write(path, page(info, defs[node], folder.name, _read(path)))


def _told(value: Any) -> bool:
    """No file's name: which is there differs from machine to machine."""
    return value not in (None, "") and not (isinstance(value, str) and "." in value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
