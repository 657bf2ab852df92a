"""The editors where the interface is Chinese: nothing English is left on them, and they still do what they do."""

from __future__ import annotations

import re

import pytest

from ..support.editors import Dialog, build, example_files, opened
from . import test_points_frontend as points
from . import test_pose_frontend as pose

KEYS = re.compile(r"Ctrl\+.|Shift\+.|Shift|Esc|Del|Page Up|Page Down")
# What is read of a dialog or a node's widget: texts, tool tips, names for screen readers.
READ = """root => {
    const texts = [];
    const look = node => {
        if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
        if (!(node instanceof Element) || node.tagName === "STYLE") return;
        for (const name of ["title", "aria-label", "alt", "placeholder"]) texts.push(node.getAttribute(name) ?? "");
        if (node.shadowRoot) [...node.shadowRoot.childNodes].forEach(look);
        [...node.childNodes].forEach(look);
    };
    look(typeof root === "string" ? document.querySelector(root) : root);
    return texts.map(text => text.trim()).filter(Boolean);
}"""
WIDGET = (
    "name => ({})(made[name].widgets.find(one => one.element?.shadowRoot?.querySelector('.root')).element)".replace(
        "{}", READ
    )
)


@pytest.fixture(scope="module")
def page(host_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chinese")
    example_files(folder)
    for file in folder.iterdir():
        host_server.upload(file)
    host_server.post("/settings/Comfy.Locale", "zh")
    try:
        with opened(host_server, False) as page:
            yield page
    finally:
        host_server.post("/settings/Comfy.Locale", "en")


def english(texts: list[str]) -> list[str]:
    assert texts
    return [text for text in texts if re.search("[A-Za-z]{2}", KEYS.sub("", text))]


def test_points(page, tmp_path):
    build(page, points.NODES, points.LINKS)
    assert english(page.evaluate(WIDGET, "segment")) == []
    editor = Dialog(page, "edit-points")
    editor.click(160, 120)
    editor.click(20, 30, button="right")
    editor.frame(11)
    editor.button("box")
    editor.drag((90, 20), (230, 220))
    texts = page.evaluate(READ, "dialog")
    assert english(texts) == []
    assert {"点", "撤销", "在人物上", "框", "提示：2 个点、1 个框，在 2 帧上。"} <= set(texts), texts
    page.screenshot(path=tmp_path / "points.png")
    editor.done()
    assert page.evaluate(WIDGET, "segment")[-1] == "点：2 个点、1 个框，在 2 帧上"
    assert page.faults == []


def test_pose(page, tmp_path):
    build(page, pose.NODES, pose.LINKS)
    assert english(page.evaluate(WIDGET, "edit")) == []
    pose.run(page)
    assert english(page.evaluate(WIDGET, "edit")) == []
    editor = Dialog(page, "edit-pose")
    assert "未选择关键点。" in page.evaluate(READ, "dialog")
    editor.press("]", "k")
    editor.press("h")
    texts = page.evaluate(READ, "dialog")
    assert english(texts) == []
    assert any(re.fullmatch("鼻子，此帧有关键帧，此帧隐藏。", text) for text in texts), texts
    assert {"显示", "从此处显示", "联动"} <= set(texts)
    page.screenshot(path=tmp_path / "pose.png")
    editor.done()
    assert page.faults == []
