"""The points editor of Segment Character in the host's real frontend, by mouse, keyboard and touch."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from demo.small_models import SEGMENTER_NAME
from wan_animate.mask.prompts import read_prompts

from ..support.editors import (
    CLIP,
    FRAMES,
    HEIGHT,
    PAGE,
    WIDTH,
    Dialog,
    build,
    eventually,
    example_files,
    near,
    opened,
    prompts,
    value,
)

NODES = {
    "load": ("WanAnimateKitLoadVideo", [80, 120], {"file": CLIP, "width": WIDTH, "height": HEIGHT}),
    "model": ("WanAnimateKitLoadSegmenter", [400, 120], {"model": SEGMENTER_NAME}),
    "segment": ("WanAnimateKitSegmentCharacter", [720, 180], {"points_do": "replace the pose"}),
    "look": ("PreviewAny", [1060, 180], {}),
}
LINKS = [("load", 0, "segment", "frames"), ("model", 0, "segment", "segmenter"), ("segment", 2, "look", "source")]


@pytest.fixture(scope="module")
def track(host_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("editors")
    track = example_files(folder)
    for file in folder.iterdir():
        host_server.upload(file)
    return track


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, host_server, track):
    with opened(host_server, request.param) as page:
        yield page


@pytest.fixture
def editor(page):
    build(page, NODES, LINKS)
    page.before = page.evaluate(PAGE)
    del page.faults[:]
    yield Dialog(page, "edit-points")
    page.evaluate("document.querySelectorAll('dialog[open]').forEach(one => one.close())")
    page.wait_for_function("!document.querySelector('dialog')")
    assert page.faults == []
    # nothing of the page was touched, and the dialog is gone
    assert eventually(page, lambda: page.evaluate(PAGE) == page.before), page.evaluate(PAGE)[5:7]
    assert page.evaluate("app.graph.nodes.length") == len(NODES)


def shown(page) -> dict:
    return prompts(value(page, "segment", "prompts"))


def test_mouse(page, editor, tmp_path):
    editor.click(160, 120)
    editor.click(100, 60)
    editor.click(20, 30, button="right")
    on, off, box = shown(page)[0]
    assert near(on, [(160, 120), (100, 60)]) and near(off, [(20, 30)]) and box is None
    editor.drag((100, 60), (140, 90))
    assert near(shown(page)[0][0], [(160, 120), (140, 90)])
    editor.button("undo")  # a drag is one step
    assert near(shown(page)[0][0], [(160, 120), (100, 60)])
    editor.button("redo")
    editor.click(140, 90)  # selects
    editor.button("delete")
    assert near(shown(page)[0][0], [(160, 120)])
    editor.frame(11)
    editor.button("box")
    editor.drag((90, 20), (230, 220))
    assert shown(page)[11][:2] == [[], []] and near(shown(page)[11][2], [90, 20, 230, 220])
    editor.drag((230, 220), (250, 200))  # its corner
    assert near(shown(page)[11][2], [90, 20, 250, 200])
    editor.drag((250, 200), (60, 10))  # across the other: still a box
    assert near(shown(page)[11][2], [60, 10, 90, 20])
    editor.button("undo")
    page.screenshot(path=tmp_path / "points.png")
    assert len(np.unique(cv2.imread(str(tmp_path / "points.png")).reshape(-1, 3), axis=0)) > 1000
    editor.button("clear")
    assert list(shown(page)) == [0]
    editor.done()
    # the graph's own undo was not asked, and takes the dialog back as a whole
    assert page.locator("[data-name=edit-points]").count() == 1


def test_keyboard(page, editor):
    editor.press("n", "ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowUp")
    assert near(shown(page)[0][0], [(162, 111)])
    editor.press("2", "Escape", "ArrowLeft", "n")
    assert len(shown(page)[0][1]) == 1
    editor.press("Delete")
    assert shown(page)[0][1] == []
    editor.press("Control+z")
    assert len(shown(page)[0][1]) == 1
    editor.press("Control+Shift+z")
    assert shown(page)[0][1] == []
    editor.press("Control+z", "[", "Backspace")
    assert sum(map(len, shown(page)[0][:2])) == 1
    editor.press(".", ".", "1", "n")
    editor.shows(2)
    assert sorted(shown(page)) == [0, 2]
    editor.press("PageUp")
    editor.shows(0)
    assert page.locator("dialog input[type=number]").input_value() == "0"
    editor.press("Escape")  # closes: nothing is selected
    page.locator("dialog[open]").wait_for(state="detached")
    # what was typed did not reach the graph: no node deleted, no step of its undo
    assert page.evaluate("app.graph.nodes.length") == len(NODES) and sorted(shown(page)) == [0, 2]


def test_touch(page, editor):
    editor.tap(150, 100)
    editor.tap(200, 150)
    assert eventually(page, lambda: near(shown(page)[0][0], [(150, 100), (200, 150)]))
    editor.swipe((200, 150), (220, 60))
    assert eventually(page, lambda: near(shown(page)[0][0], [(150, 100), (220, 60)], 2))
    editor.tap_button("undo")
    assert eventually(page, lambda: near(shown(page)[0][0], [(150, 100), (200, 150)]))
    editor.tap(150, 100)
    editor.tap_button("delete")
    assert eventually(page, lambda: near(shown(page)[0][0], [(200, 150)]))
    editor.tap_button("box")
    editor.swipe((60, 40), (180, 200))
    assert eventually(page, lambda: near(shown(page)[0][2], [60, 40, 180, 200], 2))
    before, small = value(page, "segment", "prompts"), editor.canvas.screenshot()
    editor.pinch(160, 120, 60)
    assert value(page, "segment", "prompts") == before  # the first finger's point is gone again
    assert editor.canvas.screenshot() != small  # larger
    editor.tap_button("done")


def test_saved_reloaded_and_the_same_points_in_python(page, editor, host_server, track):
    joints = track.keypoints[3, [0, 5, 6], :2]
    editor.frame(3)
    for x, y in joints.tolist():
        editor.click(x, y)
    editor.click(6, 6, button="right")
    editor.done()
    text = value(page, "segment", "prompts")
    saved = page.evaluate("app.graph.serialize()")
    page.reload(wait_until="domcontentloaded")
    page.wait_for_function("window.app?.graph && 'WanAnimateKitAnimate' in LiteGraph.registered_node_types")
    page.wait_for_timeout(1500)
    page.evaluate(
        """async graph => {
            await app.loadGraphData(graph);
            const kinds = {load: 'LoadVideo', model: 'LoadSegmenter', segment: 'SegmentCharacter'};
            window.made = Object.fromEntries(Object.entries(kinds).map(([name, kind]) =>
                [name, app.graph.nodes.find(node => node.type === 'WanAnimateKit' + kind)]));
        }""",
        saved,
    )
    page.wait_for_timeout(800)
    assert value(page, "segment", "prompts") == text
    page.before = page.evaluate(PAGE)
    del page.faults[:]
    queued = page.evaluate("app.graphToPrompt().then(prompt => prompt.output)")
    node = next(one for one in queued.values() if one["class_type"] == "WanAnimateKitSegmentCharacter")
    (prompt,) = read_prompts(node["inputs"]["prompts"], (WIDTH, HEIGHT))
    assert prompt.frame == 3 and prompt.labels.tolist() == [1, 1, 1, 0]
    assert np.abs(prompt.points - [*joints, [6, 6]]).max() <= 1
    # and the run follows them: without a pose nothing else says where the person is
    for one in queued.values():
        one["inputs"].pop("video-preview", None)
    outputs = host_server.run(queued)["outputs"]
    assert any(f"through all {FRAMES} frames" in "".join(map(str, out.get("text", []))) for out in outputs.values())
    again = Dialog(page, "edit-points")  # it opens on the frame with points, and shows them
    assert page.locator("dialog input[type=number]").input_value() == "3"
    again.done()


def test_the_mask_of_the_run_is_shown(page, editor, tmp_path):
    editor.click(160, 70)
    editor.done()
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function("made.segment.wanAnimateKitView", timeout=120_000)
    after = Dialog(page, "edit-points")
    pictures = []
    for name in ("mask.png", "plain.png"):
        after.canvas.screenshot(path=tmp_path / name)
        pictures.append(cv2.imread(str(tmp_path / name)).astype(int))
        after.button("mask")
        page.wait_for_timeout(400)
    greener = pictures[0][..., 1] - pictures[0][..., 2] > pictures[1][..., 1] - pictures[1][..., 2] + 25
    assert 0.03 < greener.mean() < 0.6
    after.done()


def test_a_video_that_is_not_there_is_told_on_the_node(page, editor):
    editor.done()
    page.evaluate("made.load.widgets.find(w => w.name === 'file').value = 'gone.mp4'")
    page.locator("[data-name=edit-points]").click()
    page.get_by_text("there is no video 'gone.mp4'").wait_for(timeout=10_000)
    page.faults[:] = [fault for fault in page.faults if "400" not in fault]  # the server's answer, told on the node


def test_prompts_of_the_editor_are_json_that_python_reads():
    text = '[{"frame": 2, "positive": [{"x": 160, "y": 120}], "negative": [], "size": [320, 240]}]'
    (prompt,) = read_prompts(text, (640, 480))
    assert prompt.points.tolist() == [[320, 240]] and json.loads(text)[0]["size"] == [320, 240]
