"""The workflows in the host's real frontend, in a headless Chromium.

``WAN_ANIMATE_SCREENSHOTS=docs python -m pytest tests/nodes/test_frontend.py`` renews the README's pictures.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.importing import ROOT
from demo.workflows.catalog import TITLES

WORKFLOWS = tuple(TITLES)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # or the gallery of templates covers the graph
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
# Loads a workflow as dropping its file on the canvas does, and waits until its pictures are there.
LOAD = """async workflow => {
    await app.loadGraphData(workflow);
    await new Promise(done => setTimeout(done, 1500));
}"""
# Everything that would show as red: types nobody registered, nodes and slots in error, links that lead nowhere or join
# slots of different types, dialogs (missing nodes, missing models).
FAULTS = """() => {
    const faults = [], graph = app.graph;
    for (const node of graph.nodes) {
        if (!(node.type in LiteGraph.registered_node_types)) faults.push(`no such node: ${node.type}`);
        if (node.has_errors) faults.push(`in error: ${node.type}`);
        for (const slot of [...(node.inputs ?? []), ...(node.outputs ?? [])])
            if (slot.hasErrors) faults.push(`slot in error: ${node.type}.${slot.name}`);
        for (const input of node.inputs ?? [])
            if (input.link != null && !graph.links.get(input.link))
                faults.push(`lost link: ${node.type}.${input.name}`);
    }
    for (const link of graph.links.values()) {
        const from = graph.getNodeById(link.origin_id)?.outputs[link.origin_slot];
        const to = graph.getNodeById(link.target_id)?.inputs[link.target_slot];
        if (!from || !to) faults.push(`link ${link.id} leads nowhere`);
        else if (!LiteGraph.isValidConnection(from.type, to.type))
            faults.push(`link ${link.id}: ${from.type} to ${to.type}`);
    }
    for (const dialog of document.querySelectorAll('[role=dialog]'))
        if (dialog.getClientRects().length) faults.push(`dialog: ${dialog.innerText.slice(0, 200)}`);
    return faults;
}"""
FIT = """() => {
    const boxes = [...app.graph.groups.map(g => g._bounding), ...app.graph.nodes.map(n => n.boundingRect)];
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
    const right = Math.max(...boxes.map(b => b[0] + b[2])), bottom = Math.max(...boxes.map(b => b[1] + b[3]));
    const view = app.canvas.ds, scale = 0.8, bar = 70, tabs = 112;
    view.scale = scale;
    view.offset = [bar / scale - left, tabs / scale - top];
    app.canvas.setDirty(true, true);
    return [bar - 8, tabs - 8, (right - left) * scale + 16, (bottom - top) * scale + 16];
}"""


def chromium() -> str | None:
    named = os.environ.get("CHROMIUM_PATH")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return named or next((path for path in map(shutil.which, names) if path), None)


def workflow(name: str) -> dict:
    return json.loads((ROOT / "workflows" / f"{TITLES[name]}.json").read_text(encoding="utf-8"))


def api_workflow(name: str) -> dict:
    return json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))


def models(graph: dict) -> list[dict]:
    return [model for node in graph["nodes"] for model in node["properties"].get("models", [])]


@pytest.fixture(scope="module")
def page(host_server, tmp_path_factory):
    """The app, opened; the models that the workflows name are there as empty files, the picture and a video too."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    path = chromium()
    placeholders = [
        host_server.base_dir / "models" / model["directory"] / model["name"]
        for name in WORKFLOWS
        for model in models(workflow(name))
    ]
    made = [file for file in placeholders if not file.exists()]
    for file in made:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    # Our own drawn clip, never somebody else's: what it shows goes into the README.
    from demo.example import write_example

    video, picture = write_example(tmp_path_factory.mktemp("example"))
    for file, name in ((picture, "example.png"), (picture, "character.jpeg"), (video, "driver.mp4")):
        host_server.upload(file, name)
    for name, value in SETTINGS.items():
        host_server.post(f"/settings/{name}", value)
    with playwright.sync_playwright() as engine:
        if path is None and not Path(engine.chromium.executable_path).exists():
            pytest.skip(
                "no Chromium: install one (apt install chromium, or playwright install chromium) or set CHROMIUM_PATH"
            )
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 2400, "height": 1200})
        page.goto(host_server.url, wait_until="domcontentloaded")
        page.wait_for_function("window.app?.graph && window.LiteGraph && app.extensionManager", timeout=120_000)
        page.wait_for_function("'WanAnimateKitAnimate' in LiteGraph.registered_node_types", timeout=120_000)
        page.wait_for_timeout(2000)
        yield page
        browser.close()
    for file in made:
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_opens_whole(page, name):
    graph = workflow(name)
    page.evaluate(LOAD, graph)
    assert page.evaluate(FAULTS) == []
    opened = page.evaluate("app.graph.serialize()")
    assert len(opened["nodes"]) == len(graph["nodes"]) and len(opened["links"]) == len(graph["links"])
    values = {node["id"]: node["widgets_values"] for node in opened["nodes"] if node.get("widgets_values")}
    assert values == {node["id"]: node["widgets_values"] for node in graph["nodes"] if node["widgets_values"]}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_api_graph_is_what_the_frontend_would_queue(page, name):
    page.evaluate(LOAD, workflow(name))
    queued = page.evaluate("app.graphToPrompt().then(prompt => prompt.output)")
    for node in queued.values():
        node["inputs"].pop("video-preview", None)  # the frontend's own, for the preview
    assert queued == api_workflow(name)


def test_faults_are_seen(page):
    graph = workflow("animate")
    by_type = {node["type"]: node for node in graph["nodes"]}
    by_type["WanAnimateKitDrawPose"]["type"] = "WanAnimateKitGone"
    load = by_type["WanAnimateKitLoadVideo"]
    wrong = next(link for link in graph["links"] if link[1] == load["id"] and link[5] == "AUDIO")
    wrong[2], wrong[5] = 2, "FLOAT"
    page.evaluate(LOAD, graph)
    faults = " ".join(page.evaluate(FAULTS))
    assert "WanAnimateKitGone" in faults and "FLOAT to AUDIO" in faults
    page.keyboard.press("Escape")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_lies_on_top_of_anything(page, name):
    page.evaluate(LOAD, workflow(name))
    boxes = page.evaluate("app.graph.nodes.map(n => [n.title, ...n.boundingRect])")
    groups = page.evaluate("app.graph.groups.map(g => [g.title, ...g._bounding])")

    def apart(a, b) -> bool:
        return a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1] or a[2] + a[4] <= b[2] or b[2] + b[4] <= a[2]

    for kind in (boxes, groups):
        pairs = [(a[0], b[0]) for at, a in enumerate(kind) for b in kind[:at] if not apart(a, b)]
        assert not pairs, pairs
    for title, x, y, width, height in boxes:
        around = [
            g for g in groups if g[1] <= x and g[2] <= y and x + width <= g[1] + g[3] and y + height <= g[2] + g[4]
        ]
        beside = [g for g in groups if not apart((title, x, y, width, height), g)]
        assert around == beside and len(around) <= 1, title


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_loader_says_where_its_model_comes_from(name):
    linked = {model["name"]: model for model in models(workflow(name))}
    named = {
        value
        for node in api_workflow(name).values()
        for value in node["inputs"].values()
        if isinstance(value, str) and value.endswith((".safetensors", ".onnx"))
    }
    assert set(linked) == named and len(named) >= (2 if name == "more_frames" else 4)
    notes = " ".join(node["widgets_values"][0] for node in workflow(name)["nodes"] if node["type"] == "MarkdownNote")
    for model in linked.values():
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(model["name"])
        assert model["url"] in notes and model["directory"] in notes


def test_the_video_can_be_uploaded_and_is_shown(page):
    page.evaluate(LOAD, workflow("animate"))
    buttons, video = page.evaluate(
        """async () => {
            const node = app.graph.nodes.find(n => n.type === 'WanAnimateKitLoadVideo');
            node.widgets.find(w => w.name === 'file').value = 'driver.mp4';
            node.widgets.find(w => w.name === 'file').callback('driver.mp4');
            for (let i = 0; i < 100 && !document.querySelector('video')?.videoWidth; i++)
                await new Promise(done => setTimeout(done, 100));
            const buttons = node.widgets.filter(w => w.type === 'button').length;
            return [buttons, document.querySelector('video')?.videoWidth ?? 0];
        }"""
    )
    assert buttons == 1 and video > 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_screenshot(page, tmp_path, name):
    graph = workflow(name)
    for node in graph["nodes"]:
        if node["type"] in ("LoadImage", "WanAnimateKitLoadVideo"):
            node["widgets_values"][0] = "character.jpeg" if node["type"] == "LoadImage" else "driver.mp4"
    page.evaluate(LOAD, graph)
    x, y, width, height = page.evaluate(FIT)
    page.set_viewport_size({"width": round(x + width) + 4, "height": round(y + height) + 60})
    page.evaluate(FIT)
    page.wait_for_timeout(2500)
    folder = Path(os.environ.get("WAN_ANIMATE_SCREENSHOTS") or tmp_path)
    path = folder / f"{name}.png"
    page.screenshot(path=path, clip={"x": x, "y": y, "width": width, "height": height})
    picture = cv2.imread(str(path))
    assert picture.shape[1] > 1500 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000
    assert page.evaluate(FAULTS) == []


# Every link as a hand draws it: the frontend refuses slots of other types, and returns null then.
BLANK = """() => {
    app.graph.clear();
    const made = {}, kinds = {
        video: 'WanAnimateKitLoadVideo', finder: 'WanAnimateKitLoadPoseDetector', pose: 'WanAnimateKitDetectPose',
        picture: 'LoadImage', model: 'WanAnimateKitLoadModel', vae: 'VAELoader', animate: 'WanAnimateKitAnimate',
        save: 'SaveVideo',
    };
    Object.entries(kinds).forEach(([name, kind], at) => {
        made[name] = LiteGraph.createNode(kind);
        app.graph.add(made[name]);
        made[name].pos = [500 * (at % 4), 700 * Math.floor(at / 4)];
    });
    const links = [
        ['finder', 'detector', 'pose', 'detector'], ['video', 'frames', 'pose', 'frames'],
        ['pose', 'pose', 'animate', 'pose'], ['pose', 'face', 'animate', 'face'],
        ['picture', 'IMAGE', 'animate', 'reference_image'], ['model', 'model', 'animate', 'model'],
        ['vae', 'VAE', 'animate', 'vae'], ['animate', 'video', 'save', 'video'],
    ].map(([from, output, to, input]) => {
        const slot = made[from].outputs.findIndex(one => one.name.toLowerCase() === output.toLowerCase());
        const into = made[to].inputs.findIndex(one => one.name === input);
        return made[from].connect(slot, made[to], into)?.id ?? null;
    });
    const empty = Object.values(made).flatMap(node => node.inputs
        .filter(input => !input.widget && input.link == null && input.shape !== 7).map(one => `${node.title}: ${one.name}`));
    return { nodes: app.graph.nodes.length, links, empty };
}"""


def test_eight_nodes_and_eight_links_from_a_blank_canvas(page):
    """Nothing that must be connected is left; tests/nodes/test_blank_canvas.py makes a clip of such a graph."""
    made = page.evaluate(BLANK)
    assert made["nodes"] == 8 and len(made["links"]) == 8 and None not in made["links"], made
    assert made["empty"] == [] and page.evaluate(FAULTS) == []
