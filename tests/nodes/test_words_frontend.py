"""What people type and read, in the host's real frontend: searches, names on the canvas, Chinese, graphs of before."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from demo.importing import ROOT
from wan_animate.text import found_too_little

from ..video.test_video_hdr import hdr_clip
from .test_frontend import FAULTS, LOAD, SETTINGS, page, workflow  # noqa: F401

SEARCHES = {
    "face swap": "WanAnimateKitAnimate",
    "character swap": "WanAnimateKitAnimate",
    "long video": "WanAnimateKitAnimate",
    "mimic motion": "WanAnimateKitAnimate",
    "animate anyone": "WanAnimateKitAnimate",
    "mask person": "WanAnimateKitSegmentCharacter",
    "points editor": "WanAnimateKitSegmentCharacter",
    "sam2": "WanAnimateKitLoadSegmenter",
    "video combine": "WanAnimateKitSaveClip",
}


def search_box(page):  # noqa: F811
    """The box that a double click on the canvas opens."""
    box = page.locator("[role=dialog] input[type=text]:visible").first
    for attempt in range(5):
        page.mouse.move(900 + 40 * attempt, 500)
        page.mouse.dblclick(1000 + 40 * attempt, 600)
        page.wait_for_timeout(1000)
        if box.count():
            return box
    raise AssertionError("a double click opens no search")


@pytest.mark.parametrize("words", SEARCHES)
def test_a_search_finds_the_node_first(page, words):  # noqa: F811
    page.evaluate("app.graph.clear()")
    search_box(page).fill(words)
    page.wait_for_timeout(700)
    options = page.locator("[role=option]:visible").all_inner_texts()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    name = page.evaluate("id => LiteGraph.registered_node_types[id].title", SEARCHES[words])
    assert options and name in options[0], (words, options[:3])


SHOWN = """type => {  // the graph is not cleared: the frontend keeps what it knows of a widget by the node's id
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    return {
        title: node.title,
        inputs: Object.fromEntries(node.inputs.map(i => [i.name, i.label ?? i.localized_name ?? i.name])),
        widgets: Object.fromEntries(node.widgets.map(w => [w.name, w.label ?? w.name])),
        advanced: node.widgets.filter(w => w.advanced || w.options?.advanced).map(w => w.name),
    };
}"""


def test_the_canvas_shows_the_words(page):  # noqa: F811
    shown = page.evaluate(SHOWN, "WanAnimateKitAnimate")
    assert shown["inputs"]["reference_image"] == "reference image"
    assert shown["widgets"]["guidance_frames"] == "previous frames" and shown["widgets"]["fps"] == "fps (0: as pose)"
    assert {"shift", "scheduler", "sampler_name", "segment_length", "fps", "color"} <= set(shown["advanced"])
    accelerate = page.evaluate(SHOWN, "WanAnimateKitAccelerate")
    assert len(accelerate["advanced"]) == len(accelerate["widgets"]) == 6
    detect = page.evaluate(SHOWN, "WanAnimateKitDetectPose")
    panel = "below"  # of js/panel.js
    assert set(detect["widgets"]) - set(detect["advanced"]) - {panel} == {"person"}


BECOMES = """async ([width, height]) => {
    app.graph.clear();
    const node = LiteGraph.createNode('WanAnimateKitLoadVideo');
    app.graph.add(node);
    const set = (name, value) => {
        const widget = node.widgets.find(w => w.name === name);
        widget.value = value;
        widget.callback?.(value);
    };
    set('file', width ? 'driver.mp4' : '');
    set('width', width);
    set('height', height);
    const line = node.widgets.find(w => w.name === 'becomes');
    line.value = '';  // the frontend keeps it by the node's id
    for (let i = 0; i < 50 && !line.value; i++) await new Promise(done => setTimeout(done, 100));
    return [line.value, node.serialize().widgets_values];
}"""


def test_the_line_under_a_video_says_what_it_becomes(page, host_server):  # noqa: F811
    from wan_animate.video.source import VideoSource

    for width, height in ((832, 480), (320, 192)):
        made = VideoSource(host_server.base_dir / "input" / "driver.mp4", fps=30, max_area=width * height)
        seconds = len(made) / float(made.fps)
        said, saved = page.evaluate(BECOMES, [width, height])
        assert said == f"{made.width} x {made.height}, {len(made)} frames, {seconds:.1f} s"
        assert said not in saved, "a graph keeps its widgets in their places"
    assert page.evaluate(BECOMES, [0, 0])[0] == "no video yet: upload or choose one"


NOTES = """async file => {
    app.graph.clear();
    const node = LiteGraph.createNode('WanAnimateKitLoadVideo');
    app.graph.add(node);
    for (const [name, value] of Object.entries({fps: 30, width: 832, height: 480}))
        node.widgets.find(w => w.name === name).value = value;  // the frontend keeps a former node's by its id
    const set = async (name, count) => {
        const notes = () => node.widgets.filter(w => w.name === 'notes').map(w => w.element);
        const widget = node.widgets.find(w => w.name === 'file');
        widget.value = name;
        widget.callback?.(name);
        const line = node.widgets.find(w => w.name === 'becomes');
        line.value = '';
        for (let i = 0; i < 100 && !(line.value && notes().length === count); i++)
            await new Promise(done => setTimeout(done, 100));  // an earlier name's answer may come first
        app.canvas.draw(true, true);
        await new Promise(done => setTimeout(done, 500));
        return notes().map(e => [e.shadowRoot.textContent.split('}').pop(), e.getBoundingClientRect().height]);
    };
    const before = await set('driver.mp4', 0), hdr = await set(file, 1), saved = node.serialize().widgets_values;
    return [before, hdr, saved, await set('driver.mp4', 0)];
}"""


def test_what_a_video_is_converted_from_stands_on_the_node(page, host_server, tmp_path):  # noqa: F811
    clip = host_server.upload(hdr_clip(tmp_path / "phone.mp4", count=2))
    before, hdr, saved, after = page.evaluate(NOTES, clip)
    assert before == after == [], "no room is taken for nothing"
    ((words, height),) = hdr
    assert "phone.mp4' is HDR (HLG, BT.2020): it is brought to SDR" in words and height > 10
    assert not any("HDR" in str(value) for value in saved), "a graph keeps its widgets in their places"


@pytest.mark.parametrize(
    "query, says",
    [
        ("file=../../x.mp4&fps=30&width=832&height=480&start=0&limit=0", "no such video"),
        ("file=driver.mp4&fps=x&width=832&height=480&start=0&limit=0", "not a number"),
        ("file=driver.mp4&fps=30&width=1&height=480&start=0&limit=0", "out of its range"),
        ("file=driver.mp4&fps=30&width=832&height=480&start=9999&limit=0", "start is frame 9999"),
    ],
)
def test_the_line_is_refused_in_a_sentence(page, host_server, query, says):  # noqa: F811
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(f"{host_server.url}/wan_animate_kit/video?{query}")
    assert told.value.code == 400 and says in json.loads(told.value.read())["error"]


def graph_of_before(name: str) -> dict:
    """The workflow as version 0.1.0 saved it: inputs in the order that they had, links by their places."""
    graph = workflow(name)
    for node in graph["nodes"]:
        if node["type"] != "WanAnimateKitAnimate":
            continue
        slots = {slot["name"]: slot for slot in node["inputs"]}
        for added in ("driving_video",):
            slots.pop(added, None)
        order = ["model", "positive", "negative", "vae", "reference_image", "pose"]
        node["inputs"] = [slots.pop(one) for one in order if one in slots] + list(slots.values())
        for at, slot in enumerate(node["inputs"]):
            for link in graph["links"]:
                if link[0] == slot.get("link"):
                    link[4] = at
    return graph


@pytest.mark.parametrize("name", ["animate", "replace"])
def test_a_graph_of_before_queues_the_same(page, name):  # noqa: F811
    queued = []
    for graph in (workflow(name), graph_of_before(name)):
        page.evaluate(LOAD, graph)
        assert page.evaluate(FAULTS) == []
        queued.append(page.evaluate("app.graphToPrompt().then(prompt => prompt.output)"))
    assert queued[0] == queued[1] and any("positive" in node["inputs"] for node in queued[0].values())


IN_CHINESE = [  # of the panel; sentences that it does not know stay as they are
    (["segment 2 of 5: sampling, step 3 of 20"], "第 2/5 段：采样第 3/20 步"),
    (["segment 1 of 5: loading the VAE, encoding"], "第 1/5 段：加载 VAE，编码"),
    (["Finding the pose: 3 of 77 frames"], "检测姿态：3/77 帧"),
    (["waits for {0}, {1}", "CLIP Vision Encode", "7 秒"], "等待“CLIP Vision Encode”，7 秒"),
    (["segment {0}: {1}, frames {2} to {3}, seed {4}", 3, "待做", 10, 20, 7], "第 3 段：待做，第 10 至 20 帧，种子 7"),
    (["Go on from segment {0}", 4], "从第 4 段继续"),
    (["no boundary between segments shows"], "no boundary between segments shows"),
]
WARNING = found_too_little(np.arange(18) < 2)
# What a node shows of a warning that the server sends.
WARNED = """warning => {
    const node = app.graph.nodes.find(node => node.type === 'WanAnimateKitDrawPose');
    node.onExecuted({ wan_animate_kit: [{ warnings: [warning] }] });
    return node.widgets.find(w => w.name === 'below').element.shadowRoot.querySelector('.warnings').textContent;
}"""
SAID = """async words => {
    const { say } = await import('/extensions/ComfyUI-WanAnimateKit/language/say.js');
    return words.map(one => say(...one));
}"""
LASTS = """async seconds => {
    const { duration } = await import('/extensions/ComfyUI-WanAnimateKit/panel/dom.js');
    return seconds.map(duration);
}"""
HINTS = """() => app.graph.nodes.map(node => node.widgets?.find(w => w.name === 'below')?.element?.shadowRoot)
    .filter(Boolean).map(root => root.querySelector('.hint').textContent).filter(Boolean)"""


def test_in_chinese(page, host_server, tmp_path):  # noqa: F811
    words = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    host_server.post("/settings/Comfy.Locale", "zh")
    try:
        page.reload()
        page.wait_for_function("window.app?.graph && window.LiteGraph && app.extensionManager", timeout=120_000)
        page.wait_for_function("'WanAnimateKitAnimate' in LiteGraph.registered_node_types", timeout=120_000)
        page.wait_for_timeout(2000)
        for node in ("WanAnimateKitAnimate", "WanAnimateKitShapeMask", "WanAnimateKitLoadVideo"):
            shown = page.evaluate(SHOWN, node)
            assert shown["title"] == words[node]["display_name"]
            names = shown["inputs"] | shown["widgets"]
            expected = {name: one["name"] for name, one in words[node]["inputs"].items()}
            assert {name: names[name] for name in expected} == expected
        assert page.evaluate(SAID, [one for one, _ in IN_CHINESE]) == [chinese for _, chinese in IN_CHINESE]
        assert page.evaluate(LASTS, [7, 120, 250, 7500]) == ["7 秒", "2 分", "4 分 10 秒", "2 小时 5 分"]
        page.evaluate(LOAD, workflow("replace"))
        hints = page.evaluate(HINTS)
        assert page.evaluate(WARNED, WARNING).startswith("⚠ 18 帧中只有 2 帧找到了身体（0-1）；")
        assert len(hints) > 5 and not any(re.search("[a-z]{3}", hint) for hint in hints), hints
        page.evaluate("app.canvas.ds.scale = 0.6; app.canvas.ds.offset = [100, 150]; app.canvas.setDirty(true, true)")
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(os.environ.get("WAN_ANIMATE_SCREENSHOTS") or tmp_path) / "chinese.png")
        help_page = page.evaluate(
            "fetch('/extensions/ComfyUI-WanAnimateKit/docs/WanAnimateKitAnimate/zh.md').then(r => r.text())"
        )
        assert help_page.startswith(f"# {words['WanAnimateKitAnimate']['display_name']}\n")
    finally:
        host_server.post("/settings/Comfy.Locale", "en")
        page.reload()
        page.wait_for_function("window.app?.graph && window.LiteGraph && app.extensionManager", timeout=120_000)
