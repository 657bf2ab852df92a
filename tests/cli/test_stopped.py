"""Ctrl+C and failures in the shell: one line, an exit code, no empty folders."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from wan_animate import cli
from wan_animate.chain.store import SegmentStore
from wan_animate.cli import make
from wan_animate.errors import InputError

from .test_options import inputs  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """A shell starts what runs in its background with Ctrl+C ignored, and programs started from there inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def arguments(given: dict, folder: Path) -> list[str]:
    given = given | {"out": folder / "new" / "deep" / "a.mp4"}
    return [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget"]


def test_the_shell_loads_nothing_before_it_looks_for_ctrl_c():
    heavy = {"torch", "numpy", "argparse", "cv2", "typer", "rich"}
    code = f"import sys; import wan_animate.cli; print(sorted({heavy} & set(sys.modules)))"
    run = [sys.executable, "-S", "-c", code]  # without site, whose .pth files import what they like
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
@pytest.mark.parametrize("module", ["typer", "torch", "cv2", "diffusers"])
def test_ctrl_c_while_a_module_is_imported(inputs, tmp_path, module):  # noqa: F811
    """The signal is sent as the import begins."""
    pytest.importorskip(module, reason="the embedded backend needs diffusers: run make setup")
    code = (
        "import os, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r} and self in sys.meta_path:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "import wan_animate.cli\n"
        f"sys.modules.pop({module!r}, None)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "wan_animate.cli.program()\n"
    )
    run = [sys.executable, "-c", code, *arguments(inputs, tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("wan-animate: stopped;")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
def test_an_import_that_turns_ctrl_c_into_its_own_error(inputs, tmp_path, monkeypatch, capsys):  # noqa: F811
    def broken(*_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr(make, "run", broken)
    assert cli.main(arguments(inputs, tmp_path)) == cli.STOPPED
    assert capsys.readouterr().err.startswith("wan-animate: stopped;")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise on Windows")
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1, 1.5, 2, 3])
def test_ctrl_c_at_any_time_of_a_real_run(inputs, small_models, tmp_path, seconds):  # noqa: F811
    """Counted from where the command begins: before it, Ctrl+C meets Python itself."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    given = inputs | {"models": small_models.diffusers, "steps": 500, "area": 128 * 80}
    code = "import wan_animate.cli as cli; cli.sys.stdout.write('up\\n'); cli.sys.stdout.flush(); cli.program()"
    run = [sys.executable, "-c", code, *arguments(given, tmp_path)]
    with subprocess.Popen(run, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=120)[1].strip().splitlines()
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT and said[-1].startswith("wan-animate: stopped;"), said
    assert not any("Traceback" in line for line in said) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("the disk is gone."), RuntimeError("no memory")])
@pytest.mark.parametrize("at", ["load", "encode_image", "generate"])
def test_a_job_that_ends_before_its_first_segment(inputs, tmp_path, monkeypatch, capsys, error, at):  # noqa: F811
    from wan_animate.backends import diffusers
    from wan_animate.chain import generate

    def fail(*_, **__):
        assert next(tmp_path.rglob(".a-*")).is_dir(), "the job's folder is there by now"
        raise error

    transformer = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    monkeypatch.setattr(diffusers, "load", lambda *_, **__: (transformer, None, None))
    monkeypatch.setattr(diffusers, "encode_image", lambda *_, **__: None)
    denoiser = SimpleNamespace(set_prompts=lambda *_: None)
    monkeypatch.setattr(diffusers, "DiffusersDenoiser", lambda *_, **__: denoiser)
    monkeypatch.setattr(generate if at == "generate" else diffusers, at, fail)
    given = {name: value for name, value in inputs.items()}
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            cli.main(arguments(given, tmp_path))
    else:
        assert cli.main(arguments(given, tmp_path)) == (130 if isinstance(error, KeyboardInterrupt) else 2)
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_what_others_have_in_the_folders_stays(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError), SegmentStore(tmp_path / "there" / "new" / "job") as store:
        assert store.folder.is_dir()
        (tmp_path / "there" / "new" / "another job").mkdir()
        raise InputError("stopped.")
    assert os.listdir(tmp_path / "there" / "new") == ["another job"]
    (tmp_path / "there" / "new" / "another job").rmdir()
    with pytest.raises(InputError), SegmentStore(tmp_path / "there" / "new" / "job"):
        raise InputError("stopped.")
    assert os.listdir(tmp_path / "there") == ["new"], "what was there before stays"
    with pytest.raises(InputError), SegmentStore(tmp_path / "there" / "new" / "job") as store:
        (store.folder / "of a person.txt").touch()
        raise InputError("stopped.")
    assert os.listdir(tmp_path / "there" / "new" / "job") == ["of a person.txt"]


def test_a_folder_that_cannot_be_made_leaves_none_above_it(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        SegmentStore(tmp_path / "new" / ("x" * 300))
    assert not list(tmp_path.iterdir())
