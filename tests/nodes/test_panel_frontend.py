"""The panel below the nodes in the host's real frontend, in both renderers, on the shipped layout: a job is followed,
stopped, resumed and made again in part; no node grows; what must be known stands on the nodes.

``WAN_ANIMATE_SCREENSHOTS=folder`` keeps the pictures from before, during and after the runs.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import av
import numpy as np
import pytest

from demo import graphs
from demo import small_models as small
from demo.example import clip_at_hand
from wan_animate.pose.track import PoseTrack

from ..support.figures import dancer_keypoints
from .test_frontend import FLAGS, SETTINGS, chromium, workflow

KIT = graphs.KIT
LENGTH, FRAMES, STEPS, SEED = 5, 9, 2, 400
SEGMENTS = 2
GONE = ("CLIPLoader", "CLIPVisionLoader", "CLIPVisionEncode")

SET = """({ type, values }) => {
    for (const node of app.graph.nodes.filter(node => node.type === type))
        for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value;
}"""
BOXES = "Object.fromEntries(app.graph.nodes.map(node => [node.title + ' ' + node.id, [...node.boundingRect]]))"
# {type: words} of the panels that are busy: the phase, and of a job the seconds that are left.
STATUS = """() => Object.fromEntries(app.graph.nodes
    .map(node => [node.type.replace('WanAnimateKit', ''), node.widgets?.find(w => w.name === 'below')?.element])
    .map(([type, host]) => [type, host?.shadowRoot])
    .filter(([, root]) => root && !root.querySelector('.status').hidden)
    .map(([type, root]) => [type, root.querySelector('.status .text').textContent
        + (root.querySelector('.timeline').hidden ? '' : ' | ' + root.querySelector('.about .said').textContent)]))"""
PANEL = "app.graph.nodes.find(node => node.type === '{}').widgets.find(w => w.name === 'below').element.shadowRoot"
FIT = """() => {
    const boxes = app.graph.nodes.map(node => node.boundingRect), view = app.canvas.ds;
    const left = Math.min(...boxes.map(b => b[0])), top = Math.min(...boxes.map(b => b[1]));
    view.scale = 0.62;
    view.offset = [80 / 0.62 - left, 90 / 0.62 - top];
    app.canvas.setDirty(true, true);
}"""


def small_workflow() -> dict:
    """The shipped animate workflow for the small weights: a saved prompt, no CLIP vision, the driver's own skeleton."""
    graph = workflow("animate")
    kept = [node for node in graph["nodes"] if node["type"] not in GONE]
    ids = {node["id"] for node in kept}
    graph["nodes"] = kept
    graph["links"] = [link for link in graph["links"] if link[1] in ids and link[3] in ids]
    links = {link[0] for link in graph["links"]}
    for node in kept:
        for slot in node["inputs"]:
            slot["link"] = slot.get("link") if slot.get("link") in links else None
        if node["type"] == f"{KIT}CachedPrompt":
            node["type"], node["inputs"], node["widgets_values"] = f"{KIT}LoadPrompt", [], [small.PROMPT_NAME]
            node["properties"]["Node name for S&R"] = node["type"]
        if node["type"] == f"{KIT}RetargetPose":
            node["mode"] = 4  # bypassed
        if node.get("title", "").startswith("Detect Pose and Face ("):
            node["mode"] = 2  # never run: the small detectors find nobody in the drawn picture
    return graph


@pytest.fixture(scope="module")
def files(host_server, tmp_path_factory):
    """(video, picture, detectors), uploaded."""
    video, picture, detectors = clip_at_hand(tmp_path_factory.mktemp("example"))
    return host_server.upload(video, "panel_driver.mp4"), host_server.upload(picture, "panel_character.png"), detectors


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    path = chromium()
    with playwright.sync_playwright() as engine:
        if path is None and not Path(engine.chromium.executable_path).exists():
            pytest.skip("no Chromium: install one (apt install chromium) or set CHROMIUM_PATH")
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Canvas:
    """A page with the small workflow in one renderer and theme."""

    def __init__(self, browser, server, files, vue: bool, light: bool, seed: int):
        self.server, self.name = server, f"{'vue' if vue else 'litegraph'}-{'light' if light else 'dark'}"
        palette = {"Comfy.VueNodes.Enabled": vue, "Comfy.ColorPalette": "light" if light else "dark"}
        for name, value in (SETTINGS | palette).items():
            server.post(f"/settings/{name}", value)
        self.page = browser.new_page(viewport={"width": 2300, "height": 1250})
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.open()
        self.page.evaluate("graph => app.loadGraphData(graph)", small_workflow())
        self.page.wait_for_timeout(2000)
        video, picture, detectors = files
        detector, pose = small.DETECTION[detectors]
        for kind, values in (
            ("LoadImage", {"image": picture}),
            (f"{KIT}LoadVideo", {"file": video, "fps": 30, "width": 128, "height": 80, "limit": FRAMES}),
            (f"{KIT}LoadPoseDetector", {"detector": detector, "pose_model": pose}),
            (f"{KIT}LoadModel", {"model": small.TRANSFORMER_NAME}),
            (f"{KIT}ApplyLora", {"lora": small.LORA_NAME}),
            ("VAELoader", {"vae_name": small.VAE_NAME}),
            (f"{KIT}Animate", {"segment_length": LENGTH, "steps": STEPS, "sampler_name": "euler", "seed": seed}),
        ):
            self.page.evaluate(SET, {"type": kind, "values": values})
        # as a saved graph of these files is opened: the frontend has missed the shipped ones
        self.page.evaluate("app.loadGraphData(app.graph.serialize())")
        self.page.wait_for_timeout(1500)
        self.page.evaluate(FIT)
        self.page.wait_for_timeout(1000)

    def open(self):
        self.page.goto(self.server.url, wait_until="domcontentloaded")
        self.page.wait_for_function("window.app?.graph && app.extensionManager", timeout=120_000)
        known = "'WanAnimateKitAnimate' in (window.LiteGraph?.registered_node_types ?? {})"
        self.page.wait_for_function(known, timeout=120_000)
        self.page.wait_for_timeout(1500)

    def queue(self):
        self.page.evaluate("() => { app.queuePrompt(0); }")

    def panel(self, what: str, kind: str = f"{KIT}Animate"):
        return self.page.evaluate(f"(() => {{ const panel = {PANEL.format(kind)}; return {what}; }})()")

    def states(self) -> list[str]:
        return self.panel("[...panel.querySelectorAll('.segment')].map(one => one.className.split(' ')[1])")

    def watch(self, until, timeout: float = 400) -> list[tuple[float, dict]]:
        """What the panels said and when, until ``until(said)``."""
        began, seen = time.monotonic(), []
        while time.monotonic() - began < timeout:
            said = self.page.evaluate(STATUS)
            if not seen or seen[-1][1] != said:
                seen.append((time.monotonic() - began, said))
            if until(said):
                return seen
            time.sleep(0.1)
        raise AssertionError(f"it took too long: {seen[-5:]}\n{self.server.log_tail()}")

    def run(self) -> list[tuple[float, dict]]:
        self.queue()
        began = time.monotonic()
        return self.watch(lambda _: time.monotonic() - began > 2 and self.server.is_idle())

    def picture(self, moment: str):
        folder = os.environ.get("WAN_ANIMATE_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{self.name}-{moment}.png")


@pytest.fixture(scope="module")
def canvas(browser, host_server, files):
    """Makes canvases; each is closed when the next is made."""
    made = []

    def make(*settings):
        while made:
            made.pop().page.close()
        made.append(Canvas(browser, host_server, files, *settings))
        return made[-1]

    yield make
    for one in made:
        one.page.close()
    for name, value in (("Comfy.VueNodes.Enabled", False), ("Comfy.ColorPalette", "dark")):
        host_server.post(f"/settings/{name}", value)


def lying_on_each_other(boxes: dict) -> list[tuple[str, str]]:
    def apart(a, b):
        return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]

    names = list(boxes)
    return [(a, b) for at, a in enumerate(names) for b in names[:at] if not apart(boxes[a], boxes[b])]


@pytest.mark.parametrize("light", [False, True], ids=["dark", "light"])
@pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])
def test_a_run_is_followed_and_no_node_grows(canvas, vue, light):
    at = canvas(vue, light, SEED + vue + 40 * light)
    before = at.page.evaluate(BOXES)
    assert not lying_on_each_other(before)
    at.server.forget()
    at.picture("before")
    seen = at.run()
    at.page.wait_for_timeout(2500)
    at.picture("after")

    first = next(when for when, said in seen if said)
    assert first < 2, "a sign of what is happening"
    gaps = [later - earlier for (earlier, _), (later, _) in zip(seen, seen[1:])]
    assert max(gaps) < 10, seen
    words = [said["Animate"] for _, said in seen if "Animate" in said]
    for phase in (
        "waits for ",
        "loading the VAE",
        "loading the model",
        "segment 2 of 2: encoding",
        "sampling, step 1 of",
    ):
        assert any(phase in each for each in words), (phase, words)
    detected = [said["DetectPose"] for _, said in seen if "DetectPose" in said]
    assert any(re.match(r"loading the models|Finding the pose: \d of", each) for each in detected), detected

    after = at.page.evaluate(BOXES)
    assert not lying_on_each_other(after)
    ours = [name for name in before if not name.startswith("Save Video")]
    assert {name: after[name][3] for name in ours} == pytest.approx({name: before[name][3] for name in ours}, abs=1)

    assert at.states() == ["done"] * SEGMENTS and at.page.evaluate(STATUS) == {}
    shown = [
        at.panel("panel.querySelectorAll('.pictures img').length", f"{KIT}{kind}") for kind in ("CleanPose", "DrawPose")
    ]
    assert shown == [1, 1]
    assert at.errors == []


ALONE = """async file => {
    const [load, draw] = ['LoadPoseTrack', 'DrawPose'].map(name => LiteGraph.createNode('WanAnimateKit' + name));
    app.graph.clear();
    app.graph.add(load); app.graph.add(draw);
    load.pos = [100, 150]; draw.pos = [560, 150];
    load.widgets.find(w => w.name === 'file').value = file;
    load.connect(0, draw, 0);
    await new Promise(done => setTimeout(done, 1000));
    await app.queuePrompt(0, 1, [String(draw.id)]);
}"""
WARNED = """() => app.graph.nodes.map(node => node.widgets.find(w => w.name === 'below').element.shadowRoot)
    .map(panel => [panel.querySelector('.warnings').innerText, panel.querySelectorAll('.pictures img').length])"""


@pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])
def test_a_node_runs_alone_and_says_what_must_be_known(canvas, host_server, tmp_path, vue):
    """A person who is found in 2 of 18 frames: words on both nodes that know it, no model loaded."""
    keypoints = dancer_keypoints(np.arange(18) / 30, 160, 96)
    keypoints[2:] = 0
    PoseTrack(keypoints, 160, 96).save(tmp_path / "rarely.npz")
    host_server.upload(tmp_path / "rarely.npz", "panel_rarely.npz")
    at = canvas(vue, vue, SEED)
    at.page.evaluate(ALONE, "panel_rarely.npz")
    before = at.page.evaluate(BOXES)
    at.page.wait_for_function(f"({WARNED})().every(([words]) => words)", timeout=60_000)
    at.page.wait_for_timeout(1000)
    warned = at.page.evaluate(WARNED)
    assert all("a body was found in 2 of 18 frames (0-1)" in words and pictures == 1 for words, pictures in warned)
    heights = [{name: box[3] for name, box in boxes.items()} for boxes in (at.page.evaluate(BOXES), before)]
    assert heights[0] == pytest.approx(heights[1])
    at.picture("warned")
    for _ in range(2):  # everything is kept: the run ends before the page has asked what runs
        at.page.evaluate("app.queuePrompt(0, 1, [String(app.graph.nodes[1].id)])")
        at.page.wait_for_timeout(3500)
        assert at.page.evaluate(STATUS) == {}, "nothing is queued any more"


SAY = """({ prompt, graph, words }) => {
    const node = app.graph.nodes.find(node => node.type === 'WanAnimateKitAnimate'), id = String(node.id);
    const say = (name, detail) => app.api.dispatchEvent(new CustomEvent(name, { detail }));
    say('wan_animate_kit.phase', { prompt_id: prompt, workflow: graph ?? app.graph.id, node: id, text: words });
    say('progress_state', { prompt_id: prompt, nodes: { [id]: { state: 'running', display_node_id: id } } });
    const root = node.widgets.find(w => w.name === 'below').element.shadowRoot;
    return root.querySelector('.status').hidden ? '' : root.querySelector('.status .text').textContent;
}"""


def test_another_graphs_job_is_not_shown_on_a_node_of_the_same_number(canvas):
    at = canvas(False, False, SEED)
    assert at.page.evaluate(SAY, {"prompt": "a", "graph": "another", "words": "of another graph"}) == ""
    assert at.page.evaluate(SAY, {"prompt": "b", "graph": None, "words": "of this graph"}) == "of this graph"
    assert at.page.evaluate(SAY, {"prompt": "c", "graph": "another", "words": "of another graph"}) == ""
    at.page.evaluate("app.api.dispatchEvent(new CustomEvent('execution_success', { detail: { prompt_id: 'c' } }))")
    assert at.page.evaluate(STATUS) == {}


def test_driver_and_clip_are_compared(canvas):
    at = canvas(False, False, SEED)  # the clip is there already
    at.run()
    at.page.wait_for_timeout(1500)
    sizes = at.panel("[...panel.querySelectorAll('video')].map(video => [video.videoWidth, video.duration])")
    assert all(width > 0 for width, _ in sizes) and sizes[1][1] == pytest.approx(FRAMES / 30, abs=0.05)
    assert at.panel("panel.querySelector('.view').className") == "view side"
    slider = at.panel("+panel.querySelector('.controls input').max")
    assert slider == FRAMES - 1
    at.panel("(() => { const at = panel.querySelector('.controls input'); at.value = 6; at.oninput(); })()")
    at.page.wait_for_timeout(800)
    clip, driver = (
        at.panel(f"panel.querySelector('figure.{kind} video').currentTime") for kind in ("result", "driver")
    )
    assert clip == pytest.approx(6.5 / 30, abs=0.004) and driver == pytest.approx(clip, abs=0.004), "the same frame"
    at.panel("panel.querySelector('.controls button[title*=wiped]').click()")
    assert at.panel("panel.querySelector('.view').className") == "view wipe"
    for key, share in (("ArrowLeft", "48%"), ("Home", "0%"), ("End", "100%")):
        at.panel(f"panel.querySelector('.handle').dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}' }}))")
        assert at.panel("panel.querySelector('.view').style.getPropertyValue('--at')") == share
    at.picture("wipe")


def test_a_stopped_job_goes_on_and_a_segment_is_made_again(canvas, host_server):
    at = canvas(False, False, SEED + 10)
    at.page.evaluate(SET, {"type": f"{KIT}Animate", "values": {"control_after_generate": "randomize"}})
    at.queue()
    at.watch(lambda said: "segment 2" in said.get("Animate", ""))
    host_server.interrupt()
    at.watch(lambda _: host_server.is_idle())
    at.page.wait_for_timeout(1000)
    assert at.states() == ["done", "todo"], "what was kept is shown"
    assert "a run goes on from there" in at.panel("panel.querySelector('.about .said').textContent")
    at.picture("stopped")
    seed = "app.graph.nodes.find(n => n.type === 'WanAnimateKitAnimate').widgets.find(w => w.name === 'seed').value"
    assert at.page.evaluate(seed) != SEED + 10, "the frontend has drawn another"

    at.panel("[...panel.querySelectorAll('.about button')].find(each => each.textContent.startsWith('Go on')).click()")
    resumed: set[tuple[str, ...]] = set()

    def until(said):
        resumed.add(tuple(at.states()))
        return at.states() == ["done", "done"] and host_server.is_idle()

    at.watch(until)
    at.page.wait_for_timeout(1500)
    assert not any(states[0] == "running" for states in resumed), "the first segment is not made again"
    assert ("done", "running") in resumed and at.page.evaluate(seed) == SEED + 10, "the same clip"

    before = at.page.evaluate(BOXES)
    first = clip_file(host_server, at)
    at.panel("panel.querySelectorAll('.segment')[0].click()")
    assert "Segment 1: frames 0 to" in at.panel("panel.querySelector('.about .said').textContent")
    at.panel("[...panel.querySelectorAll('.about button')].find(each => each.textContent === 'Make again').click()")
    at.watch(lambda _: not host_server.is_idle(), timeout=30)
    at.watch(lambda _: host_server.is_idle())
    at.page.wait_for_timeout(1500)
    made = at.page.evaluate(
        """Object.fromEntries(app.graph.nodes.find(n => n.type === 'WanAnimateKitClipOptions').widgets
            .map(w => [w.name, w.value]))"""
    )
    assert re.fullmatch(r"1:\d+", made["segment_seeds"]) and made["keep_rest"] is True
    assert at.panel("panel.querySelectorAll('.segment')[0].title").endswith(made["segment_seeds"][2:])
    after = at.page.evaluate(BOXES)
    assert not lying_on_each_other(after) and len(after) == len(before) + 1
    again = clip_file(host_server, at)
    assert again != first and frames_of(again) == frames_of(first) == FRAMES
    at.picture("made-again")
    assert at.errors == []


def clip_file(server, at: Canvas) -> bytes:
    url = at.panel("panel.querySelector('figure.result video').src")
    return server.request(url.removeprefix(server.url).replace("/api/", "/"))


def frames_of(clip: bytes) -> int:
    import io

    with av.open(io.BytesIO(clip)) as file:
        return sum(1 for _ in file.decode(video=0))


def test_an_open_page_that_is_loaded_again_still_knows(canvas, host_server):
    """The page is loaded anew while the job runs: segments and phase come back."""
    at = canvas(True, False, SEED + 20)
    at.queue()
    at.watch(lambda said: "segment 2" in said.get("Animate", ""))
    at.open()
    # the segments come a moment after the phase
    seen = at.watch(
        lambda said: ("segment 2" in said.get("Animate", "") and at.states()) or host_server.is_idle(), timeout=60
    )
    assert "segment 2" in seen[-1][1].get("Animate", ""), seen
    assert at.states()[0] == "done"
    at.watch(lambda _: host_server.is_idle())
    at.page.wait_for_timeout(1500)
    assert at.states() == ["done", "done"]
    at.picture("loaded-again")
