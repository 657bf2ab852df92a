"""The figures that documents name are those of the result files."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import results
from demo.importing import ROOT


def numbered(values: dict) -> dict:
    """As ``str.format`` looks keys up."""
    return {int(key) if key.isdigit() else key: value for key, value in values.items()}


FOUND = {path.stem: json.loads(path.read_text(), object_hook=numbered) for path in results.FOLDER.glob("*.json")}
DOCUMENTS = ["README.md", "CHANGELOG.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]


def figures() -> list[tuple[str, str]]:
    """(document, words with result files' values in their places) of data/figures.txt."""
    found, document = [], ""
    for line in Path(__file__).with_name("data").joinpath("figures.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            document = line[2:]
        elif line:
            found.append((document, line))
    return found


# Result files by the card that README and docs/scale.md give for them; a name that ends in _ is of several.
CARDS = {
    "H100": (
        "clip_480p_4_cold", "clip_480p_4_cold_cached", "clip_480p_4_five", "segment_480p_", "segment_720p_", "vae_",
        "detect_gpu", "step_480p_bf16", "step_480p_bf16_", "step_480p_fp8", "step_480p_fp8_", "step_480p_default_",
    ),
    "H200": (
        "clip_480p_4", "clip_480p_4_fa4", "clip_720p_4", "step_480p_default", "step_720p_default", "attention_",
        "step_480p_diffusers", "step_720p_diffusers", "step_480p_wrapper", "step_720p_wrapper", "split_", "matrix",
        "step_diffusers_",
    ),
}  # fmt: skip


@pytest.mark.parametrize("document, line", figures())
def test_a_figure_is_that_of_its_result_file(document, line):
    text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
    wanted = line.format(**FOUND)
    assert wanted in text, f"{document} does not say: {wanted}"


@pytest.mark.parametrize("card, name", [(card, name) for card, names in CARDS.items() for name in names])
def test_the_card_that_is_named_is_the_one_it_was_measured_on(card, name):
    measured = {
        claim: values["hardware"]
        for claim, values in FOUND.items()
        if claim == name or (name.endswith("_") and claim.startswith(name))
    }
    assert measured and all(card in hardware for hardware in measured.values()), measured


@pytest.mark.parametrize("document", DOCUMENTS)
def test_result_files_and_scripts_that_are_named_are_there(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    files = set(re.findall(r"`([a-z0-9_]+)\.json`", text))
    known = FOUND.keys() | {"models_manifest", "animate_api"}
    assert not files - known
    scripts = set(re.findall(r"`(?:python )?benchmarks/([a-z0-9_]+\.py)", text))
    assert not [name for name in scripts if not (ROOT / "benchmarks" / name).is_file()]
