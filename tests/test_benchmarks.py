"""Result files: every claim has its figures, and what it takes to run it again."""

import json

import pytest

from benchmarks import results
from demo.importing import ROOT

FILES = sorted(results.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_result_file_is_whole(path):
    values = json.loads(path.read_text(encoding="utf-8"))
    assert values["claim"] == path.stem
    assert values["ratio"] == pytest.approx(values["ours"] / values["peer"], rel=0.01, abs=0.001)
    assert values["better"] in ("lower", "higher")
    for name in ("peer_name", "unit", "hardware", "versions", "date", "command"):
        assert values[name], name
    script = values["command"].split()[1]
    assert (ROOT / script).is_file(), f"{path.name} was written by {script}, which is not there"


def test_only_one_module_writes_claims():
    writers = [
        path.name for path in (ROOT / "benchmarks").glob("*.py") if '"claim":' in path.read_text(encoding="utf-8")
    ]
    assert writers == ["results.py"]


def test_a_claim_is_written_with_its_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    given = {"peer_name": "another", "versions": results.versions("numpy"), "noise": 0.01}
    values = results.record("quick", 1.0, 3.0, **given)
    assert json.loads((tmp_path / "quick.json").read_text()) == values
    assert values["ratio"] == 0.333 and values["noise"] == 0.01 and values["hardware"].startswith("CPU")
    results.record("trial", 1.0, 3.0, **given, write=False)
    assert [path.name for path in tmp_path.iterdir()] == ["quick.json"]


def test_the_command_is_the_one_that_ran_without_this_machines_folders(tmp_path):
    given = [str(tmp_path / "read.py"), "--comfy", str(tmp_path / "ComfyUI"), "--jobs", "ours;peer"]
    given.append(f"--peer={tmp_path / 'Wan2.2'}")
    shown = "python benchmarks/read.py --comfy path/to/ComfyUI --jobs 'ours;peer' --peer=path/to/Wan2.2"
    assert results.command(given) == shown


def test_weights_of_the_real_size_are_made_once_for_all_that_want_them(tmp_path, monkeypatch):
    from benchmarks import clip

    made = []

    def write(models):
        made.append(models)
        assert {path.name for path in models.iterdir()} == {"diffusion_models", "vae", "clip_vision"}
        (models / "diffusion_models" / clip.MODEL).touch()

    monkeypatch.setattr(clip, "make_weights", write)
    assert clip.full_models(tmp_path) == clip.full_models(tmp_path) == tmp_path / "models" and len(made) == 1
