"""The names and tooltips in ``locales/``: English as the schemas say, other languages complete."""

import json
import re

import pytest

from demo import locales
from demo.importing import ROOT

LANGUAGES = sorted(path.name for path in locales.LOCALES.iterdir() if path.is_dir())
OTHERS = [language for language in LANGUAGES if language != "en"]


def read(language: str, name: str) -> dict:
    return json.loads((locales.LOCALES / language / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def infos(pack_nodes):
    return {name: node.GET_SCHEMA().get_v1_info(node).__dict__ for name, node in sorted(pack_nodes.items())}


def test_english_is_what_the_schemas_say(infos):
    assert read("en", "nodeDefs") == locales.node_defs(infos), "run python -m demo.locales"


def test_every_input_has_words_of_its_own(infos):
    for node, info in infos.items():
        for name, options, _ in locales.inputs_of(info):
            shown = options.get("display_name")
            assert shown and "_" not in shown, f"{node}.{name} needs display_name= in words"
            assert options.get("tooltip"), f"{node}.{name}"


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_is_complete(infos, language):
    wanted, found = locales.texts(locales.node_defs(infos)), locales.texts(read(language, "nodeDefs"))
    missing = sorted(wanted.keys() - found.keys())
    assert not missing, f"locales/{language}/nodeDefs.json lacks these:\n" + "\n".join(missing)
    assert not [place for place, text in found.items() if not text.strip()]
    for place in wanted:
        if place.endswith("/tooltip") and len(wanted[place]) > 60:
            assert re.search("[一-鿿]", found[place]) if language == "zh" else found[place] != wanted[place], place


@pytest.mark.parametrize("language", OTHERS)
def test_the_other_files_have_the_same_keys(language):
    for name in ("main", "commands", "settings"):
        ours, english = (locales.texts(read(one, name)).keys() for one in (language, "en"))
        assert ours == english, name


def test_commands_and_settings_are_those_of_the_frontend_code():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "js").glob("**/*.js"))
    ids = set(re.findall(r"""\bid:\s*["'](WanAnimateKit\.[\w.]+)["']""", code))
    named = {key for name in ("commands", "settings") for key in read("en", name)}
    assert {one.replace(".", "_") for one in ids} == named


@pytest.mark.parametrize("language", OTHERS)
def test_help_pages_in_a_language(infos, language):
    """Title and lists are what the locale says (``python -m demo.locales``)."""
    defs = read(language, "nodeDefs")
    for node, info in infos.items():
        path = locales.PAGES / node / f"{language}.md"
        text = path.read_text(encoding="utf-8")
        assert text == locales.page(info, defs[node], language, text), f"{path}: run python -m demo.locales"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_serves_them(host_server, language):
    served = host_server.get("/i18n")[language]
    node = "WanAnimateKitAnimate"
    assert served["nodeDefs"][node] == read(language, "nodeDefs")[node]
    assert read(language, "main").items() <= {key: served[key] for key in read(language, "main")}.items()
    name = f"{node}/{language}.md" if language != "en" else f"{node}.md"
    page = host_server.request(f"/extensions/ComfyUI-WanAnimateKit/docs/{name}").decode()
    assert page.startswith(f"# {read(language, 'nodeDefs')[node]['display_name']}\n")
