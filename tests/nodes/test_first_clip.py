"""A first clip as a newcomer makes it: a server that was just started, the models in place (small ones under their
shipped names), the host's real frontend with its own settings, and nothing but clicks of the mouse.

It is followed until its first segment is made: at the shipped size the rest takes a CPU minutes, and the panel's tests
follow whole runs of a small size."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from demo import graphs
from demo.example import FPS, Dancer, write_example
from demo.workflows.catalog import TITLES
from wan_animate.video.write import write_video

from ..support.models_in_place import put_in_place, save_prompts
from .test_frontend import FLAGS, chromium
from .test_panel_frontend import STATUS

MOST_CLICKS = 5
FIRST_SIGN, SILENCE = 2, 10  # seconds
UPLOAD = """type => {
    const node = app.graph.nodes.find(node => node.type === type);
    const button = node.widgets.find(widget => widget.name === 'upload' && widget.type === 'button');
    const at = app.canvas.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + button.last_y + 10]);
    const page = app.canvas.canvas.getBoundingClientRect();
    return [at[0] + page.left, at[1] + page.top];
}"""


class Mouse:
    """Counts its clicks."""

    def __init__(self, page):
        self.page, self.clicks = page, 0

    def on(self, locator):
        self.clicks += 1
        locator.first.click()

    def upload(self, kind: str, file):
        """The node's own upload button, and what the system's dialog gives."""
        at = None
        while at != (at := self.page.evaluate(UPLOAD, kind)):  # the view may still move to the graph
            self.page.wait_for_timeout(500)
        x, y = at
        self.page.mouse.move(x, y)
        self.page.wait_for_timeout(300)  # a hand is there before it clicks; the canvas looks at the mouse by frames
        with self.page.expect_file_chooser(timeout=30_000) as chooser:
            self.clicks += 1
            self.page.mouse.click(x, y)
        chooser.value.set_files(file)
        self.page.wait_for_function(
            "([type, name]) => app.graph.nodes.find(node => node.type === type).widgets[0].value === name",
            arg=[kind, file.name],
        )


@pytest.fixture
def server(start_server, small_models, pack_module, comfy):
    """Just started; its texts were encoded before, for no text encoder is small."""
    import folder_paths

    graph = graphs.load_graph("animate")
    encoder = Path(folder_paths.get_folder_paths("text_encoders")[0])
    encoder /= graph[graphs.node_of(graph, "CLIPLoader")]["inputs"]["clip_name"]
    signature = pack_module("nodes.host.graph").graph_signature
    with start_server() as running:
        models = running.base_dir / "models"
        put_in_place(models, small_models, graph)
        encoder.parent.mkdir(exist_ok=True)
        encoder.touch()  # in this process too, where it is known by its content
        try:
            save_prompts(models / "wan_animate_prompts", graph, lambda prompt, node: signature(prompt, node, "clip"))
        finally:
            encoder.unlink()
        yield running


@pytest.fixture
def page(server):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        # Asked for now: a click that follows the asking at once may reach the page before it does.
        page.on("filechooser", lambda chooser: None)
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function("'WanAnimateKitAnimate' in (window.LiteGraph?.registered_node_types ?? {})")
        yield page
        browser.close()


def test_five_clicks_to_a_running_clip(page, server, tmp_path):
    _, picture = write_example(tmp_path)
    video = tmp_path / "dance.mp4"
    write_video(video, Dancer(5 / FPS, (160, 96)))

    mouse = Mouse(page)
    gallery = page.locator("[role=dialog]:visible")
    gallery.wait_for(timeout=60_000)  # Browse Templates opens by itself the first time
    mouse.on(gallery.get_by_text("ComfyUI-WanAnimateKit", exact=True))
    mouse.on(gallery.get_by_text(TITLES["animate"], exact=True))
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'WanAnimateKitAnimate')")
    page.wait_for_timeout(1500)
    mouse.upload("LoadImage", picture)
    mouse.upload("WanAnimateKitLoadVideo", video)
    mouse.on(page.get_by_role("button", name="Run", exact=True))
    began, seen = time.monotonic(), [(0.0, {})]
    assert mouse.clicks <= MOST_CLICKS
    while "segment 1 of 1" not in seen[-1][1].get("Animate", ""):
        assert time.monotonic() - began < 240 and not server.is_idle(), (seen[-5:], server.log_tail())
        time.sleep(0.1)
        said = page.evaluate(STATUS)
        if said != seen[-1][1]:
            seen.append((time.monotonic() - began, said))
    picture_of(page)
    assert seen[1][0] < FIRST_SIGN, seen[:3]
    gaps = [later - earlier for (earlier, _), (later, _) in zip(seen, seen[1:])]
    assert max(gaps) < SILENCE, seen
    words = " ".join(said.get("Animate", "") for _, said in seen)
    assert "waits for CLIP Vision Encode" in words, "what works, not what waits for its own input"


def picture_of(page):
    if folder := os.environ.get("WAN_ANIMATE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "first-clip.png")
