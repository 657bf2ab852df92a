"""Two real processes that want one job's folder: the second waits or is refused, and a killed owner blocks nobody."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wan_animate import cli
from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.job_lock import JobLock
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError

from ..cli.test_options import inputs  # noqa: F401  (a fixture)
from ..cli.test_stopped import arguments
from ..support.chain import PlainDenoiser, PlainVAE
from .test_background import job

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from demo import importing
importing.install()
sys.path.insert(0, sys.argv[1])
"""
# Makes a clip of four segments, and stops in the third until it is told to go on.
OWNER = f"""{IMPORTS}
from tests.chain.test_background import PlainDenoiser, PlainVAE, SegmentStore, generate, job
folder, go_on = map(Path, sys.argv[2:])

def during(segment, step):
    if (segment, step) == (2, 0):
        print("working", flush=True)
        while not go_on.exists():
            time.sleep(0.02)

with SegmentStore(folder) as store:
    generate(job(33), PlainDenoiser(during=during), PlainVAE(), store, video=store.folder / "clip.mp4").close()
"""
COUNTER = f"""{IMPORTS}
from wan_animate.chain.job_lock import JobLock
lock, counter = JobLock(Path(sys.argv[2]) / "job"), Path(sys.argv[2]) / "counter"
for _ in range(200):
    while not lock.acquire():
        time.sleep(0.0005)
    counter.write_text(str(int(counter.read_text()) + 1))
    lock.release()
"""


def start(code: str, *arguments: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", code, str(ROOT), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Owner:
    """Another process that is working on a job."""

    def __init__(self, folder: Path) -> None:
        self.job, self._go_on = folder / "jobs" / "job", folder / "go on"
        self.process = start(OWNER, self.job, self._go_on)
        if self.process.stdout.readline() != "working\n":
            raise AssertionError(self.process.communicate()[1])

    def go_on(self) -> None:
        self._go_on.touch()

    def end(self) -> int:
        self.go_on()
        self.process.communicate(timeout=300)
        return self.process.returncode


@pytest.fixture
def owner(tmp_path):
    owner = Owner(tmp_path)
    yield owner
    owner.process.kill()
    owner.process.communicate()


def half_written(folder: Path) -> list[Path]:
    return list(folder.glob(".clip.*.part.mp4"))


def test_the_second_waits_and_finds_the_finished_clip(owner, caplog):
    seen = []

    def waiting():
        seen.append(bool(half_written(owner.job)))
        if len(seen) == 3:
            owner.go_on()

    with caplog.at_level(logging.WARNING), SegmentStore(owner.job, waiting) as store:
        assert store.waited and owner.process.wait(timeout=60) == 0
        assert store.finished(job(33).plan()) == 4 and (owner.job / "clip.mp4").is_file()
    assert seen[:3] == [True] * 3, "the clip that the first is writing stays"
    assert caplog.text.count("another process is making this clip already") == 1
    assert os.listdir(owner.job.parent) == ["job"], "no lock"


def test_a_killed_owners_job_is_taken_over(owner, tmp_path):
    """SIGKILL: the system takes the lock back, and the finished segments count."""
    told, calls = PlainDenoiser(), []

    def waiting():
        calls.append(1)
        if len(calls) == 2:
            owner.process.kill()

    with SegmentStore(owner.job, waiting) as store:
        assert store.waited and store.finished() >= 1 and not half_written(owner.job)
        frames = generate(job(33), told, PlainVAE(), store, video=store.folder / "clip.mp4").read(0, 33)
    assert 1 <= len(told.told) <= 3
    assert np.array_equal(
        frames, generate(job(33), PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "w")).read(0, 33)
    )
    assert sorted(os.listdir(owner.job.parent)) == ["job"]


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
def test_cancel_while_waiting_leaves_the_first_alone(owner, error):
    def waiting():
        raise error

    with pytest.raises(error), SegmentStore(owner.job, waiting):
        pass
    assert half_written(owner.job) and owner.end() == 0
    assert SegmentStore(owner.job).finished(job(33).plan()) == 4


def test_without_waiting_the_second_is_refused_in_a_sentence(owner):
    with pytest.raises(InputError, match="another process is making this clip already, in .*job: wait until"):
        with SegmentStore(owner.job):
            pass
    with pytest.raises(InputError, match="another process is making this clip already"):
        generate(job(33), PlainDenoiser(), PlainVAE(), SegmentStore(owner.job))
    assert half_written(owner.job) and owner.end() == 0


def test_the_shell_refuses_while_another_process_makes_the_clip(inputs, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(AnimateJob, "key", lambda *_: "key")
    folder = tmp_path / "new" / "deep" / ".a-key"
    folder.mkdir(parents=True)
    lock = JobLock(folder)
    assert lock.acquire()
    assert cli.main(arguments(inputs, tmp_path)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("wan-animate: another process is making this clip already, in ") and said.endswith("again.")
    assert folder.is_dir()
    lock.release()


def test_one_process_at_a_time_also_while_the_lock_file_comes_and_goes(tmp_path):
    (tmp_path / "counter").write_text("0")
    running = [start(COUNTER, tmp_path) for _ in range(3)]
    assert [process.communicate(timeout=300)[1] for process in running] == [""] * 3
    assert (tmp_path / "counter").read_text() == "600"
    assert os.listdir(tmp_path) == ["counter"]


def test_a_lock_is_taken_again_by_its_owner(tmp_path):
    one, other = JobLock(tmp_path / "job"), JobLock(tmp_path / "job")
    assert one.acquire() and one.acquire() and not other.acquire()
    one.release()
    assert not other.acquire()
    one.release()
    assert other.acquire() and not one.held
    other.release()
    assert not os.listdir(tmp_path)
