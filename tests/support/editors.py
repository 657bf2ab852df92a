"""The editors in the browser: opening them, and places of a clip on their canvas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from demo.figure import draw_figure
from demo.server import HostServer
from wan_animate.pose.track import PoseTrack
from wan_animate.video.frames import TensorSource
from wan_animate.video.write import write_video

from ..nodes.test_frontend import FLAGS, SETTINGS, chromium
from .figures import dancer_track

WIDTH, HEIGHT, FRAMES = 320, 240, 24
CLIP, TRACK = "dancer.mp4", "dancer.npz"
READY = "window.app?.graph && app.extensionManager && 'WanAnimateKitAnimate' in LiteGraph.registered_node_types"
# What our scripts may not touch: how plain elements of the page look, and the host's and the browser's classes.
PAGE = """() => [
    ...['button', 'input', 'canvas', 'dialog', 'span'].map(tag => {
        const probe = document.createElement(tag);
        probe.className = 'bar row root said track view';
        document.body.append(probe);
        const style = getComputedStyle(probe), look = Array.from(style, name => name + ':' + style[name]).join(';');
        probe.remove();
        return look;
    }),
    document.adoptedStyleSheets.length, document.querySelectorAll('dialog').length,
    ...[LGraphNode, LGraphCanvas, LGraph, HTMLElement, Element, CanvasRenderingContext2D]
        .map(one => Object.getOwnPropertyNames(one.prototype).join()),
]"""


def example_files(folder: Path) -> PoseTrack:
    """The dancer's clip and its true track, as files."""
    track = dancer_track(FRAMES, WIDTH, HEIGHT)
    pictures = np.stack([draw_figure(points, WIDTH, HEIGHT) for points in track.keypoints])
    write_video(folder / CLIP, TensorSource(pictures, 30), None, Fraction(30), crf=1)
    track.save(folder / TRACK)
    return track


@contextmanager
def opened(server: HostServer, vue: bool, palette: str = "dark") -> Iterator:
    """The app in a browser with a touch screen. ``page.faults`` collects what the console calls an error."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install playwright")
    settings = SETTINGS | {"Comfy.VueNodes.Enabled": vue, "Comfy.ColorPalette": palette}
    for name, value in settings.items():
        server.post(f"/settings/{name}", value)
    with playwright.sync_playwright() as engine:
        path = chromium()
        if path is None and not Path(engine.chromium.executable_path).exists():
            pytest.skip("no Chromium: install one or set CHROMIUM_PATH")
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_context(has_touch=True, viewport={"width": 1400, "height": 900}).new_page()
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=120_000)
        page.wait_for_timeout(1500)
        page.faults = []
        page.on("console", lambda message: _is_fault(message) and page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        yield page
        browser.close()
    for name, value in {"Comfy.VueNodes.Enabled": False, "Comfy.ColorPalette": "dark"}.items():
        server.post(f"/settings/{name}", value)


def _is_fault(message) -> bool:
    """An error, but not the host's own look for the models of its first graph."""
    return message.type == "error" and "Content Security Policy" not in message.text


def eventually(page, check: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether it is so before long: what a finger does reaches the page a moment later."""
    for _ in range(int(seconds * 10)):
        if check():
            return True
        page.wait_for_timeout(100)
    return False


def build(page, nodes: dict[str, tuple[str, list, dict]], links: list[tuple[str, int, str, str]]) -> None:
    """A graph on the canvas. ``nodes``: type, place and widgets by name; ``links``: node, slot, node, input."""
    page.evaluate(
        """async ([nodes, links]) => {
            app.graph.clear();
            window.made = {};
            for (const [name, [type, pos, widgets]] of Object.entries(nodes)) {
                const node = LiteGraph.createNode(type);
                app.graph.add(node);
                node.pos = pos.slice(0, 2);
                if (pos.length > 2) node.setSize(pos.slice(2));
                for (const [key, value] of Object.entries(widgets))
                    node.widgets.find(w => w.name === key).value = value;
                made[name] = node;
            }
            for (const [from, slot, to, input] of links)
                made[from].connect(slot, made[to], made[to].inputs.findIndex(one => one.name === input));
            app.canvas.ds.scale = 1;
            app.canvas.ds.offset = [0, 0];
            app.canvas.setDirty(true, true);
            await new Promise(done => setTimeout(done, 800));
        }""",
        [nodes, links],
    )


def value(page, node: str, widget: str) -> str:
    return page.evaluate("([node, name]) => made[node].widgets.find(w => w.name === name).value", [node, widget])


class Dialog:
    """An open editor."""

    def __init__(self, page, opener: str):
        self.page = page
        page.locator(f"[data-name={opener}]").click()
        page.locator("dialog[open] canvas[data-frame]").wait_for()
        page.wait_for_timeout(200)
        self.canvas = page.locator("dialog canvas")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of a pixel of the clip, on the screen."""
        box = self.canvas.bounding_box()
        scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
        left = box["x"] + (box["width"] - WIDTH * scale) / 2
        top = box["y"] + (box["height"] - HEIGHT * scale) / 2
        return left + x * scale, top + y * scale

    def click(self, x: float, y: float, **how) -> None:
        self.page.mouse.click(*self.place(x, y), **how)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(*end), steps=5)
        self.page.mouse.up()

    def tap(self, x: float, y: float) -> None:
        self.page.touchscreen.tap(*self.place(x, y))
        self.page.wait_for_timeout(100)

    def tap_button(self, name: str) -> None:
        self.page.locator(f"dialog [data-name={name}]").tap()
        self.page.wait_for_timeout(150)  # the click follows the touch

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A finger's drag, as the browser gets it from a screen."""
        session = self.page.context.new_cdp_session(self.page)
        (ax, ay), (bx, by) = self.place(*start), self.place(*end)
        path = [(ax + (bx - ax) * share / 4, ay + (by - ay) * share / 4) for share in range(5)]
        for at, (x, y) in enumerate(path):
            kind = "touchMove" if at else "touchStart"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        session.detach()
        self.page.wait_for_timeout(100)

    def pinch(self, x: float, y: float, wide: float) -> None:
        """Two fingers, one after the other, that move apart."""
        session, (left, top) = self.page.context.new_cdp_session(self.page), self.place(x, y)

        def touch(kind: str, *across: float) -> None:
            points = [{"x": left + one, "y": top, "id": at} for at, one in enumerate(across)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", -20)
        touch("touchStart", -20, 20)
        for share in (0.25, 0.5, 0.75, 1):
            touch("touchMove", -20 - wide * share, 20 + wide * share)
        touch("touchEnd")
        session.detach()
        self.page.wait_for_timeout(300)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name: str) -> None:
        self.page.locator(f"dialog [data-name={name}]").click()

    def frame(self, number: int) -> None:
        field = self.page.locator("dialog input[type=number]")
        field.fill(str(number))
        field.press("Enter")
        self.shows(number)
        self.canvas.focus()

    def shows(self, number: int) -> None:
        """Waits until the frame is there."""
        self.page.locator(f"dialog canvas[data-frame='{number}']").wait_for()

    def done(self) -> None:
        self.button("done")
        self.page.locator("dialog[open]").wait_for(state="detached")


def prompts(text: str) -> dict[int, tuple[list, list, list | None]]:
    """Positive and negative points and box by frame."""
    entries = json.loads(text) if text else []
    points = {kind: [[(p["x"], p["y"]) for p in entry[kind]] for entry in entries] for kind in ("positive", "negative")}
    boxes = [entry.get("box") for entry in entries]
    frames = [entry["frame"] for entry in entries]
    return {frame: found for frame, *found in zip(frames, points["positive"], points["negative"], boxes, strict=True)}


def near(found: list, expected: list, within: float = 1.0) -> bool:
    """Whether points or boxes lie within so many pixels."""
    found, wanted = np.asarray(found, float), np.asarray(expected, float)
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max(initial=0) <= within)
