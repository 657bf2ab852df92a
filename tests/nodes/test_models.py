"""Check Models and Download Models on a real ComfyUI, against a hub of our own; in the API and on the canvas."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time

import cv2
import numpy as np
import pytest

from demo.server import PromptFailed, PromptInterrupted
from tests.support.hub_server import Hub, serving

from .test_frontend import FAULTS, page  # noqa: F401  (a fixture)

CHECK, DOWNLOAD = "WanAnimateKitCheckModels", "WanAnimateKitDownloadModels"
FILES = {
    name: np.random.default_rng(at).bytes(2 << 20)
    for at, name in enumerate(("kit_t.safetensors", "kit_v.safetensors", "kit_p.onnx"))
}
ROLES = ("transformer", "vae", "person_detector")
KINDS = ("diffusion_models", "vae", "detection")


def manifest() -> dict:
    entries = [
        {
            "name": name, "role": role, "folder": kind, "size": len(FILES[name]), "size_about": "2 MB",
            "sha256": hashlib.sha256(FILES[name]).hexdigest(), "evidence": "hub", "licence": "Apache-2.0",
            "source": {"repo": "Owner/Repo", "path": f"files/{name}"}, "optional": False,
        }
        for name, role, kind in zip(FILES, ROLES, KINDS)
    ]  # fmt: skip
    return {"models": entries}


@pytest.fixture(scope="module")
def hub():
    with serving(Hub({f"files/{name}": content for name, content in FILES.items()})) as server:
        yield server


@pytest.fixture(scope="module")
def host_server(start_server, hub, tmp_path_factory):
    """A server of its own, whose hub is ours and whose list has three small files."""
    path = tmp_path_factory.mktemp("list") / "list.json"
    path.write_text(json.dumps(manifest()))
    own = {"WAN_ANIMATE_MANIFEST": str(path), "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1,localhost"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        with start_server() as server:
            yield server
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def path_of(server, name: str):
    return server.base_dir / "models" / dict(zip(FILES, KINDS))[name] / name


@pytest.fixture
def empty(host_server, hub):
    for name in FILES:
        path_of(host_server, name).unlink(missing_ok=True)
        path_of(host_server, name).with_name(f"{name}.part").unlink(missing_ok=True)
    hub.asked.clear()
    hub.faults = []
    return host_server


def words(view: dict) -> str:
    """All of it as one text, cells apart by bars."""
    rows = [row for table in view["tables"] for row in (table["head"], *table["rows"])]
    cells = [" | ".join(cell if isinstance(cell, str) else cell["text"] for cell in row) for row in rows]
    return "\n".join([view["title"], *view["notes"], *cells, *view["after"]])


def check(server, **inputs) -> str:
    graph = {"1": {"class_type": CHECK, "inputs": {"vram": 24.0, "hash": "changed"} | inputs}}
    return words(server.run(graph)["outputs"]["1"]["view"][0])


def download(server, file: str, confirm: bool, on_message=None) -> str:
    graph = {"1": {"class_type": DOWNLOAD, "inputs": {"file": file, "vram": 24.0, "confirm": confirm}}}
    return words(server.run(graph, on_message)["outputs"]["1"]["view"][0])


def ours(server) -> list[str]:
    root = server.base_dir / "models"
    return sorted(path.name for path in root.rglob("*kit_*") if path.is_file())


def test_what_is_missing_is_told_and_nothing_is_fetched(empty, hub):
    text = check(empty)
    assert text.startswith("3 files are needed (6.29 MB).")
    assert "VAE | kit_v.safetensors | 2.1 MB | vae | missing" in text
    assert f"Folders are those below {empty.base_dir / 'models'}." in text and "On 24 GiB" in text
    said = download(empty, "kit_v.safetensors", False)
    assert "Nothing was fetched" in said and "Apache-2.0" in said
    assert str(path_of(empty, "kit_v.safetensors").parent) in said
    assert hub.asked == [] and ours(empty) == []


def test_what_is_confirmed_is_fetched_and_no_more(empty, hub):
    seen = []

    def on_message(kind, data):
        if kind == "progress_state":
            seen.extend(node["value"] / node["max"] for node in data["nodes"].values())

    text = download(empty, "kit_v.safetensors", True, on_message)
    assert "kit_v.safetensors | fetched" in text and ours(empty) == ["kit_v.safetensors"]
    assert path_of(empty, "kit_v.safetensors").read_bytes() == FILES["kit_v.safetensors"]
    assert {path.rsplit("/", 1)[1] for _, path, *_ in hub.fetched} == {"kit_v.safetensors"}
    assert seen and max(seen) == 1
    assert "was here" in download(empty, "kit_v.safetensors", True)
    assert "kit_v.safetensors" in empty.get("/models/vae"), "the loaders list it"


def test_all_that_is_missing_then_nothing_is(empty):
    path = path_of(empty, "kit_t.safetensors").with_name("under_another_name.safetensors")
    path.write_bytes(FILES["kit_t.safetensors"])
    try:
        text = check(empty)
        assert "2 files are needed" in text and "under another name (under_another_name.safetensors)" in text
        download(empty, "all that is missing", True)
        assert ours(empty) == ["kit_p.onnx", "kit_v.safetensors"]
        assert check(empty).startswith("Everything that a clip needs is here.")
        assert "Everything that a clip needs is here." in download(empty, "all that is missing", True)
    finally:
        path.unlink()


@pytest.mark.parametrize("fault", ["wrong", "to_folder", "other_size"])
def test_wrong_bytes_end_in_one_sentence_and_leave_nothing(empty, hub, fault):
    hub.faults = [fault]
    with pytest.raises(PromptFailed, match="kit_v.safetensors") as error:
        download(empty, "kit_v.safetensors", True)
    assert "Traceback" not in str(error.value).split("\n")[0]
    assert [name for name in ours(empty) if not name.endswith(".part")] == []
    hub.files.pop("../../elsewhere.safetensors", None)


def test_damage_is_told(empty):
    path_of(empty, "kit_v.safetensors").write_bytes(bytes(len(FILES["kit_v.safetensors"])))
    path_of(empty, "kit_p.onnx").parent.mkdir(exist_ok=True)
    path_of(empty, "kit_p.onnx").write_bytes(FILES["kit_p.onnx"][:99])
    text = check(empty)
    assert "kit_v.safetensors: its sha256 is" in text and "kit_p.onnx: 99 bytes, not 2097152: cut short" in text


def test_cancel_is_heard_while_the_hub_is_silent_and_the_rest_is_fetched_later(empty, hub):
    hub.faults = ["stall"]
    begun = []

    def on_message(kind, data):
        if kind == "progress_state" and any(node["value"] > 0 for node in data["nodes"].values()) and not begun:
            begun.append(time.monotonic())
            empty.interrupt()

    with pytest.raises(PromptInterrupted):
        download(empty, "kit_t.safetensors", True, on_message)
    assert time.monotonic() - begun[0] < 3
    assert ours(empty) == ["kit_t.safetensors.part"]
    assert "begun" in check(empty)
    assert "resumed" in download(empty, "kit_t.safetensors", True)
    assert ours(empty) == ["kit_t.safetensors"]


# -- on the canvas

RUN = """async ([type, values]) => {
    app.graph.clear();
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    node.pos = [140, 160];
    for (const [key, value] of Object.entries(values)) node.widgets.find(w => w.name === key).value = value;
    const box = node.widgets.find(w => w.name === 'below').element.shadowRoot.querySelector('.box');
    const size = [...node.size];
    await app.queuePrompt(0);
    for (let i = 0; i < 300 && !box.querySelector('h4'); i++) await new Promise(done => setTimeout(done, 100));
    await new Promise(done => setTimeout(done, 500));
    return {text: box.innerText, cells: box.querySelectorAll('td').length, before: size, after: [...node.size],
        links: [...box.querySelectorAll('a')].map(a => a.href)};
}"""


@pytest.mark.parametrize(("vue", "palette"), [(False, "dark"), (True, "dark"), (True, "light")])
def test_the_table_stands_on_the_node(page, empty, tmp_path, vue, palette):  # noqa: F811
    empty.post("/settings/Comfy.VueNodes.Enabled", vue)
    empty.post("/settings/Comfy.ColorPalette", palette)
    reload(page)
    page.set_viewport_size({"width": 1300, "height": 900})
    found = page.evaluate(RUN, [CHECK, {"vram": 16}])
    assert "3 files are needed" in found["text"] and "kit_v.safetensors" in found["text"] and found["cells"] == 19
    assert found["links"][0] == "https://huggingface.co/Owner/Repo/resolve/main/files/kit_t.safetensors"
    assert found["before"] == found["after"], "no node grows by a run"
    path = tmp_path / f"check_{vue}_{palette}.png"
    page.screenshot(path=path)
    assert cv2.imread(str(path)).std() > 5 and page.evaluate(FAULTS) == []


SAME = re.compile(r"kit_\w+\.\w+|diffusion_models|vae|detection|VAE|GiB|[\w.]* ?[MG]?B|SHA-256|Apache-2.0|/\S*|\(CPU\)|sha256|R ")
"""What is the same in Chinese: names of files and folders, units."""


def test_the_table_in_chinese(page, empty):  # noqa: F811
    path_of(empty, "kit_v.safetensors").write_bytes(FILES["kit_v.safetensors"][:99])
    path_of(empty, "kit_p.onnx").with_name("named.onnx").write_bytes(FILES["kit_p.onnx"])
    empty.post("/settings/Comfy.Locale", "zh")
    try:
        reload(page)
        for node, values, says in (
            (CHECK, {"vram": 16}, ["需要 2 个文件", "缺少", "大小不对", "以别的文件名存在（named.onnx）", "99 字节，而不是 2097152"]),
            (DOWNLOAD, {"file": "kit_v.safetensors"}, ["没有下载任何文件", "将下载：2.1 MB", "许可"]),
        ):
            text = page.evaluate(RUN, [node, values])["text"]
            assert [one for one in says if one not in text] == [], text
            assert re.findall("[A-Za-z]{2,}", SAME.sub("", text)) == [], text
    finally:
        path_of(empty, "kit_p.onnx").with_name("named.onnx").unlink()
        empty.post("/settings/Comfy.Locale", "en")
        reload(page)


def reload(page):  # noqa: F811
    page.reload(wait_until="domcontentloaded")
    page.wait_for_function("'WanAnimateKitAnimate' in (window.LiteGraph?.registered_node_types ?? {})", timeout=120_000)
    page.wait_for_timeout(2000)


def test_a_confirmation_counts_once_and_is_not_saved(page, empty, hub):  # noqa: F811
    said = page.evaluate(RUN, [DOWNLOAD, {"file": "kit_p.onnx"}])["text"]
    assert "Nothing was fetched" in said and hub.asked == []
    said = page.evaluate(RUN, [DOWNLOAD, {"file": "kit_p.onnx", "confirm": True}])["text"]
    assert "kit_p.onnx" in said and "fetched" in said and ours(empty) == ["kit_p.onnx"]
    confirm = "app.graph.nodes[0].widgets.find(w => w.name === 'confirm').value"
    assert page.evaluate(confirm) is False
    page.evaluate("app.graph.nodes[0].widgets.find(w => w.name === 'confirm').value = true")
    saved = page.evaluate("app.graph.serialize()")
    assert True not in saved["nodes"][0]["widgets_values"] and "kit_p.onnx" in saved["nodes"][0]["widgets_values"]
    saved["nodes"][0]["widgets_values"] = ["kit_p.onnx", 0, True]  # somebody else's file, by hand
    page.evaluate("graph => app.loadGraphData(graph)", saved)
    assert page.evaluate(confirm) is False
    assert page.evaluate("app.graph.nodes[0].widgets.find(w => w.name === 'file').value") == "kit_p.onnx"
