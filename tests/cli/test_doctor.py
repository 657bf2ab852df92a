"""``wan-animate doctor``."""

import json
from collections import namedtuple

import pytest

from wan_animate import cli
from wan_animate.cli import examination
from wan_animate.cli.examination import memory
from wan_animate.export.codecs import CODECS

from .test_options import write_models


def examined(capsys, *arguments, code=0) -> dict[str, dict]:
    assert cli.main(["doctor", "--json", *map(str, arguments)]) == code
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)}


def test_what_this_machine_has(capsys, tmp_path):
    found = examined(capsys, "--device=cpu", f"--out={tmp_path / 'new' / 'a.mp4'}")
    import onnxruntime
    import torch

    assert found["torch"]["found"] == str(torch.__version__) and found["WanAnimateKit"]["found"] == "0.1.0"
    assert "CPUExecutionProvider" in found["onnxruntime"]["why"]
    used = found["pose on"]["found"] + "ExecutionProvider"
    assert used in onnxruntime.get_available_providers()
    hardware = {one.name for codec in CODECS.values() for one in codec.encoders if one.hardware}
    assert set(found["export on"]["found"].split(", ")) <= hardware | {"CPU"}
    assert found["mp4 by"]["found"] and found["device"]["found"] == "cpu" and found["device"]["why"].startswith("given")
    assert "free" in found["disk"]["found"] and str(tmp_path / "new") in found["disk"]["why"]
    assert not list(tmp_path.iterdir()) and not any(one["wrong"] for one in found.values())


def test_as_text_what_is_wrong_has_a_mark(capsys, monkeypatch, tmp_path):
    version = examination.installed_version
    monkeypatch.setattr(examination, "installed_version", lambda name: None if name == "diffusers" else version(name))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 5, 5))
    assert cli.main(["doctor", "--device=cpu", f"--models={tmp_path}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    marked = {line.split()[1] for line in lines if line.startswith("!")}
    assert marked == {"diffusers", "disk", "model"}
    assert any("has no transformer/config.json" in line for line in lines)


def test_a_model_without_its_weights(capsys, tmp_path, small_models):
    found = examined(capsys, "--device=cpu", f"--models={write_models(tmp_path / 'm')}", code=1)
    assert found["transformer"]["wrong"] and "download" in found["transformer"]["why"]
    if small_models.diffusers is not None:
        found = examined(capsys, "--device=cpu", f"--models={small_models.diffusers}")
        assert found["transformer"]["found"].endswith("MB") and "--prompt-file" in found["text_encoder"]["why"]


def test_a_device_that_is_not_there(capsys):
    assert cli.main(["doctor", "--device=cuda:99"]) == 2
    assert "--device is 'cuda:99'" in capsys.readouterr().err


def test_memory():
    total, free = memory()
    assert total == free == 0 or 10**8 < free <= total


@pytest.mark.parametrize("name", ["doctor", "jobs"])
def test_help_needs_no_torch(name):
    import subprocess
    import sys

    code = f"import sys; from wan_animate.cli import main; main([{name!r}, '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
