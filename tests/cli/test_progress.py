"""The bars of the shell, in a terminal."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from .test_options import inputs  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is of Unix")
ROOT = Path(__file__).parents[2]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def in_a_terminal(arguments: list, interrupt_at: str = "") -> tuple[str, int]:
    """(what is on the terminal, exit status as of os.waitpid), with Ctrl+C once a text is there."""
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ |= {"COLUMNS": "120", "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-m", "wan_animate", *map(str, arguments)])
    said, sent = b"", False
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # closed by the program's end
            break
        if not part:
            break
        said += part
        if interrupt_at and not sent and interrupt_at in said.decode(errors="replace"):
            sent = True
            os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return said.decode(), status


@pytest.fixture
def command(inputs, small_models, tmp_path):  # noqa: F811
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    given = inputs | {"models": small_models.diffusers, "steps": 2, "area": 128 * 80, "out": tmp_path / "a.mp4"}
    return lambda **more: ["run", *(f"--{name}={value}" for name, value in (given | more).items()), "--no-retarget"]


def test_a_run_in_a_terminal(command, tmp_path):
    said, status = in_a_terminal(command())
    assert os.WEXITSTATUS(status) == 0 and said.count(HIDE) == said.count(SHOW) >= 1
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert "segment 1 of 1: " in plain and "100%" in plain
    assert plain.rstrip().endswith(str(tmp_path / "a.mp4"))


def test_ctrl_c_in_a_terminal(command, tmp_path):
    said, status = in_a_terminal(command(steps=500), "segment 1 of 1: sampling, step 2")
    assert os.WIFSIGNALED(status), said[-3000:]
    assert os.WTERMSIG(status) == signal.SIGINT
    assert said.rindex(SHOW) > said.rindex(HIDE) and "Traceback" not in said
    assert said.rstrip().splitlines()[-1].endswith("if there is one.") and not list(tmp_path.iterdir())
