"""What the server says with values in it is known to each language of js/language, as this engine says it today."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from demo.importing import ROOT
from wan_animate.chain.boundaries import Boundary, boundary_report
from wan_animate.chain.controls import drawn_pose_note
from wan_animate.chain.options import ClipOptions
from wan_animate.mask.character import DONE, lost_report
from wan_animate.mask.coverage import FAULTS, PARTS, Coverage
from wan_animate.models.check import below, check
from wan_animate.models.manifest import ModelFile, Source, read_manifest
from wan_animate.models.report import FAULTS as WRONG
from wan_animate.models.report import ROLES, Report, offer
from wan_animate.models.view import View
from wan_animate.plan.cards import Device
from wan_animate.plan.clip_plan import plan_clip
from wan_animate.plan.measured import Run, Runs, TimedModel
from wan_animate.pose import wholebody
from wan_animate.pose.track import PoseTrack
from wan_animate.pose.units import FRACTIONS, PER_CENT, PIXELS, _said
from wan_animate.preview.color_report import ColorReport
from wan_animate.text import duration, found_too_little
from wan_animate.video.frames import TensorSource
from wan_animate.video.hdr import Mapping
from wan_animate.video.notes import conversion_notes
from wan_animate.video.resample import cut_note

from .support import said_in_code
from .support.figures import dancer_track
from .test_js_words import LANGUAGES, TEXT, code, table

PLAIN = re.compile(r"[\w./\\-]+\.(safetensors|onnx|gguf|bin)(\.part)?|[\d.]+ \w?B|SHA-256|VAE|\W*")
"""What is the same in every language."""
PLACE = r"\{\d(?::(\w+))?\}"
_SAY = code(ROOT / "js" / "language" / "say.js").partition("KINDS = {")[2].partition("};")[0]
KINDS = {json.loads(kind): json.loads(taken) for kind, taken in re.findall(rf"({TEXT}): ({TEXT})", _SAY)}
"""What a place of a sentence takes, as a regular expression."""


def sentences(path) -> dict[str, str]:
    words = code(path).partition("SENTENCES = {")[2].partition("\n};")[0]
    pairs = re.findall(rf"({TEXT}):\s*({TEXT})", words)
    assert len(pairs) * 2 == len(re.findall(TEXT, words)) > 40, "a sentence without its other language"
    assert len(dict(pairs)) == len(pairs), "a sentence twice"
    return {json.loads(key): json.loads(value) for key, value in pairs}


def pattern(key: str) -> re.Pattern:
    """As say.js makes it (test_js_reach.py holds both against each other)."""
    parts = re.split(PLACE, key)
    made = "".join(f"({KINDS[part or 'text']})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    return re.compile(made, re.DOTALL | re.IGNORECASE)


def own(key: str) -> int:
    """Characters of its own."""
    return len(re.sub(PLACE, "", key))


def sample(shape: str) -> str:
    """A sentence of the source with values in it."""
    return shape.replace("({}) in", "(7 GB) in").replace("{}", "7")


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


def plan_texts(folder: Path) -> list[str]:
    """Of Plan Clip: what can be wrong, and the names of its rows; ``folder`` for the times of runs."""
    track = dancer_track(90, 832, 480)
    gone, faceless, legless, small = (track.keypoints.copy() for _ in range(4))
    gone[20:60, :, 2] = faceless[:, wholebody.FACE, 2] = legless[:, wholebody.LEFT_HIP : wholebody.FEET.stop, 2] = 0
    small[..., :2] = (small[..., :2] - (416, 240)) * 0.4 + (416, 240)
    nobody = track.replaced(track.keypoints * np.float32([1, 1, 0]))
    bust, card = track.replaced(legless), Device("A", 30 * 10**9)
    one, some = np.full(90, 0.2), np.full(90, 0.2)
    one[7], some[7:9] = 0, 0
    faults: list[dict] = [
        {"track": track.replaced(gone)}, {"track": nobody}, {"track": track.replaced(faceless)},
        {"track": track.replaced(small)}, {"mask_area": one}, {"mask_area": some}, {"mask_area": one * 0},
        {"mask_area": one * 0 + 1}, {"track": track, "reference": nobody.slice(0, 1)},
        {"track": track, "reference": bust.slice(0, 1)}, {"track": bust, "reference": track.slice(0, 1)},
        {"size": (830, 480)}, {"size": (320, 192)}, {"size": (1920, 1088)}, {"fps": Fraction(60)},
        {"segment_length": 33}, {"previous_frames": 13, "frames": 180}, {"frames": 156}, {"free": 10**6},
        {"device": card}, {"device": Device("B", 6 * 10**9)}, {}, {"device": Device("NVIDIA H100 80GB", 80 * 10**9)},
        {"frames": 180, "cfg": 2.0, "device": Device("NVIDIA GeForce RTX 4090", 0), "free": 10**12},
        {"frames": 180, "options": ClipOptions(cuts=(60,))}, {"frames": 153}, {"frames": 152},
        {"frames": 180, "options": ClipOptions(first_segment=2, last_segment=2)}, {"track": replace(track, cuts=(50,))},
        {"frames": 180, "options": ClipOptions(last_segment=0)}, {"frames": 77},
        {"frames": 180, "options": ClipOptions(last_segment=1)},
        {"track": bust, "fps": Fraction(16), "device": Device("H100", 0), "runs": timed(folder, "H100", "1x1")},
    ]  # fmt: skip
    given = dict(size=(832, 480), frames=90, fps=Fraction(30), lossless=1.0, device=Device("C", 80 * 10**9))
    faults += [{"runs": timed(folder, "C", TimedModel.size), "size": size} for size in ((832, 480), (1280, 720))]
    plans = [plan_clip(**given | fault) for fault in faults]
    found = {str(finding) for plan in plans for finding in plan.findings}
    assert {finding.kind for plan in plans for finding in plan.findings} >= {
        "no_person", "no_face", "small_face", "empty_mask", "white_mask", "framing", "sides", "size", "fps",
        "segment_length", "previous_frames", "last_segment", "disk", "vram",
    }  # fmt: skip
    heads = {part for plan in plans for part in [plan.text().split("\n")[0].strip("*")]}
    rows = [row for plan in plans for row in plan.rows()]
    times = {duration(seconds) for seconds in (20, 60, 100, 3600, 4000)}
    return sorted(found | heads | times | {text for row in rows for text in row})


def timed(folder: Path, device: str, model: str) -> Runs:
    """Of one run, accelerated and placed in every way that a node tells."""
    how = "gluon (Hopper) attention, reuse all, compiled, products fp8 (row-wise), fused"
    placed = "offload to 7.5 GB, 20 blocks offloaded, 2 cards"
    runs = Runs(folder / f"{device}.json")
    numbers = (832, 480, 77, 32760, 2.5, 9.0, 20.0, 1.0, 0.1)
    runs.add(Run(device, model, "bf16", f"{how}, {placed}", 20, "animate", *numbers, "2026-02-03"))
    return runs


def report_texts() -> list[str]:
    """The lines below Animate Character."""
    boundaries = [Boundary(1, 76, 4.0, 3.9), Boundary(2, 152, 9.0, 2.0)]
    lines = [*boundary_report(boundaries).split("\n"), boundary_report(boundaries[:1])]
    pair = {"previous": [3.0, 1.0], "anchor": [2.0, 0.5], "note": "the light changes"}
    colors = [ColorReport.of([{"color": one} for one in ({}, pair)]), ColorReport.of([{"color": {"a": 1}}])]
    return [*lines, *(one.text() for one in colors if one)]


def unit_notes() -> list[str]:
    """Of Keypoints to Pose."""
    body, hands = np.full((3, wholebody.COUNT), PIXELS)[:, 0], np.array([PIXELS, PIXELS, FRACTIONS])
    told = np.ones((3, wholebody.COUNT), bool)
    said = _said({"body": body, "left hand": hands}, told, np.arange(3), (640, 480))
    return said + _said({"body": body * 0 + PER_CENT, "face": body * 0 + PER_CENT}, told, np.arange(3), (640, 480))


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
def test_each_sentence_is_known_and_each_known_one_is_said(path, views, tmp_path):
    words, known = table(path), {key: pattern(key) for key in sentences(path)}
    unsaid, unknown = set(known), []

    def say(text: str) -> None:
        fits = sorted((key for key, one in known.items() if one.fullmatch(text)), key=own)
        unsaid.difference_update(fits[-1:])
        for part in known[fits[-1]].fullmatch(text).groups() if fits and text not in words else ():
            for mark in ("; ", ", ", " and "):
                for each in part.split(mark):
                    say(each)

    reports = plan_texts(tmp_path) + report_texts() + unit_notes()
    for text in warnings() + reports + [text for view in views for text in texts(view)]:
        if text in folders_and_licences(views) or PLAIN.fullmatch(text):
            continue
        if text not in words and not any(one.fullmatch(text) for one in known.values()):
            unknown.append(text)
        say(text)
    for one in said_in_code.warnings():
        for text in (*one.shapes, *one.parts):
            say(sample(text))
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
        assert sorted(re.findall(r"\{(\d)\}", text)) == sorted(re.findall(r"\{(\d)(?::\w+)?\}", key)), key
        assert {*re.findall(PLACE, key)} - {""} <= KINDS.keys(), key
        assert text.strip() and text != key, key
