"""Hostile files and values: one sentence or a result, in five seconds and 200 MB, and no other file is read."""

import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from wan_animate.errors import InputError

from .support.hostile import CASES

SECONDS, MEGABYTES = 5.0, 200
MEMORY = Path("/proc/self/status")


def _peak() -> int:
    return int(MEMORY.read_text().split("VmHWM:")[1].split()[0]) >> 10


@contextmanager
def bounded(name):
    """An alarm ends what is endless; the peak is that of the block (Linux)."""
    measured = MEMORY.exists()
    if measured:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = _peak()
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        former = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"{name}: did not end in {SECONDS:g} s"))
        signal.setitimer(signal.ITIMER_REAL, 4 * SECONDS)
    begun = time.process_time()  # the processor's: what else the machine does is no fault; the alarm is the clock's
    try:
        yield
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
    spent = time.process_time() - begun
    assert spent < SECONDS, f"{name}: {spent:.1f} s"
    if measured:
        assert _peak() - before < MEGABYTES, f"{name}: {_peak() - before} MB"


@pytest.mark.parametrize("kind", sorted({name.split(":")[0] for name in CASES}))
def test_every_hostile_file_is_one_sentence_or_a_result(tmp_path, kind, monkeypatch):
    if kind == "onnx":
        pytest.importorskip("onnx", reason="the graphs are made by onnx: pip install onnx")
    for number, (name, (make, read)) in enumerate(CASES.items()):
        if not name.startswith(f"{kind}:"):
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        made = make(folder)
        with bounded(name):
            try:
                read(made)
            except InputError as error:
                text = str(error)
                assert "\n" not in text and text.endswith(".") and len(text) < 600, f"{name}: {text}"
