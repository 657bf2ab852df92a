"""``wan-animate jobs`` on stopped jobs of the shell and of ComfyUI."""

import json
import os
from fractions import Fraction

import numpy as np
import pytest
import torch

from wan_animate import cli
from wan_animate.chain import job_list
from wan_animate.chain.store import SegmentStore
from wan_animate.cli.job_commands import size_of, size_text
from wan_animate.errors import InputError
from wan_animate.record.clip_record import read_record

from .test_options import inputs  # noqa: F401  (a fixture)


def stopped_job(folder, segments=3, finished=1, days=0.0) -> SegmentStore:
    """Finished segments of noise, as they lie on disk, left alone for some days."""
    store = SegmentStore(folder)
    store.save_keys({index: f"key {index}" for index in range(segments)}, {})
    for index in range(finished):
        frames = np.random.default_rng(index).integers(0, 255, (5, 32, 32, 3), np.uint8)
        store.save(index, frames, torch.from_numpy(frames[-1:] / np.float32(255)), Fraction(30))
    for path in [*folder.iterdir(), folder]:
        at = path.stat().st_mtime - days * 86400
        os.utime(path, (at, at))
    return store


@pytest.fixture
def told(capsys):
    """``told("list", ...)`` to what is printed, or said in the one line of bad input."""

    def run(*arguments, code=0) -> str:
        assert cli.main(["jobs", *map(str, arguments)]) == code
        said = capsys.readouterr()
        return said.err if code == 2 else said.out

    return run


@pytest.fixture
def three(tmp_path):
    """Two jobs beside the clips and one of ComfyUI's, the oldest first."""
    stopped_job(tmp_path / ".old-00", days=9)
    stopped_job(tmp_path / "wan_animate_kit" / "unfinished" / "abcd", segments=4, finished=2, days=5)
    stopped_job(tmp_path / ".kept-11", segments=1, days=2)
    (tmp_path / "no job").mkdir()
    return tmp_path


def test_the_list(three, told):
    text = told("list", three)
    assert [line.split()[0] for line in text.splitlines()] == ["job", ".old-00", "abcd", ".kept-11", "3"]
    old, host, kept = text.splitlines()[1:4]
    assert "1 of 3" in old and "stopped" in old and "2 of 4" in host and "1 of 1" in kept and "finished" in kept
    assert "216 h" in old and "3 jobs, " in text and " free" in text
    read = json.loads(told("list", three, "--json"))
    sizes = [sum(path.stat().st_size for path in os.scandir(one["folder"]) if path.is_file()) for one in read]
    assert [one["bytes"] for one in read] == sizes and [one["segments"] for one in read] == [3, 4, 1]


def test_a_limit_is_an_exit_code(three, told):
    assert "3 jobs" in told("list", three, "--limit=1GB")
    told("list", three, "--limit=1KB", code=1)
    assert "give a size such as" in told("list", three, "--limit=many", code=2)


def test_shared_segments_count_once(three):
    before = sum(job.size for job in job_list.find_jobs([three]))
    (three / ".again-22").mkdir()
    for path in (three / ".old-00").iterdir():
        os.link(path, three / ".again-22" / path.name)
    assert sum(job.size for job in job_list.find_jobs([three, three])) == before


def test_finished_ones_go_first_then_the_oldest_and_a_running_one_never(three, told):
    jobs = job_list.find_jobs([three])
    limit = sum(job.size for job in jobs) - 1
    with SegmentStore(jobs[0].folder) as store:  # runs
        states = {one["name"]: one["state"] for one in json.loads(told("list", three, "--json"))}
        assert states == {".old-00": "running", "abcd": "stopped", ".kept-11": "finished"}
        assert ".kept-11" in told("clear", three, f"--limit={limit}", "--yes") and store.folder.is_dir()
        assert "abcd" in told("clear", three, "--limit=0", "--yes") and store.folder.is_dir()
    assert [job.folder.name for job in job_list.find_jobs([three])] == [".old-00"]
    assert "nothing to clear" in told("clear", three, "--older=10", "--yes")
    assert ".old-00" in told("clear", three, "--older=5", "--yes")
    assert not [path.name for path in three.iterdir() if path.name.startswith(".")]


def test_clear_asks_and_says_what(three, told, monkeypatch):
    assert "nothing says which jobs" in told("clear", three, code=2)
    assert "add --yes" in told("clear", three, "--all", code=2)
    assert "there is no job nobody: there are .old-00, abcd, .kept-11" in told("clear", three, "--name=nobody", code=2)
    assert len(job_list.find_jobs([three])) == 3
    assert "freed" in told("clear", three, "--name=abcd", "--yes") and len(job_list.find_jobs([three])) == 2


def test_what_cannot_be_resumed(three, told):
    assert "Those of ComfyUI go on when their workflow is queued again" in told("resume", three, code=2)
    assert "is no folder" in told("list", three / "nowhere", code=2)
    (three / ".old-00" / job_list.COMMAND).write_text('{"options": {"sing": 1}, "sampling": {}, "cwd": "."}')
    assert "is of another version" in told("resume", three, code=2)


def test_a_stopped_run_is_resumed_by_its_name(inputs, small_models, tmp_path, monkeypatch, told):  # noqa: F811
    """From another folder than it was started in, with a relative place, to the same frames."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    given = inputs | {"models": small_models.diffusers, "steps": 1, "area": 128 * 80, "limit": 8, "out": "a b.mp4"}
    line = [*(f"--{name}={value}" for name, value in given.items()), "--no-retarget", "--person-point", "0.2", "0.4"]
    made, whole = [], SegmentStore.save

    def save(self, index, *rest):
        made.append(index)
        if len(made) == 2:
            raise InputError("the disk is gone.")
        return whole(self, index, *rest)

    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    monkeypatch.setattr(SegmentStore, "save", save)
    assert cli.main(line) == 2
    monkeypatch.chdir(tmp_path)
    (job,) = job_list.find_jobs(["there"])
    assert (job.name, job.state, job.finished, job.segments) == ("a b.mp4", "stopped", 1, 2)
    assert "a b.mp4" in told("resume", "there", "--name=a b.mp4") and made == [0, 1, 1]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["a b.mp4"] and os.getcwd() == str(tmp_path)
    assert cli.main([*line, f"--out={tmp_path / 'whole.mp4'}"]) == 0
    assert read_record("there/a b.mp4").frames == read_record("whole.mp4").frames


@pytest.mark.parametrize(
    "text, size", [("", None), ("500", 500), ("2KB", 2000), ("1.5 gb", 1_500_000_000), ("3T", 3 * 10**12)]
)
def test_sizes(text, size):
    assert size_of(text) == size


def test_sizes_as_text():
    assert [size_text(value) for value in (0, 999, 1500, 2e9, 3e12)] == ["0 B", "999 B", "1.5 KB", "2.0 GB", "3.0 TB"]
