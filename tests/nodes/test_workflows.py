"""Every shipped workflow, run over HTTP on a real ComfyUI with small weights; what they are made of."""

from __future__ import annotations

import io
import json
import re

import av
import pytest

from demo import graphs
from demo.importing import ROOT
from demo.workflows.__main__ import write
from demo.workflows.catalog import APPS, BLUEPRINTS, TITLES
from demo.workflows.notes import START
from demo.workflows.parts import SPEED

from ..support import workflows

KIT = graphs.KIT
FRAMES = 5
# Nodes that no workflow needs: their own tests run them on the host.
# run alone, with nothing connected
ELSEWHERE = {f"{KIT}CheckModels", f"{KIT}DownloadModels", f"{KIT}SplitModel"}  # the last needs several cards


@pytest.fixture(scope="module")
def files(host_server, tmp_path_factory):
    """Our own drawn clip, with its pose as a saved track."""
    return workflows.upload_example(host_server, tmp_path_factory.mktemp("example"))


@pytest.mark.parametrize("name", list(TITLES))
def test_a_workflow_runs(host_server, files, name):
    graph = workflows.small_graph(name, files, FRAMES)
    entry = host_server.run(graph, timeout=300)
    save = next(node for kind in ("SaveVideo", f"{KIT}SaveClip") for node in graphs.nodes_of(graph, kind))
    (item,) = [item for kind in entry["outputs"][save].values() for item in kind if isinstance(item, dict)]
    with av.open(io.BytesIO(host_server.fetch(item))) as clip:
        shown = sum(1 for _ in clip.decode(video=0))
    assert shown == (2 * FRAMES - 1 if name == "more_frames" else FRAMES)


def test_the_files_are_what_the_descriptions_make(host_server, tmp_path):
    write(host_server.get("/object_info"), tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert len(made) == 2 * len(TITLES) + len(APPS) + len(BLUEPRINTS)
    different = [str(name) for name, content in made.items() if (ROOT / name).read_bytes() != content]
    assert not different, "run python -m demo.workflows"
    shipped = {
        path.relative_to(ROOT) for folder in ("workflows", "subgraphs") for path in (ROOT / folder).rglob("*.json")
    }
    assert shipped == set(made)


def test_every_node_is_in_a_workflow(host_server):
    registered = {name for name in host_server.get("/object_info") if name.startswith(KIT)}
    used = {node["class_type"] for name in TITLES for node in graphs.load_graph(name).values()}
    assert registered - used == ELSEWHERE


def test_only_our_nodes_and_the_hosts(host_server):
    known = host_server.get("/object_info")
    for name in TITLES:
        for node in graphs.load_graph(name).values():
            module = known[node["class_type"]]["python_module"]
            assert node["class_type"].startswith(KIT) or module == "nodes" or module.startswith("comfy_extras"), module


def test_notes_call_inputs_what_the_nodes_call_them():
    """What is bold and in small letters is an input of a node in that workflow."""
    words = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    for name, note in START.items():
        kinds = {node["class_type"] for node in graphs.load_graph(name).values()} & words.keys()
        kinds |= {f"{KIT}{kind}" for kind in OTHERS if words[f"{KIT}{kind}"]["display_name"] in note}
        shown = [one["name"] for kind in kinds for one in _slots(words[kind])]
        called = {one.partition(" (")[0] for one in shown} | {"picture"}
        bold = set(re.findall(r"\*\*([a-z][^*]*)\*\*", note))
        assert bold <= called, (name, bold - called)


OTHERS = ("CropFace", "Animate")
"""Nodes that a note may name beyond those of its workflow."""


def _slots(words: dict) -> list[dict]:
    return [*words["inputs"].values(), *words["outputs"].values()]


def test_names_fit_where_they_are_shown():
    names = [*TITLES.values(), *APPS.values()]
    assert len(set(names)) == len(names) and all(len(name) < 30 and "wan" in name.lower() for name in names)
    assert TITLES["animate"].endswith("Character")


def test_pages_are_small():
    files = [path for folder in ("workflows", "subgraphs") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_few_steps_come_with_the_lora_for_them():
    for name in TITLES:
        graph = graphs.load_graph(name)
        if name == "more_frames":
            continue
        (animate,) = graphs.nodes_of(graph, f"{KIT}Animate")
        loras = {node["inputs"]["lora"] for node in graph.values() if "lora" in node["inputs"]}
        assert (SPEED in loras) == (graph[animate]["inputs"]["steps"] < 10)


def test_an_app_shows_widgets_that_are_there():
    for name, title in APPS.items():
        page = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
        graph = graphs.load_graph(name)
        assert page["extra"]["linearMode"] is True
        data = page["extra"]["linearData"]
        assert all(widget in graph[str(node)]["inputs"] for node, widget in data["inputs"])
        assert [graph[str(node)]["class_type"] for node in data["outputs"]] == ["SaveVideo"]
