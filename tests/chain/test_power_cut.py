"""A power cut at every moment of a job, replayed from the order in which files were written, synced and named.

After a cut a file holds what was there at its last fsync, and a folder the names of its own last fsync. Names given
since may be there too, or not: file systems differ.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from wan_animate.chain import job_list
from wan_animate.chain.generate import generate
from wan_animate.chain.reuse import take_over
from wan_animate.chain.store import SegmentStore
from wan_animate.files import new_folder, replacing

from ..support.chain import PlainDenoiser, PlainVAE
from .test_damage import made_again
from .test_seams import COUNT, with_options


class Disk:
    """What a power cut would leave of a folder."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder, self._kept = folder, kept
        self._written: dict[int, tuple[int, int]] = {}
        self.durable: dict[str, int] = {}
        self.states: list[dict[str, Path]] = []
        self.faults: list[str] = []
        self._real = os.fsync, os.replace, os.rename
        self._lock = threading.Lock()  # a job saves segments and writes its mp4 in several threads

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Disk:
        monkeypatch.setattr(os, "fsync", self._sync)
        monkeypatch.setattr(os, "replace", lambda source, target: self._name(self._real[1], source, target))
        monkeypatch.setattr(os, "rename", lambda source, target: self._name(self._real[2], source, target))
        return self

    def whole(self, path: Path) -> bool:
        """Whether what a file holds now was synced."""
        found = path.stat()
        return self._written.get(found.st_ino) == (found.st_size, found.st_mtime_ns)

    def _sync(self, opened: int) -> None:
        with self._lock:
            self._real[0](opened)
            found = os.fstat(opened)
            if not stat.S_ISDIR(found.st_mode):
                self._written[found.st_ino] = found.st_size, found.st_mtime_ns
            elif self.folder.exists() and found.st_ino == self.folder.stat().st_ino:
                self._keep()

    def _keep(self) -> None:
        """The folder's names are on the disk now, with what was synced of their files."""
        state, durable = {}, {}
        for path in self.folder.iterdir():
            kept = self._kept / f"{len(self.states)}-{path.name}"
            with suppress(FileNotFoundError):  # another thread tried whether it can write, and removed what it tried
                if path.is_dir():
                    kept.mkdir()
                elif self.whole(path):
                    os.link(path, kept)
                else:
                    kept.touch()
                durable[path.name], state[path.name] = path.stat().st_ino, kept
        self.durable = durable
        self.states.append(state)

    def _name(self, name, source, target) -> None:
        source, target = Path(source), Path(target)
        with self._lock:
            if source.is_file() and not self.whole(source):
                self.faults.append(f"{target.name} has its name before its content is on the disk")
            if target.name.startswith("segment_") and target.suffix == ".mkv":
                record = f"{target.stem}.json"
                tail = target.name.replace("segment_", "tail_").replace(".mkv", ".safetensors")
                for other in (record, tail):
                    there = (target.parent / other).exists()
                    if there and self.durable.get(other) != (target.parent / other).stat().st_ino:
                        self.faults.append(f"{target.name} has its name before {other}")
                if not (target.parent / record).exists():
                    self.faults.append(f"{target.name} has no record yet")
            name(source, target)

    def after_cuts(self, folder: Path) -> Iterator[Path]:
        """A folder as each cut would leave it."""
        for number, state in enumerate(self.states):
            made = folder / str(number)
            made.mkdir()
            for name, kept in state.items():
                shutil.copyfile(kept, made / name)
            yield made


def test_a_cut_at_any_moment_of_a_job(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "cuts").mkdir()
    disk = Disk(tmp_path / "job", tmp_path / "kept").install(monkeypatch)
    work, store = with_options(), SegmentStore(tmp_path / "job")
    take_over(store, work.segment_keys("model"), [])
    job_list.write_command(store.folder, {"cwd": "."})
    finished = generate(work, PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4")
    whole = np.array(finished.read(0, COUNT))
    finished.close()
    monkeypatch.undo()
    assert not disk.faults and len(disk.states) > 3 * len(work.plan())
    assert disk.states[-1].keys() >= {path.name for path in store.folder.iterdir() if path.suffix != ".lock"}

    counts = []
    for folder in disk.after_cuts(tmp_path / "cuts"):
        empty = [path.name for path in folder.iterdir() if not path.stat().st_size and ".part" not in path.name]
        assert not [name for name in empty if not name.endswith(".lock")], folder.name
        counts.append(SegmentStore(folder).finished(work.plan()))
    assert counts == sorted(counts) and set(counts) == set(range(len(work.plan()) + 1))
    for number in {counts.index(2), counts.index(len(work.plan()) - 1), len(counts) - 1}:
        begun, frames = made_again(SegmentStore(tmp_path / "cuts" / str(number)), work)
        assert len(begun) == len(work.plan()) - counts[number] and np.array_equal(frames, whole)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_cut_after_a_file_or_folder_has_its_name(tmp_path, monkeypatch, kind):
    (tmp_path / "kept").mkdir()
    (tmp_path / "out").mkdir()
    disk = Disk(tmp_path / "out", tmp_path / "kept").install(monkeypatch)
    if kind == "file":
        with replacing(tmp_path / "out" / "a", "the file") as temporary:
            Path(temporary).write_bytes(b"content")
        assert disk.states[-1]["a"].read_bytes() == b"content"
    else:
        with new_folder(tmp_path / "out" / "a", "the folder") as temporary:
            for name in "bc":
                (Path(temporary) / name).write_bytes(b"content")
        assert all(disk.whole(path) for path in (tmp_path / "out" / "a").iterdir())
        assert "a" in disk.durable
    assert not disk.faults


def test_the_replay_finds_what_is_not_synced(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "out").mkdir()
    disk = Disk(tmp_path / "out", tmp_path / "kept").install(monkeypatch)
    with replacing(tmp_path / "out" / "a", "the file", durable=False) as temporary:
        Path(temporary).write_bytes(b"content")
    assert disk.faults == ["a has its name before its content is on the disk"] and not disk.states
