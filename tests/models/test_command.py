"""wan-animate models: what it prints, its exit codes, and that it fetches nothing unasked."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from demo.importing import ROOT
from tests.support.hub_server import Hub, serving
from wan_animate.errors import InputError
from wan_animate.models.command import app

RUN = CliRunner()
FILES = {name: np.random.default_rng(at).bytes(300_000) for at, name in enumerate(("t.safetensors", "v.safetensors"))}


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A list of two files, and a hub that has them."""
    entries = [
        {
            "name": name, "role": role, "folder": folder, "size": len(FILES[name]), "size_about": "300 kB",
            "sha256": hashlib.sha256(FILES[name]).hexdigest(), "evidence": "hub", "licence": licence,
            "source": {"repo": "a/b", "path": name}, "optional": False, "default": True,
        }
        for name, role, folder, licence in (
            ("t.safetensors", "transformer", "diffusion_models", "Apache-2.0"),
            ("v.safetensors", "vae", "vae", "AGPL-3.0"),
        )
    ]  # fmt: skip
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"models": entries}))
    monkeypatch.setenv("WAN_ANIMATE_MANIFEST", str(path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("WAN_ANIMATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    with serving(Hub(dict(FILES))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def run(*arguments, **more):
    return RUN.invoke(app, [str(one) for one in arguments], **more)


def test_nothing_here_then_fetched_then_all_here(listed, tmp_path):
    folder = tmp_path / "models"
    first = run("check", "--folder", folder, "--vram", 24)
    assert first.exit_code == 1 and "2 files are needed (600 kB)" in first.stdout
    done = run("download", "--missing", "--folder", folder, "--vram", 24, "--yes")
    assert done.exit_code == 0, done.output
    for said in ("Licence: AGPL-3.0", "https://huggingface.co/a/b/resolve/main/v.safetensors", "its source lists it"):
        assert said in done.stdout
    assert (folder / "vae" / "v.safetensors").read_bytes() == FILES["v.safetensors"]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "diffusion_models/t.safetensors", "vae/v.safetensors",
    ]  # fmt: skip
    last = run("check", "--folder", folder, "--vram", 24)
    assert last.exit_code == 0 and "Everything that a clip needs is here." in last.stdout
    assert run("download", "--missing", "--folder", folder).stdout.startswith("Everything that a clip needs is here.")


def test_nothing_is_fetched_without_a_word(listed, tmp_path):
    folder = tmp_path / "models"
    refused = run("download", "v.safetensors", "--folder", folder)
    assert isinstance(refused.exception, InputError) and "without your word" in str(refused.exception)
    assert run("download", "v.safetensors", "--folder", folder, "--dry-run").exit_code == 0
    assert run("check", "--folder", folder).exit_code == 1
    unnamed = run("download", "--folder", folder, "--yes")
    assert isinstance(unnamed.exception, InputError) and "no file is named" in str(unnamed.exception)
    assert listed.asked == [] and not [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_here_under_another_name_is_not_fetched(listed, tmp_path):
    folder = tmp_path / "models"
    (folder / "vae").mkdir()
    (folder / "vae" / "mine.safetensors").write_bytes(FILES["v.safetensors"])
    assert run("download", "--missing", "--folder", folder, "--yes").exit_code == 0
    assert {path for _, path, *_ in listed.fetched} == {"/a/b/resolve/main/t.safetensors", "/cdn/t.safetensors"}


def test_only_what_is_named_is_fetched(listed, tmp_path):
    assert run("download", "v.safetensors", "--folder", tmp_path / "models", "--yes").exit_code == 0
    assert {path for _, path, *_ in listed.fetched} == {"/a/b/resolve/main/v.safetensors", "/cdn/v.safetensors"}


def test_for_a_program(listed, tmp_path):
    (tmp_path / "models" / "vae").mkdir()
    (tmp_path / "models" / "vae" / "v.safetensors").write_bytes(FILES["t.safetensors"])
    found = json.loads(run("check", "--folder", tmp_path / "models", "--json", "--vram", 0).stdout)
    states = {one["name"]: (one["state"], one["hash_verified"]) for one in found["models"]}
    assert states["v.safetensors"] == ("corrupt", True)
    assert states["t.safetensors"][0] == "in another folder" and not found["complete"]


def test_several_folders(listed, tmp_path):
    (tmp_path / "more" / "vae").mkdir(parents=True)
    (tmp_path / "more" / "vae" / "v.safetensors").write_bytes(FILES["v.safetensors"])
    found = run("check", "--folder", tmp_path / "models", "--folder", tmp_path / "more")
    assert "1 file is needed" in found.stdout and f"below {tmp_path / 'models'}." in found.stdout


@pytest.mark.parametrize("arguments", [["--folder", "/no/such"], ["--hash", "yes"]])
def test_bad_input_is_one_sentence(listed, tmp_path, arguments):
    given = arguments if "--folder" in arguments else [*arguments, "--folder", tmp_path / "models"]
    error = run("check", *given).exception
    assert isinstance(error, InputError) and "\n" not in str(error) and str(error).endswith(".")


def test_a_comfyui_is_found_by_its_path(listed, tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert f"below {tmp_path / 'models'}" in run("check").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_ctrl_c_keeps_what_came(listed, tmp_path):
    listed.faults = ["stall"]
    command = [sys.executable, "-m", "wan_animate.models.command", "download", "v.safetensors", "--yes", "--folder"]
    process = subprocess.Popen([*command, str(tmp_path / "models")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "models" / "vae" / "v.safetensors.part"
    for _ in range(1200):
        if len(listed.fetched) == 2:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (1, 130, -2) and "Traceback" not in said
    assert part.is_file() and not part.with_suffix("").exists()
    assert run("download", "v.safetensors", "--yes", "--folder", tmp_path / "models").exit_code == 0
    assert part.with_suffix("").read_bytes() == FILES["v.safetensors"] and not part.exists()


def test_in_a_process_of_its_own():
    environment = {**os.environ, "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "wan_animate.models.command", "check", "--help"],
        capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and "Exit codes" in done.stdout and "Examples" in done.stdout
