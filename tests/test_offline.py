"""Nothing leaves the machine. The demo's tests run the engine and a server where sockets are denied."""

import socket
import subprocess
import sys

import pytest

from demo.importing import ROOT
from wan_animate.errors import InputError


def ran(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=240)


def test_what_is_denied(offline):
    tries = (
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://example.invalid/', timeout=1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
    )
    for code in tries:
        assert "denied by a test" in ran("-c", code).stderr
    assert len(offline.read_text().splitlines()) >= len(tries)
    with pytest.raises(OSError, match="denied by a test"):
        socket.create_connection(("192.0.2.1", 80), 1)
    offline.write_text("")
    here = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 1)"
    assert ran("-c", here).returncode == 0


@pytest.mark.parametrize("part", ["tokenizer", "image_processor", "text_encoder"])
def test_a_folder_that_is_not_there_is_no_repository(part, tmp_path, monkeypatch, offline):
    """``--models m`` has a name of one part, and ``m/tokenizer`` one of two: names that a model hub may have."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    from wan_animate.backends.diffusers import encode_image, encode_prompt

    monkeypatch.chdir(tmp_path)
    for name in {"text_encoder", "image_encoder", "tokenizer", "image_processor"} - {part}:
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "config.json").write_text("{}")
    with pytest.raises(InputError, match="m has no |cannot be loaded"):
        if part == "image_processor":
            import torch

            encode_image("m", torch.zeros(8, 8, 3))
        else:
            encode_prompt("m", "a robot")


@pytest.mark.parametrize("told", [True, False])
def test_onnxruntime_keeps_nothing_in_the_home_folder(told, small_models, tmp_path, monkeypatch, offline):
    """Nor does it look its maker's host up. Told nothing, 1.32 has a device id there after its import."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the networks need onnxruntime: run make setup")
    from demo.small_models import DETECTION

    network = small_models.detection / DETECTION["dancer"][0]
    code = (
        f"from wan_animate.detect.onnx_model import OnnxModel; OnnxModel({str(network)!r}, 'cpu', 'the detector')"
        if told
        else "import onnxruntime"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    found = ran("-c", code)
    assert found.returncode == 0, found.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    if told:
        assert not kept
    elif not kept:
        pytest.skip(f"onnxruntime {onnxruntime.__version__} keeps nothing anyway")
