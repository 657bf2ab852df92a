"""What a creator sees of the workflows in the host's real frontend: templates with pictures, apps, subgraphs, and a
page on which nothing lies on anything after a run either."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from demo.host import PACK_NAME
from demo.importing import ROOT
from demo.workflows.catalog import APPS, BLUEPRINTS, TITLES

from ..support import workflows
from .test_frontend import FAULTS, LOAD, page, workflow  # noqa: F401  (a fixture)

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
QUEUE = """async graph => {
    const answer = await app.api.queuePrompt(0, {output: graph, workflow: app.graph.serialize()});
    return answer.prompt_id;
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


def wait_for(host_server, prompt: str) -> dict:
    for _ in range(180):
        if entry := host_server.get(f"/history/{prompt}").get(prompt):
            assert entry["status"]["status_str"] == "success", entry["status"]
            return entry
        time.sleep(0.5)
    raise AssertionError("the run did not end")


@pytest.mark.parametrize("name", ["animate", "replace_crop", "long_clip"])
def test_nothing_lies_on_anything_after_a_run(page, host_server, files, name):  # noqa: F811
    """The canvas shows the pictures of a small run of the same nodes."""
    found = {}
    try:
        for new in (False, True):
            use_new_nodes(page, new)
            graph = workflow(name)
            for node in graph["nodes"]:
                if node["type"] == "WanAnimateKitLoadVideo":
                    node["widgets_values"][0] = files["video"]
            page.evaluate(LOAD, graph)
            page.evaluate(FIT_ALL)
            page.wait_for_timeout(1500)
            before = page.evaluate(OVERLAPS, new)
            # another seed: an entry of the cache shows no picture
            small = workflows.small_graph(name, files, 5 + new)
            wait_for(host_server, page.evaluate(QUEUE, small))
            page.wait_for_timeout(2500)
            shown = page.evaluate("Object.keys(app.nodeOutputs).length")
            assert shown >= 4
            found[new] = before, page.evaluate(OVERLAPS, new)
    finally:
        use_new_nodes(page, False)
    assert found == {False: ([], []), True: ([], [])}


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


@pytest.mark.parametrize("name", list(APPS))
def test_an_app_opens_with_its_widgets(page, tmp_path, name):  # noqa: F811
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
    page.screenshot(path=tmp_path / "app.png")
    assert page.evaluate("app.graph.extra.linearData.inputs.length") == len(graph["extra"]["linearData"]["inputs"])


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
