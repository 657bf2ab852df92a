"""What the server says with values in it is known to each language of js/language, as this engine says it today."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from demo.importing import ROOT
from wan_animate.chain.controls import drawn_pose_note
from wan_animate.mask.character import DONE, lost_report
from wan_animate.mask.coverage import FAULTS, PARTS, Coverage
from wan_animate.models.check import below, check
from wan_animate.models.manifest import ModelFile, Source, read_manifest
from wan_animate.models.report import FAULTS as WRONG
from wan_animate.models.report import ROLES, Report, offer
from wan_animate.models.view import View
from wan_animate.pose.track import PoseTrack
from wan_animate.text import found_too_little
from wan_animate.video.frames import TensorSource
from wan_animate.video.hdr import Mapping
from wan_animate.video.notes import conversion_notes
from wan_animate.video.resample import cut_note

from .test_js_words import LANGUAGES, TEXT, code, table

PLAIN = re.compile(r"[\w./\\-]+\.(safetensors|onnx|gguf|bin)(\.part)?|[\d.]+ \w?B|SHA-256|VAE|\W*")
"""What is the same in every language."""


def sentences(path) -> dict[str, str]:
    words = code(path).partition("SENTENCES = {")[2].partition("\n};")[0]
    pairs = re.findall(rf"({TEXT}):\s*({TEXT})", words)
    assert len(pairs) * 2 == len(re.findall(TEXT, words)) > 40, "a sentence without its other language"
    assert len(dict(pairs)) == len(pairs), "a sentence twice"
    return {json.loads(key): json.loads(value) for key, value in pairs}


def pattern(key: str) -> re.Pattern:
    return re.compile(re.sub(r"\\\{\d\\\}", "(.+?)", re.escape(key)), re.DOTALL)


def warnings() -> list[str]:
    """Of poses and masks, in each of their forms."""
    found, lost, few = np.zeros((3, 40), bool)
    found[3:5] = lost[10:20] = few[::4] = True
    faults = np.zeros((40, len(FAULTS)), bool)
    for at in range(len(FAULTS)):
        faults[at : at + 3, at] = True
    points = faults.sum(1)
    said = [found_too_little(found), found_too_little(np.zeros(4, bool)), found_too_little(few[:37])]
    said += [lost_report(lost, how) for how in DONE.values()]
    for beyond, white in ((False, few), (True, np.ones(40, bool))):
        said += Coverage(faults, points, beyond, white).warnings
    said += [
        example_note(),
        drawn_pose_note(
            PoseTrack(np.zeros((1, 133, 3)), 1920, 1080), TensorSource(np.zeros((1, 480, 832, 3), np.uint8))
        ),
        drawn_pose_note(
            PoseTrack(np.zeros((1, 133, 3)), 1920, 1088), TensorSource(np.zeros((1, 1088, 1920, 3), np.uint8))
        ),
    ]
    return said + video_notes()


def video_notes() -> list[str]:
    """What Load Driving Video says of what it converts and cuts."""
    sizes = (720, 576), (1024, 576), Fraction(64, 45)
    said = conversion_notes("a.mov", Mapping("HLG", "BT.2020"), True, *sizes)
    said += conversion_notes("a.mov", Mapping("SDR", "P3"), False, *sizes)
    cuts = [cut_note("a.mov", (640, 360), size, "fill") for size in ((600, 360), (640, 340), (480, 480))]
    assert None not in cuts and len(said) == 5
    return [*said, *(one for one in cuts if one)]


def example_note() -> str:
    """The node's, whose module needs ComfyUI."""
    tree = ast.parse((ROOT / "nodes" / "host" / "example_picture.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(one.value) for one in tree.body if isinstance(one, ast.Assign) and one.targets[0].id == "NOTE"
    )


def model(name: str, content: bytes, **more) -> ModelFile:
    facts = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "evidence": "hub"} | more
    return ModelFile(name, "vae", "vae", "MIT", Source("a/b", name), False, **facts)


@pytest.fixture
def views(tmp_path) -> list[View]:
    """Check Models and Download Models: files in every state, on every card."""
    root = tmp_path / "models"
    folders = below(root, {one.folder for one in read_manifest()})
    for kind in folders:
        (root / kind).mkdir(parents=True)
    contents = {name: name.encode() * 99 for name in "abcdefghijk"}
    files = {name: model(f"{name}.safetensors", content) for name, content in contents.items()}
    unknown = {"sha256": None, "evidence": None}
    files |= {
        "b": replace(files["b"], evidence="published"),
        "i": replace(files["i"], name="i.onnx", size=None, **unknown),
        "j": replace(files["j"], name="j.onnx"),
    }
    for place, content in {
        "vae/a.safetensors": contents["b"],  # corrupt
        "vae/b.safetensors": contents["a"],  # corrupt, by a hash that was not verified
        "vae/c.safetensors": contents["c"][:-1],
        "vae/d.safetensors": contents["d"] + b"!",
        "vae/renamed.safetensors": contents["e"],
        "loras/moved.safetensors": contents["f"],
        "loras/g.safetensors": b"",
        "vae/h.safetensors.part": b"begun",
        "vae/i.onnx": contents["i"],
        "vae/perhaps.onnx": contents["j"],
        "vae/k.safetensors": contents["k"],
    }.items():
        (root / place).write_bytes(content)
    real = read_manifest()
    small = [*files.values()]
    made = [Report(tuple(check(real, folders)), folders, gib << 30).view() for gib in (4, 8, 80)]
    made += [Report(tuple(check(small, folders, hashing)), folders).view() for hashing in ("no", "all")]
    made.append(Report(tuple(check([files["j"]], folders, "no")), folders).view())
    kinds = {one.state for hashing in ("no", "all") for one in check(small, folders, hashing)}
    assert set(WRONG) < kinds and len(kinds) == 9, "every state"
    one = next(one for one in real if one.role == "vae" and one.default)
    (root / "vae" / one.name).write_bytes(b"x")
    apart = {kind: [path.with_name(f"{kind}_elsewhere") / "in" for path in paths] for kind, paths in folders.items()}
    made.append(Report(tuple(check([one], folders)), apart).view())
    return [*made, offer([*files.values()], folders), offer([replace(files["a"], evidence="copy")], folders)]


def texts(view: View) -> list[str]:
    notes = [note.partition(": ")[2] for note in view.notes]
    cells = [cell for shown in view.tables for row in (shown.head, *shown.rows) for cell in row]
    return [view.title, *notes, *(cell for cell in cells if isinstance(cell, str)), *view.after]


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_each_sentence_is_known_and_each_known_one_is_said(path, views):
    words, known = table(path), {key: pattern(key) for key in sentences(path)}
    unsaid, unknown = set(known), []

    def say(text: str) -> None:
        fits = sorted((key for key, one in known.items() if one.fullmatch(text)), key=len)
        unsaid.difference_update(fits[-1:])
        for part in known[fits[-1]].fullmatch(text).groups() if fits and text not in words else ():
            for each in part.split("; "):
                say(each)

    for text in warnings() + [text for view in views for text in texts(view)]:
        if text in folders_and_licences(views) or PLAIN.fullmatch(text):
            continue
        if text not in words and not any(one.fullmatch(text) for one in known.values()):
            unknown.append(text)
        say(text)
    assert not unknown, "js/language lacks these"
    assert not unsaid, "nobody says these"
    assert {*ROLES.values()} - words.keys() <= {"VAE"} and {*DONE.values()} <= words.keys()
    assert all(any(one.fullmatch(f"{part} 3-4") for one in known.values()) for part in PARTS)


def folders_and_licences(views) -> set[str]:
    models = read_manifest()
    return (
        {one.licence for one in models}
        | {one.folder for one in models}
        | {"MIT"}
        | {
            cell
            for view in views
            for shown in view.tables
            for row in shown.rows
            if "Into" in shown.head
            for cell in row[3:4]
        }
    )


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_translations_have_the_same_places(path):
    for key, text in sentences(path).items():
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", key)), key
        assert text.strip() and text != key, key
