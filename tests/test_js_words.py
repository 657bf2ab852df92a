"""Every text that js/ shows goes through ``say`` (js/language), and each of its languages has the same texts."""

import json
import re

import pytest

from demo.importing import ROOT

JS = ROOT / "js"
LANGUAGES = sorted(path for path in (JS / "language").glob("*.js") if path.stem != "say")
SCRIPTS = sorted(path for path in JS.rglob("*.js") if path not in LANGUAGES)
TEXT = r'"(?:[^"\\\n]|\\.)*"'
JOINED = rf"{TEXT}(?:\s*\+\s*{TEXT})*"
# What people read of an element or an error, given as a literal.
SHOWN = re.compile(
    r"(?:\b(?:textContent|innerText|title|ariaLabel|alt|placeholder|label)\s*(?::|=(?!=))|new Error\(|"
    r'setAttribute\("(?:aria-label|title|alt)",|\b(?:button|check|fillText|tell|note|edited)\((?:node,\s*)?)'
    rf"\s*(`[^`]*[A-Za-z][^`]*`|{TEXT})"
)
SETTINGS = JS / "jobs.js"  # its texts are the frontend's to translate: locales/*/settings.json


def code(path) -> str:
    """A script without its comments."""
    return re.sub(rf"({TEXT}|`[^`]*`)|//[^\n]*", lambda found: found.group(1) or "", path.read_text(encoding="utf-8"))


def joined(literals: str) -> str:
    return "".join(json.loads(one) for one in re.findall(TEXT, literals))


def said() -> set[str]:
    """The texts that ``say`` is given as they stand, also as one of two."""
    found = set()
    for path in SCRIPTS:
        for call in re.finditer(rf"\bsay\(\s*(?:[\w.]+\s*\?\s*({TEXT})\s*:\s*)?({JOINED})", code(path)):
            found |= {joined(one) for one in call.groups() if one}
    return found


def table(path) -> dict[str, str]:
    words = code(path).partition("WORDS = {")[2].partition("\n};")[0]
    pairs = re.findall(rf"({TEXT}):\s*({TEXT})", words)
    assert len(pairs) * 2 == len(re.findall(TEXT, words)) > 200, "a text without its other language"
    assert len(dict(pairs)) == len(pairs), "a text twice"
    return {json.loads(key): json.loads(value) for key, value in pairs}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(JS).as_posix())
def test_what_is_shown_is_said(path):
    if path == SETTINGS:
        return
    shown = [one for one in SHOWN.findall(code(path)) if re.search("[A-Za-z]{2}", re.sub(r"\$\{[^}]*\}", "", one))]
    assert not shown, "these go on the screen in English alone: put say() around them"


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_a_language_has_each_text_and_no_other(path):
    words, wanted = table(path), said()
    assert len(wanted) > 100
    assert not wanted - words.keys(), "js/language lacks these"
    # the rest is said by a variable: names of tools, of joints, and what the server says
    text = "\n".join([code(one) for one in SCRIPTS])
    engine = "\n".join(
        one.read_text(encoding="utf-8") for room in ("wan_animate", "nodes") for one in (ROOT / room).rglob("*.py")
    )
    unused = [one for one in words.keys() - wanted if one not in text and one not in engine]
    assert not unused, "nobody says these"


@pytest.mark.parametrize("path", LANGUAGES, ids=lambda path: path.stem)
def test_translations_have_the_same_places(path):
    for key, text in table(path).items():
        assert sorted(re.findall(r"\{\d\}", text)) == sorted(re.findall(r"\{\d\}", key)), key
        assert text.strip() and text != key or not re.search("[A-Za-z]{2}", key), key


def test_settings_are_translated():
    names = set(re.findall(r'id: "(WanAnimateKit[\w.]+)"', code(SETTINGS)))
    assert names
    for language in ("en", "zh"):
        told = json.loads((ROOT / "locales" / language / "settings.json").read_text(encoding="utf-8"))
        assert {name.replace(".", "_") for name in names} == told.keys()
