"""The pose on Edit Pose and its editor in the host's real frontend, by mouse, keyboard and touch."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from wan_animate.pose.edits import edit_base, edit_pose, read_edits
from wan_animate.pose.track import PoseTrack

from ..support.editors import (
    CLIP,
    FRAMES,
    HEIGHT,
    PAGE,
    TRACK,
    WIDTH,
    Dialog,
    build,
    eventually,
    example_files,
    near,
    opened,
    value,
)

NODES = {
    "load": ("WanAnimateKitLoadVideo", [80, 120], {"file": CLIP, "width": WIDTH, "height": HEIGHT}),
    "track": ("WanAnimateKitLoadPoseTrack", [80, 700], {"file": TRACK}),
    "edit": ("WanAnimateKitEditPose", [420, 120, 460, 560], {}),
    "save": ("WanAnimateKitSavePoseTrack", [920, 120], {"filename_prefix": "browser/pose"}),
}
LINKS = [("load", 0, "edit", "frames"), ("track", 0, "edit", "pose"), ("edit", 0, "save", "pose")]
# a track whose lost frames, cuts and start the browser has to treat as Python does
HARD = (
    '{"width": 320, "height": 240, "fps": 30, "start": 1.0, "keys": {"9": [[4, 12, -6], [9, 0, 5], [15, 3, 3]],'
    ' "16": [[0, 5.5, 1], [23, 1, 1]], "100": [[11, -2, 2], [12, 7, -7]]},'
    ' "hidden": {"10": [[3, 9], [12, 30]], "50": [[0, 1]]}}'
)
WRIST, HAND = 9, range(91, 112)


@pytest.fixture(scope="module")
def track(host_server, tmp_path_factory) -> PoseTrack:
    folder = tmp_path_factory.mktemp("editors")
    track = example_files(folder)
    for file in folder.iterdir():
        host_server.upload(file)
    return track


@pytest.fixture(scope="module", params=[False, True], ids=["litegraph", "vue"])
def page(request, host_server, track):
    with opened(host_server, request.param) as page:
        yield page


def run(page) -> None:
    page.evaluate("made.edit.wanAnimateKitView = null")
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function("made.edit.wanAnimateKitView", timeout=120_000)
    page.locator("[data-name=edit-pose]").wait_for()
    page.wait_for_timeout(500)


@pytest.fixture
def shown(page):
    build(page, NODES, LINKS)
    page.before = page.evaluate(PAGE)
    del page.faults[:]
    run(page)
    yield page
    page.evaluate("document.querySelectorAll('dialog[open]').forEach(one => one.close())")
    assert page.faults == []
    assert eventually(page, lambda: page.evaluate(PAGE) == page.before), page.evaluate(PAGE)[5:7]
    assert page.evaluate("app.graph.nodes.length") == len(NODES)


def keys(page) -> dict[int, dict[int, list[float]]]:
    edits = json.loads(value(page, "edit", "edits") or "{}")
    return {int(joint): {key[0]: key[1:] for key in given} for joint, given in edits.get("keys", {}).items()}


def hidden(page) -> dict[str, list]:
    return json.loads(value(page, "edit", "edits") or "{}").get("hidden", {})


def at(track: PoseTrack, frame: int, joint: int) -> tuple[float, float]:
    x, y = track.keypoints[frame, joint, :2].tolist()
    return x, y


def test_mouse(shown, track):
    editor = Dialog(shown, "edit-pose")
    editor.frame(6)
    x, y = at(track, 6, WRIST)
    editor.drag((x, y), (x + 20, y - 15))
    made = keys(shown)
    assert set(made) == {WRIST, *HAND}  # the hand goes along
    assert all(near(made[joint][6], (20, -15)) for joint in made)
    editor.button("undo")
    assert keys(shown) == {}
    editor.button("redo")
    assert set(keys(shown)) == {WRIST, *HAND}
    editor.frame(14)
    editor.click(*at(track, 14, WRIST))  # beyond the fade it is where it was: a click moves nothing
    editor.button("key")
    assert keys(shown)[WRIST][14] == [0, 0] and len(keys(shown)[WRIST]) == 2
    editor.button("unkey")
    assert list(keys(shown)[WRIST]) == [6]
    editor.button("hide")
    assert hidden(shown) == {str(WRIST): [[14, 15]]}
    editor.button("hide-on")  # hidden here: shows it again, from here on
    assert hidden(shown) == {}
    editor.button("hide-on")
    assert hidden(shown) == {str(WRIST): [[14, FRAMES]]}
    shown.locator("dialog label", has_text="Carry").locator("input").uncheck()
    ankle = at(track, 14, 15)
    editor.drag(ankle, (ankle[0] - 9, ankle[1] + 4))
    assert near(keys(shown)[15][14], (-9, 4)) and not {17, 18, 19} & set(keys(shown))
    editor.done()


def test_keyboard(shown):
    editor = Dialog(shown, "edit-pose")
    editor.press("]", "ArrowRight", "ArrowRight", "Shift+ArrowDown")
    assert keys(shown)[0] == {0: [2, 10]} and keys(shown)[23] == {0: [2, 10]}
    editor.press("Control+z")
    assert keys(shown)[0] == {0: [2, 0]}
    editor.press("Control+y", "h")
    assert hidden(shown) == {"0": [[0, 1]]}
    editor.press("h", "Delete")
    assert hidden(shown) == {} and keys(shown) == {}
    editor.press("k", ".", ".", "k")
    editor.shows(2)
    assert list(keys(shown)[0]) == [0, 2]
    editor.press("PageUp")
    editor.shows(0)
    assert shown.locator("dialog input[type=number]").input_value() == "0"
    editor.press("Shift+H")
    assert hidden(shown) == {"0": [[0, FRAMES]]}
    editor.press("Escape", "Escape")  # nothing is selected any more, then it closes
    shown.locator("dialog[open]").wait_for(state="detached")
    assert shown.evaluate("app.graph.nodes.length") == len(NODES)


def test_touch(shown, track):
    editor = Dialog(shown, "edit-pose")
    x, y = at(track, 0, 14)
    editor.swipe((x + 3, y + 2), (x + 23, y - 8))  # a finger need not hit it exactly
    assert eventually(shown, lambda: near(keys(shown).get(14, {}).get(0, []), (20, -10), 2))
    editor.tap_button("undo")
    assert eventually(shown, lambda: keys(shown) == {})
    editor.tap(x, y)
    editor.tap_button("hide")
    assert eventually(shown, lambda: hidden(shown) == {"14": [[0, 1]]})
    editor.tap_button("done")


def test_saved_reloaded_and_the_same_edits_in_python(shown, track, host_server):
    editor = Dialog(shown, "edit-pose")
    editor.frame(9)
    x, y = at(track, 9, 7)
    editor.drag((x, y), (x + 12, y + 12))
    editor.press("h")
    editor.done()
    text = value(shown, "edit", "edits")
    saved = shown.evaluate("app.graph.serialize()")
    shown.reload(wait_until="domcontentloaded")
    shown.wait_for_function("window.app?.graph && 'WanAnimateKitAnimate' in LiteGraph.registered_node_types")
    shown.wait_for_timeout(1500)
    shown.evaluate(
        """async graph => {
            await app.loadGraphData(graph);
            const kinds = {load: 'LoadVideo', track: 'LoadPoseTrack', edit: 'EditPose', save: 'SavePoseTrack'};
            window.made = Object.fromEntries(Object.entries(kinds).map(([name, kind]) =>
                [name, app.graph.nodes.find(node => node.type === 'WanAnimateKit' + kind)]));
        }""",
        saved,
    )
    shown.wait_for_timeout(800)
    shown.before = shown.evaluate(PAGE)
    del shown.faults[:]
    assert value(shown, "edit", "edits") == text
    folder = host_server.base_dir / "output" / "browser"
    before = len(list(folder.glob("pose_*.npz")))
    run(shown)
    for _ in range(100):
        if len(files := sorted(folder.glob("pose_*.npz"))) > before:
            break
        shown.wait_for_timeout(100)
    edited = PoseTrack.load(files[-1])
    assert (edited.keypoints == edit_pose(track, read_edits(text)).keypoints).all()
    moved = edited.keypoints[9, 7, :2] - track.keypoints[9, 7, :2]
    assert np.abs(moved - 12).max() <= 1 and edited.keypoints[9, 7, 2] == 0
    again = Dialog(shown, "edit-pose")
    assert not shown.locator("dialog [data-name=undo]").is_enabled() and value(shown, "edit", "edits") == text
    again.done()


def test_the_browser_shows_what_python_makes(shown, track):
    """The drawing before a run and the pose after it: the same numbers, on every frame."""
    part = PoseTrack(track.keypoints, WIDTH, HEIGHT, 30, cuts=(11,), start_seconds=1.1)
    for fade in (0, 5):
        wanted = edit_pose(part, read_edits(HARD), fade).keypoints
        found = shown.evaluate(
            """async ([base, text, fade]) => {
                const at = '/extensions/ComfyUI-WanAnimateKit/editors/pose_edits.js', edits = await import(at);
                const clip = {width: 320, height: 240, fps: 30, frames: base.length, cuts: [11], start: 1.1};
                const parsed = edits.parse(text, clip);
                const again = edits.parse(edits.format(parsed, clip), clip);
                return base.map((one, frame) => Array.from(edits.edited(one, again, clip, frame, fade)));
            }""",
            [edit_base(part).reshape(FRAMES, -1).tolist(), HARD, fade],
        )
        found = np.array(found).reshape(FRAMES, 133, 3)
        touched = np.abs(wanted - part.keypoints).max(axis=2) > 0
        assert touched.sum() > 25
        assert np.abs(found - wanted).max() < 0.02


def test_driver_and_result_side_by_side(page, host_server, tmp_path, track):
    taller = PoseTrack(track.keypoints * (0.5, 1, 1), WIDTH // 2, HEIGHT, 30)
    taller.save(tmp_path / "taller.npz")
    host_server.upload(tmp_path / "taller.npz")
    cv2.imwrite(str(tmp_path / "reference.png"), np.full((HEIGHT, WIDTH // 2, 3), (200, 40, 40), np.uint8))
    host_server.upload(tmp_path / "reference.png")
    more = {
        "result": ("WanAnimateKitLoadPoseTrack", [80, 860], {"file": "taller.npz"}),
        "picture": ("LoadImage", [-300, 120], {"image": "reference.png"}),
    }
    links = [
        ("load", 0, "edit", "frames"),
        ("result", 0, "edit", "pose"),
        ("track", 0, "edit", "driver_pose"),
        ("picture", 0, "edit", "reference_image"),
    ]
    build(page, NODES | more, [*links, LINKS[2]])
    del page.faults[:]
    run(page)
    Dialog(page, "edit-pose")
    canvas = page.locator("dialog canvas")
    canvas.screenshot(path=tmp_path / "two.png")
    box, shape = canvas.bounding_box(), WIDTH / HEIGHT + WIDTH / 2 / HEIGHT
    high = min(box["height"], (box["width"] - 8) / shape)
    left = box["x"] + (box["width"] - high * shape - 8) / 2 + high * WIDTH / HEIGHT + 8
    top, scale = box["y"] + (box["height"] - high) / 2, high / HEIGHT
    x, y = at(taller, 0, 13)
    page.mouse.move(left + x * scale, top + y * scale)
    page.mouse.down()
    page.mouse.move(left + (x + 10) * scale, top + (y - 10) * scale, steps=4)
    page.mouse.up()
    assert near(keys(page)[13][0], (10, -10))
    picture = cv2.imread(str(tmp_path / "two.png"))
    behind = picture[int(top - box["y"] + 10 * scale), int(left - box["x"] + 20 * scale)]
    assert behind[0] > 60 and behind[0] > 2 * behind[2]  # the reference picture, dimmed
    page.locator("dialog [data-name=done]").click()
    assert page.faults == []


def test_our_scripts_touch_no_prototype_and_no_style_of_the_page():
    folder = Path(__file__).resolve().parents[2] / "js"
    files = [folder / "editors.js", *(folder / "editors").glob("*.js")]
    assert len(files) > 10
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert ".prototype" not in text and "document.head" not in text and "adoptedStyleSheets" not in text, file
