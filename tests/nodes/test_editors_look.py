"""The editors at half size, in light and dark, in both of the frontend's renderers."""

from __future__ import annotations

import cv2
import pytest

from ..support.editors import Dialog, build, example_files, near, opened
from .test_pose_frontend import LINKS, NODES, at, keys, run


@pytest.fixture(scope="module")
def track(host_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("editors")
    track = example_files(folder)
    for file in folder.iterdir():
        host_server.upload(file)
    return track


@pytest.mark.parametrize("palette", ["dark", "light"])
@pytest.mark.parametrize("vue", [False, True], ids=["litegraph", "vue"])
def test_on_the_node_at_half_size(host_server, track, tmp_path, vue, palette):
    with opened(host_server, vue, palette) as page:
        build(page, NODES, LINKS)
        del page.faults[:]
        run(page)
        page.evaluate("app.canvas.ds.scale = 0.5; app.canvas.ds.offset = [200, 100]; app.canvas.setDirty(true, true)")
        page.wait_for_timeout(800)
        slider = page.locator("input[type=range][aria-label=frame]")
        box = slider.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        page.wait_for_timeout(500)
        assert 13 <= int(slider.input_value()) <= 21
        slider.press("ArrowLeft")
        page.screenshot(path=tmp_path / "half.png")
        before = int(slider.input_value())
        editor = Dialog(page, "edit-pose")
        assert page.locator("dialog input[type=number]").input_value() == str(before)  # it opens where one looks
        x, y = at(track, before, 14)
        editor.drag((x, y), (x - 11, y + 3))
        assert near(keys(page)[14][before], (-11, 3))
        page.screenshot(path=tmp_path / "dialog.png")
        editor.done()
        page.evaluate("app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true)")
        page.wait_for_timeout(800)
        page.screenshot(path=tmp_path / "whole.png")
        light = cv2.imread(str(tmp_path / "dialog.png"))[60, 700].mean()
        assert (light > 128) == (palette == "light")
        assert page.faults == []
