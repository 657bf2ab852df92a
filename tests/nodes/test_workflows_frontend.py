"""What a creator sees of the workflows in the host's real frontend: templates with pictures, apps, subgraphs, and a
page on which nothing lies on anything after a run either."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import av
import cv2
import numpy as np
import pytest

from demo import graphs
from demo.host import PACK_NAME
from demo.importing import ROOT
from demo.workflows.catalog import APPS, BLUEPRINTS, TITLES

from ..support import workflows
from .test_frontend import FAULTS, LOAD, page, workflow  # noqa: F401  (a fixture)

KIT = graphs.KIT
# Every pair of nodes that lie on each other: what is drawn on the canvas, or the elements of the new renderer.
OVERLAPS = """vue => {
    const boxes = app.graph.nodes.map(node => {
        const element = vue && document.querySelector(`[data-node-id="${node.id}"]`);
        if (!element) return [node.title, ...node.boundingRect];
        const box = element.getBoundingClientRect(), scale = app.canvas.ds.scale;
        return [node.title, box.x / scale, box.y / scale, box.width / scale, box.height / scale];
    });
    const apart = (a, b) => a[1] + a[3] <= b[1] + 1 || b[1] + b[3] <= a[1] + 1 || a[2] + a[4] <= b[2] + 1
        || b[2] + b[4] <= a[2] + 1;
    return boxes.flatMap((a, i) => boxes.slice(0, i).filter(b => !apart(a, b)).map(b => [a[0], b[0], a[4], b[4]]));
}"""
FIT_ALL = """() => {
    const boxes = app.graph.nodes.map(n => n.boundingRect), view = app.canvas.ds;
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
    view.scale = 0.35;
    view.offset = [100 / view.scale - left, 120 / view.scale - top];
    app.canvas.setDirty(true, true);
}"""


def use_new_nodes(page, new: bool) -> None:  # noqa: F811
    page.evaluate("new_ => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', new_)", new)
    page.wait_for_timeout(1000)


@pytest.fixture(scope="module")
def files(host_server, tmp_path_factory):
    return workflows.upload_example(host_server, tmp_path_factory.mktemp("example"))


# Workflows and what is run of them: between them they have every node that shows something.
SHOWING: dict[str, tuple[str, ...]] = {
    "replace_crop": ("SaveVideo",),
    "long_clip": (f"{KIT}SaveClip", f"{KIT}PlanClip", f"{KIT}PoseReport"),
    "edited_pose": (f"{KIT}EditPrompts",),
    "host_pose": (f"{KIT}SavePoseTrack",),
    "saved_pose": (f"{KIT}EditPose", f"{KIT}MaskFromPose"),
}
SILENT = {f"{KIT}KeypointsToPose"}
"""Shows nothing but what must be known, if there is something."""


@pytest.fixture(scope="module")
def shown(host_server, files):
    """What each kind of node gives to show, of small runs: {class: output}."""
    found = {}
    for name, wanted in SHOWING.items():
        graph = workflows.small_graph(name, files, 5)
        graphs.set_inputs(graph, f"{KIT}Animate", seed=500 + len(found))  # else from the cache, which shows nothing
        graph = above(graph, [node for kind in wanted for node in graphs.nodes_of(graph, kind)])
        outputs = host_server.run(graph, timeout=300)["outputs"]
        found |= {graph[node]["class_type"]: output for node, output in outputs.items()}
    return found


def above(graph: graphs.Graph, wanted: list[str]) -> graphs.Graph:
    """These nodes and those that they need."""
    found, pending = {}, list(wanted)
    while pending:
        node = pending.pop()
        found[node] = graph[node]
        links = [value[0] for value in graph[node]["inputs"].values() if isinstance(value, list)]
        pending += [link for link in links if link not in found]
    return found


OPEN = """async workflow => {
    await app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 500));
}"""
# As the server's messages after a run: every node of the page is given what a node of its class made.
SHOW = """outputs => {
    const graph = app.graph, given = graph.nodes.filter(node => node.type in outputs);
    for (const node of given) {
        const node_id = String(node.id), output = outputs[node.type];
        const detail = { node: node_id, display_node: node_id, output, prompt_id: 'shown' };
        app.api.dispatchEvent(new CustomEvent('executed', { detail }));
    }
    return given.map(node => node.type);
}"""
THERE = """() => {
    const within = root => [...root.querySelectorAll('*')].flatMap(each =>
        [each, ...(each.shadowRoot ? within(each.shadowRoot) : [])]);
    return within(document.querySelector('.graph-canvas-container') ?? document.body).every(each =>
        each.tagName === 'IMG' ? each.complete
        : each.tagName !== 'VIDEO' || !each.src || each.readyState > 0 || each.error);
}"""


@pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])
def test_nothing_lies_on_anything_after_a_run(page, files, shown, vue):  # noqa: F811
    """Every workflow: no node is made to run again, for what it shows is what makes it grow."""
    found, kinds = {}, set()
    try:
        use_new_nodes(page, vue)
        for name in TITLES:
            graph = workflow(name)
            for node in graph["nodes"]:
                if node["type"] == "WanAnimateKitLoadVideo":
                    node["widgets_values"][0] = files["video"]
            page.evaluate(OPEN, graph)
            page.evaluate(FIT_ALL)
            page.wait_for_timeout(300)
            before = page.evaluate(OVERLAPS, vue)
            given = page.evaluate(SHOW, shown)
            page.wait_for_timeout(300)
            page.wait_for_function(THERE, timeout=20_000)
            page.wait_for_timeout(500)
            if folder := os.environ.get("WAN_ANIMATE_SCREENSHOTS"):
                page.screenshot(path=Path(folder) / f"after-{name}-{'vue' if vue else 'litegraph'}.png")
            found[name] = before, page.evaluate(OVERLAPS, vue)
            kinds |= {*given}
            assert given and page.evaluate("Object.keys(app.nodeOutputs).length") >= len(given)
    finally:
        use_new_nodes(page, False)
    assert found == {name: ([], []) for name in TITLES}
    showing = page.evaluate(
        "Object.values(LiteGraph.registered_node_types).filter(type => type.nodeData?.output_node).map(t => t.type)"
    )
    there = {node["type"] for name in TITLES for node in workflow(name)["nodes"]}
    assert (there & set(showing)) - kinds == SILENT, "no output of theirs was shown"


def test_templates_have_names_and_pictures(page, host_server):  # noqa: F811
    listed = host_server.get("/workflow_templates")[PACK_NAME]
    assert set(listed) == {*TITLES.values(), *APPS.values()}
    for name in listed:
        picture = host_server.request(f"/api/workflow_templates/{PACK_NAME}/{quote(name)}.jpg")
        assert len(picture) < 60_000
        decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert decoded.shape[0] >= 256 and decoded.std() > 8
    page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.wait_for_timeout(2500)
    page.locator("[role=dialog] input:visible").first.fill("Wan Animate - Talking")
    page.wait_for_timeout(2500)
    pictures = page.evaluate("[...document.querySelectorAll('[role=dialog] img')].map(i => i.naturalWidth)")
    names = page.locator("[role=dialog]").first.inner_text()
    page.keyboard.press("Escape")
    assert pictures == [480] and TITLES["talking_head"] in names


QUEUE = """async graph => {
    const answer = await app.api.queuePrompt(0, {output: graph, workflow: app.graph.serialize()});
    return answer.prompt_id;
}"""
# What the page queues of its graph, with small weights.
SMALL_PROMPT = """output => {
    app.graphToPrompt = async (...given) => {
        const { workflow } = await Object.getPrototypeOf(app).graphToPrompt.apply(app, given);
        return { workflow, output };
    };
}"""
PROMPT = "app.graphToPrompt().then(prompt => prompt.output)"
SHOWN_CLIP = "() => [...document.querySelectorAll('video')].some(each => each.videoWidth && each.checkVisibility())"


@pytest.mark.parametrize("name", list(APPS))
def test_an_app_opens_with_its_widgets_and_shows_its_clip(page, host_server, files, tmp_path, name):  # noqa: F811
    graph = json.loads((ROOT / "workflows" / f"{APPS[name]}.json").read_text(encoding="utf-8"))
    page.evaluate(LOAD, graph)
    page.wait_for_timeout(1500)
    skip = page.get_by_role("button", name="Skip", exact=True)  # the welcome, shown once
    if skip.count():
        skip.first.click()
        page.wait_for_timeout(1000)
    assert page.evaluate(FAULTS) == []
    shown = page.evaluate("document.body.innerText").split("\n")
    labels = page.evaluate(
        """() => app.graph.extra.linearData.inputs.map(([id, name]) => {
            const widget = app.graph.getNodeById(id.toString().split(':').pop())?.widgets.find(w => w.name === name);
            return widget?.label ?? name;
        })"""
    )
    assert {*labels, "Run"} <= set(shown) and len(labels) == 5
    assert page.evaluate("app.graph.extra.linearData.inputs.length") == len(graph["extra"]["linearData"]["inputs"])
    queued = page.evaluate(PROMPT)
    workflows.shrink(queued, files, 5)
    page.evaluate(SMALL_PROMPT, queued)
    before = set(host_server.get("/history"))
    try:
        page.get_by_role("button", name="Run", exact=True).last.click()
        end = time.monotonic() + 120
        while not (made := set(host_server.get("/history")) - before):
            assert time.monotonic() < end
            page.wait_for_timeout(300)
        finished(host_server, made.pop())
        page.wait_for_function(SHOWN_CLIP, timeout=20_000)
    finally:
        page.evaluate("delete app.graphToPrompt")
    page.screenshot(path=Path(os.environ.get("WAN_ANIMATE_SCREENSHOTS") or tmp_path) / f"app-{name}.png")


def finished(host_server, prompt: str) -> dict:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if entry := host_server.get(f"/history/{prompt}").get(prompt):
            assert entry["status"]["status_str"] == "success", entry["status"]
            return entry
        time.sleep(0.3)
    raise AssertionError("the run did not end")


@pytest.mark.parametrize("name", list(BLUEPRINTS))
def test_a_blueprint_is_found_and_can_be_placed(page, host_server, name):  # noqa: F811
    listed = host_server.get("/global_subgraphs")
    assert BLUEPRINTS[name] in {entry["name"] for entry in listed.values()}
    blueprint = json.loads((ROOT / "subgraphs" / f"{BLUEPRINTS[name]}.json").read_text(encoding="utf-8"))
    assert blueprint["extra"]["BlueprintDescription"] and len(blueprint["extra"]["BlueprintSearchAliases"]) > 3
    page.evaluate(LOAD, blueprint)
    assert page.evaluate(FAULTS) == []
    node = page.evaluate(
        "(n => [n.inputs.map(i => i.name), n.widgets.map(w => w.name), n.outputs.map(o => o.type)])(app.graph.nodes[0])"
    )
    assert node[0][0] == "image" and {"file", "limit", "text", "seed"} <= {*node[0], *node[1]} and node[2] == ["VIDEO"]


PLACE = """async values => {
    const [load, save] = ['LoadImage', 'SaveVideo'].map(type => LiteGraph.createNode(type));
    const node = app.graph.nodes[0];
    for (const each of [load, save]) app.graph.add(each);
    load.pos = [-500, 0]; save.pos = [600, 0];
    load.connect(0, node, 'image'); node.connect(0, save, 'video');
    for (const [label, value] of Object.entries(values)) {
        const widget = node.widgets.find(w => w.name === label || w.label === label);
        widget.value = value;
        widget.callback?.(value);
    }
    await new Promise(done => setTimeout(done, 500));
    return (await app.graphToPrompt()).output;
}"""


@pytest.mark.parametrize("name", list(BLUEPRINTS))
def test_a_blueprint_makes_a_clip(page, host_server, files, tmp_path, name):  # noqa: F811
    """Between Load Image and Save Video, by the values of its own widgets."""
    page.evaluate(LOAD, json.loads((ROOT / "subgraphs" / f"{BLUEPRINTS[name]}.json").read_text(encoding="utf-8")))
    values = {
        "file": files["video"],
        "limit": 5,
        "width": 160,
        "height": 96,
        "seed": 77,
        "steps": 1,
        "text": "A robot.",
    }
    queued = page.evaluate(PLACE, values)
    within = {kind: graphs.node_of(queued, KIT + kind) for kind in ("LoadVideo", "Animate")}
    assert all(":" in node for node in within.values()), "ids of the nodes inside"
    made = {key: queued[within["LoadVideo"]]["inputs"][key] for key in ("file", "limit", "width", "height")}
    made |= {key: queued[within["Animate"]]["inputs"][key] for key in ("seed", "steps")}
    assert made | {"text": values["text"]} == values
    assert values["text"] in {queued[node]["inputs"]["text"] for node in graphs.nodes_of(queued, f"{KIT}CachedPrompt")}
    workflows.shrink(queued, files, 5)
    entry = finished(host_server, page.evaluate(QUEUE, queued))
    (item,) = [item for item in entry["outputs"][graphs.node_of(queued, "SaveVideo")]["images"]]
    with av.open(io.BytesIO(host_server.fetch(item))) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert len(frames) == 5 and frames[0].std() > 5
    page.wait_for_timeout(1500)
    page.screenshot(path=Path(os.environ.get("WAN_ANIMATE_SCREENSHOTS") or tmp_path) / f"blueprint-{name}.png")
    page.evaluate("app.canvas.setGraph(app.graph.nodes.find(node => node.subgraph).subgraph)")
    page.wait_for_timeout(1500)
    try:
        shown = page.evaluate(INSIDE)
        page.screenshot(path=Path(os.environ.get("WAN_ANIMATE_SCREENSHOTS") or tmp_path) / f"inside-{name}.png")
    finally:
        page.evaluate("app.canvas.setGraph(app.rootGraph ?? app.graph)")
    assert shown["segments"] == 1 and shown["pictures"] > 0, "the panels inside show what was made"
    assert shown["waits"].startswith("waits for Detect Pose and Face, "), "and what they wait for"


INSIDE = """() => {
    const roots = app.canvas.graph.nodes.map(node => [node.type, node.widgets?.find(w => w.name === 'below')?.element])
        .filter(([, host]) => host).map(([type, host]) => [type, host.shadowRoot]);
    const animate = roots.find(([type]) => type === 'WanAnimateKitAnimate')[1];
    const say = (name, detail) => app.api.dispatchEvent(new CustomEvent(name, { detail }));
    const outer = (app.rootGraph ?? app.graph).nodes.find(node => node.subgraph);
    const id = `${outer.id}:${outer.subgraph.nodes.find(node => node.type === 'WanAnimateKitDetectPose').id}`;
    say('progress_state', { prompt_id: 'next', nodes: { [id]: { state: 'running', display_node_id: id } } });
    const waits = animate.querySelector('.status .text').textContent;
    say('execution_success', { prompt_id: 'next' });
    return {
        waits,
        segments: animate.querySelectorAll('.segment.done').length,
        pictures: roots.reduce((sum, [, root]) => sum + root.querySelectorAll('.pictures img').length, 0),
    };
}"""
