"""What the pack's source says on the canvas has words in each language of js/language, or is named here with the reason
why it stays English; and the frontend's own function, in Node.js, finds them."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from demo.importing import ROOT

from .support import said_in_code
from .support.spoken import evaluated, spoken
from .test_js_sentences import KINDS, PLACE, pattern, plan_texts, report_texts, sample, sentences, unit_notes, warnings
from .test_js_words import LANGUAGES, table

ERROR = "it ends in an error, and errors stay English"
UNHEARD = "its node shows no warnings of the log"
ENGLISH = {
    "Animate Character: what is known of the finished clip is not shown: {}": ERROR,
    "Animate Character: the picture of the boundaries is not shown: {}": ERROR,
    "{} cannot do {} ({}): the host's attention is used.": ERROR,
    "blocks cannot be compiled here, running them as they are: {}": ERROR,
    "{} cannot be multiplied in fp8, it is as loaded: {}": ERROR,
    "{} was not cleaned up: {}": ERROR,
    "a picture is not shown: {}": ERROR,
    "the boundaries between segments were not measured: {}": ERROR,
    "the fused kernel {} does not work here, PyTorch's own are used: {}": ERROR,
    "the kernel for the faces' blur does not work here, PyTorch's own is used: {}": ERROR,
    "the next plan will not know what this run took: {}": ERROR,
    "{} It is encoded anew now.": f"{ERROR}; {UNHEARD}",
    "attention {} was removed: {} is used.": UNHEARD,
    "{}: {}.": f"of a card's encoder, {ERROR}; {UNHEARD}",
    "the character mask is black in frames {} to {}: nobody is put into the scene there":
        "Animate Character leaves it out: the check of the whole mask says more",
}  # fmt: skip
"""Sentences without words of their own in other languages."""
TESTED = "test_js_sentences.py says it in each of its forms"
ELSEWHERE = {
    ("nodes/animate.py", "note"): TESTED,
    ("nodes/host/default_prompt.py", "error"): ERROR,
    ("nodes/host/lora/apply.py", "report"): "also an output, in the words of the LoRA's file",
    ("nodes/keypoints.py", "note"): TESTED,
    ("nodes/models.py", "error"): f"{ERROR}; said while ComfyUI starts",
    ("nodes/prompt.py", "error"): f"{ERROR}; {UNHEARD}",
    ("wan_animate/chain/generate.py", "boundary_report(boundaries)"): TESTED,
    ("wan_animate/mask/character.py", "report"): TESTED,
    ("wan_animate/mask/coverage.py", "words"): TESTED,
    ("wan_animate/pose/found.py", "words"): TESTED,
    ("nodes/host/example_picture.py", "NOTE"): TESTED,
    ("nodes/types.py", "drawn_pose_note(value, drawn, frames, mode) if isinstance(value, PoseTrack) else ''"): TESTED,
    ("wan_animate/video/notes.py", "notes"): TESTED,
}
"""Sentences that the source does not tell where they are said: script, expression."""
DRAWN = {
    ("nodes/animate.py", "heard_now()"): "the log",
    ("nodes/clean.py", "[report.text()]"): "figures of a report stay English",
    ("nodes/detect.py", "warnings"): TESTED,
    ("nodes/finished.py", "list(filter(None, lines)) + warnings"): TESTED,
    ("nodes/finished.py", "warnings"): TESTED,
    ("nodes/plan.py", "plan.notes"): TESTED,
    ("nodes/plan.py", "text"): TESTED,
    ("nodes/retarget.py", "warnings"): TESTED,
    ("nodes/segmentation.py", "warnings"): TESTED,
    ("nodes/split.py", "[line]"): "names of cards and figures",
    ("nodes/video.py", "source.notes"): TESTED,
    ("nodes/warning.py", "[warning]"): TESTED,
    ("nodes/warning.py", "coverage.warnings"): TESTED,
}
"""Lines and warnings that nodes give to what is shown below them."""
AS_WRITTEN = dict.fromkeys(KINDS, r"\{\}") | {
    "size": r"\{\}(?:x\{\})?|\d+x\d+",
    "bytes": r"\{\}(?: GB)?",
    "text": r".+?",
}
"""What a place may be in the source, by its kind."""
SAME = re.compile(
    r"BT\.\d+|SDR|HDR|HLG|P3|FFmpeg|bwdif|cd/m2|ComfyUI|example\.png|fit|fill|pad|animate|token|Delta E|VRAM|fp8|bf16"
    r"|mp4|MB|GB|GiB|point_frame|segment_length|previous_frames|gluon|Hopper|row-wise|all|NVIDIA|RTX|H100|Animate|a\.mov"
    r"|clip_vision_output|onnxruntime|CPU|wan-animate jobs clear|cfg|GeForce|\d+x\d+"
)
"""Names and units, the same in Chinese."""
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js on the PATH")


class Known:
    """The texts of a language, against which the source's are held."""

    def __init__(self, path) -> None:
        self.words = {key.casefold() for key in table(path)}  # their places are for values of the frontend
        self.patterns = [self._pattern(key) for key in sentences(path)]

    def _pattern(self, key: str) -> re.Pattern:
        parts = re.split(PLACE, key)
        made = (f"({AS_WRITTEN[part or 'text']})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        return re.compile("".join(made), re.IGNORECASE)

    def __contains__(self, shape: str) -> bool:
        if shape.casefold() in self.words:
            return True
        for one in self.patterns:
            found = one.fullmatch(shape)
            if found and all(
                part == shape or not re.search("[A-Za-z]{3}", part) or part in self for part in found.groups()
            ):
                return True
        return False


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_what_the_source_says_has_words(path):
    known, said = Known(path), [*said_in_code.warnings(), *said_in_code.findings(), *said_in_code.notes()]
    assert len(said) > 70 and {one.place.partition("/")[0] for one in said} == {"nodes", "wan_animate"}
    shapes = {shape: one.place for one in said for shape in one.shapes}
    lacking = {shape: place for shape, place in shapes.items() if shape not in known}
    assert not lacking.keys() - ENGLISH.keys(), "js/language lacks these, or say here why they stay English"
    assert not ENGLISH.keys() - lacking.keys(), "nobody says these any more, or they have words now"
    untold = {(one.place, one.source) for one in said if not one.shapes}
    assert not untold - ELSEWHERE.keys(), "say here what is said there, or why it stays English"
    assert not ELSEWHERE.keys() - untold, "nobody says these any more"


def test_what_nodes_draw_is_known():
    assert said_in_code.drawn() == DRAWN.keys()


def test_the_shell_s_rooms_are_not_run_by_nodes():
    rooms = "|".join(name for name in said_in_code.SHELL if "." not in name)
    reached = [
        (said_in_code.place(path), found)
        for path in said_in_code.scripts()
        for found in re.findall(rf"(?:from|import) [\w.]*\.({rooms})\b", path.read_text(encoding="utf-8"))
    ]
    outside = {("wan_animate/record/server.py", "queue"), ("wan_animate/__init__.py", "backends")}  # not of nodes
    assert set(reached) <= outside, "what these log may be heard by a node"


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_nodes_have_their_names(path):
    """A sentence that sends people to a node calls it as the canvas does."""
    names = {}
    for language in ("en", path.stem):
        defs = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        names[language] = {node: one["display_name"] for node, one in defs.items()}
    wrong = []
    for key, text in (table(path) | sentences(path)).items():
        here = [node for node, name in names["en"].items() if " " in name and name in key]
        longest = [a for a in here if not any(names["en"][a] in names["en"][b] and a != b for b in here)]
        wrong += [(names["en"][node], text) for node in longest if names[path.stem][node] not in text]
    assert not wrong


@needs_node
def test_places_take_what_is_meant():
    """By the frontend's own function: other words that begin so are no numbers, sizes, times."""
    takes = {
        "frames {0:numbers}": {
            "Frames 3-4": True,
            "frames 7": True,
            "frames 1, 5 to 9": True,
            "frames 0, 2, 4-5, and 3 more ranges": True,
            "frames 50, 60, ...": True,
            "frames rate": False,
            "frames of the mask": False,
            "frames 3 of the mask": False,
            "frames 3 oo": False,
            "frames 3,": False,
            "frames 3 to": False,
            "frames -": False,
            "frames 3 - 4": False,
        },
        "{0:number} of {1:number} frames": {
            "1 of 77 frames": True,
            "171,360 of 2.5 frames": True,
            "some of the frames": False,
            "1 of 3 of 5 frames": False,
        },
        "{0:size}": {"832x480": True, "832": False, "832x480 to 1280x720": False, "axb": False},
        "{0:bytes}": {
            "1.2 GB": True,
            "1e+03 GB": True,
            "0 MB": True,
            "80 GiB": True,
            "12 B": True,
            "9 bytes": True,
            "12": False,
            "a GB": False,
        },
        "{0:hash}": {"0a" * 32: True, "0a" * 31: False, "xa" * 32: False},
        "about {0:time}": {
            "about 40 s": True,
            "about 4 min 20 s": True,
            "about 2 h 5 min": True,
            "about the mask": False,
        },
        "{0:name} weights": {"bf16 weights": True, "fp8 (row-wise) weights": True, "all of the model's weights": False},
    }
    asked = [[key, text] for key, texts in takes.items() for text in texts]
    answers = evaluated("zh", f"{json.dumps(asked)}.map(([key, text]) => pattern(key).test(text))")
    assert {key for key, _ in asked} and answers == [fits for texts in takes.values() for fits in texts.values()]
    assert [bool(pattern(key).fullmatch(text)) for key, text in asked] == answers
    tried = {kind for key in takes for kind in re.findall(PLACE, key)}
    assert tried == KINDS.keys() - {"text"}


@needs_node
@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_nothing_is_half_translated(path, tmp_path):
    texts = [*warnings(), *plan_texts(tmp_path), *report_texts(), *unit_notes()]
    texts.append("\n".join(report_texts()))  # as one warning, while a job runs
    assert not half(texts, spoken(path.stem, texts, "sayLines"))
    assert (
        "sayLines(each)"
        in (ROOT / "js" / "panel" / "view.js").read_text(encoding="utf-8").partition("#warn(sentences)")[2]
    )
    heard = [sample(one.shapes[0]) for one in said_in_code.warnings() if one.shapes and one.shapes[0] not in ENGLISH]
    heard += [
        f"detect pose: frames 3-9 show no person {who}; the one there who looks most like the chosen one is followed "
        "(1 of 2 from the left)."
        for who in ("number 2", "at the point")
    ]
    assert not half(heard, spoken(path.stem, heard))


@needs_node
def test_errors_stay_whole():
    """Errors and sentences of others are in one language, also where they have words in common with a template."""
    others = [
        "nobody, by the look of it, was there",
        "about the mask: invert it",
        "frame rate",
        "frames of the mask are lost",
        "the model's own weights",
        "head of the file",
        "7 of the frames",
        "the first (begun anew)",
        "1 of 3: done",
        "size: not known",
        "memory ran out, and 3 more things",
        "1280 bytes are missing",
    ]
    assert spoken("zh", others) == others


def half(texts: list[str], words: list[str]) -> list[str]:
    """Those that keep two English letters beside each other, but in :data:`SAME`."""
    return [
        f"{text} -> {one}"
        for text, one in zip(texts, words, strict=True)
        if re.search("[A-Za-z]{2}", SAME.sub("", one))
    ]
