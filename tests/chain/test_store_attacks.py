"""What is done to a job's folder, its disk and its inputs behind its back."""

import os
import shutil
import threading
import time
from collections import namedtuple

import numpy as np
import pytest

from wan_animate.chain import job_list
from wan_animate.chain import store as store_module
from wan_animate.chain.generate import generate
from wan_animate.chain.job_cleaning import DAY, Keeping, clean
from wan_animate.chain.job_list import COMFYUI, FORMER_COMFYUI, find_jobs, find_leftovers
from wan_animate.chain.job_lock import JobLock
from wan_animate.chain.reuse import take_over
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.plan.measured import Runs
from wan_animate.plan.room import check_room, disk_needed
from wan_animate.record.identity import content_identity
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..cli.test_jobs import stopped_job
from ..support.chain import PlainDenoiser, PlainVAE
from .test_damage import made_again
from .test_seams import COUNT, with_options


@pytest.fixture
def keyed(tmp_path):
    """A finished job that knows its keys, with its mp4: (work, folder, frames)."""
    work, store = with_options(), SegmentStore(tmp_path / "job")
    take_over(store, work.segment_keys("model"), [])
    frames = generate(work, PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4")
    return work, store.folder, np.array(frames.read(0, COUNT))


def test_segments_of_another_place_or_clip_are_found_and_made_again(keyed, tmp_path):
    """Each with its own record and tail, so that every hash is right."""
    work, folder, whole = keyed
    for name in ("segment_{:04d}.mkv", "segment_{:04d}.json", "tail_{:04d}.safetensors"):
        one, other = (folder / name.format(index) for index in (1, 2))
        one.rename(tmp_path / "aside")
        other.rename(one)
        (tmp_path / "aside").rename(other)
    begun, frames = made_again(SegmentStore(folder), work)
    assert begun == [1, 2] and np.array_equal(frames, whole)

    another, other_folder = with_options(), tmp_path / "another"
    another.seed = 9
    take_over(SegmentStore(other_folder), another.segment_keys("model"), [])
    generate(another, PlainDenoiser(), PlainVAE(), SegmentStore(other_folder)).close()
    for path in other_folder.glob("*_0003.*"):
        shutil.copyfile(path, folder / path.name)
    begun, frames = made_again(SegmentStore(folder), work)
    assert begun == [3] and np.array_equal(frames, whole)


def test_a_segment_without_a_record_is_said_to_be_of_an_older_version(keyed, caplog):
    work, folder, whole = keyed
    (folder / "segment_0001.json").unlink()
    begun, frames = made_again(SegmentStore(folder), work)
    assert begun == [1] and np.array_equal(frames, whole) and "as in older versions" in caplog.text


def test_a_finished_clip_is_written_again_only_where_it_is_not_whole(keyed):
    work, folder, _ = keyed
    clip = folder / "clip.mp4"

    def written() -> bool:
        before = clip.stat().st_mtime_ns if clip.exists() else 0
        generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(folder), video=clip).close()
        return clip.stat().st_mtime_ns != before

    whole = clip.read_bytes()
    assert not written()
    clip.write_bytes(whole[:-1])
    # not the same bytes: x264's are not repeatable on every machine
    assert written() and len(VideoSource(clip, fps=0)) == len(work.controls) and not written()
    clip.unlink()
    assert written()
    (folder / "segment_0002.mkv").write_bytes(b"")
    assert written(), "a segment is made again"


def test_a_power_cut_leaves_no_empty_file(tmp_path, monkeypatch):
    """All that was renamed into place without being synced is lost."""
    synced, sync = set(), os.fsync

    def remember(opened):
        sync(opened)
        synced.add(os.fstat(opened).st_ino)

    monkeypatch.setattr(os, "fsync", remember)
    work, store = with_options(), SegmentStore(tmp_path / "new" / "job")
    take_over(store, work.segment_keys("model"), [])
    job_list.write_command(store.folder, {"cwd": "."})
    generate(work, PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4").close()
    lost = [path.name for path in store.folder.iterdir() if path.stat().st_ino not in synced]
    assert not lost and len(list(store.folder.iterdir())) > 20
    assert {tmp_path.stat().st_ino, (tmp_path / "new").stat().st_ino} <= synced, "the names of new folders"


def test_many_that_open_and_leave_one_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "POLL", 0.001)
    folder, failed = tmp_path / "jobs" / "job", []

    def open_often():
        for _ in range(150):
            SegmentStore(folder)

    def work_often():
        for _ in range(40):
            with SegmentStore(folder, lambda: None):
                pass

    def safely(work):
        try:
            work()
        except InputError as error:
            failed.append(error)

    threads = [threading.Thread(target=safely, args=(work,)) for work in [open_often] * 3 + [work_often] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_every_change_of_a_small_file_changes_its_identity(tmp_path):
    path, data = tmp_path / "model", np.random.default_rng(0).bytes(1 << 20)
    path.write_bytes(data)
    first, stat = content_identity(path), path.stat()
    chance = np.random.default_rng(1)
    for _ in range(20):
        changed = bytearray(data)
        changed[chance.integers(len(data))] ^= 1
        path.write_bytes(changed)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # equal size and time
        assert content_identity(path) != first
    shutil.copyfile(path, tmp_path / "copy")
    assert content_identity(tmp_path / "copy") == content_identity(path)


def test_every_small_tensor_of_a_large_file_changes_its_identity(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    from wan_animate.record import identity

    monkeypatch.setattr(identity, "WHOLE", 1 << 20)
    tensors = {f"bias {at}": torch.zeros(1000) for at in range(12)} | {"weight": torch.zeros(400_000)}
    save_file(tensors, tmp_path / "a")
    seen = {content_identity(tmp_path / "a")}
    for at in range(12):
        changed = {**tensors, f"bias {at}": torch.zeros(1000).index_fill(0, torch.tensor([at * 20]), 1e-9)}
        save_file(changed, tmp_path / f"{at}")
        seen.add(content_identity(tmp_path / f"{at}"))
    assert len(seen) == 13
    for header in (b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", (20).to_bytes(8, "little") + b'{"a":{"b":1}}       '):
        (tmp_path / "odd").write_bytes(header + bytes(2 << 20))
        assert len(content_identity(tmp_path / "odd")) == 32


def test_a_video_that_is_replaced_ends_the_reading_and_a_copy_of_it_does_not(tmp_path):
    import torch

    for name, value in (("a.mp4", 0.0), ("b.mp4", 1.0)):
        write_video(tmp_path / name, TensorSource(torch.full((40, 32, 32, 3), value), 30), None, 30)
    source = VideoSource(tmp_path / "a.mp4")
    source.fingerprint()
    first = source.read(0, 4)
    shutil.copyfile(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    os.replace(tmp_path / "copy.mp4", tmp_path / "a.mp4")
    assert (source.read(0, 4) == first).all()
    source.close()
    os.replace(tmp_path / "b.mp4", tmp_path / "a.mp4")
    with pytest.raises(InputError, match="video 'a.mp4' has changed since this run began to read it"):
        source.read(4, 8)
    with pytest.raises(InputError, match="has changed|is gone"):
        os.unlink(tmp_path / "a.mp4")
        source.read(4, 8)


@pytest.fixture
def output(tmp_path):
    """ComfyUI's output folder: finished and stopped jobs, one of an older version, one killed at once."""
    jobs = tmp_path / COMFYUI
    stopped_job(jobs / "finished old", segments=1, days=8)
    stopped_job(jobs / "finished new", segments=1, days=1)
    stopped_job(jobs / "stopped old", days=31)
    stopped_job(jobs / "stopped new", days=9)
    older = stopped_job(tmp_path / FORMER_COMFYUI / "older", days=9)
    (older.folder / "segments.json").write_text('{"made": {"0": "a", "1": "b"}, "former": {}}')
    os.utime(older.folder / "segments.json", (1, 1))
    (jobs / "killed").mkdir()
    (jobs / ".gone.lock").touch()
    return tmp_path


def names(jobs) -> set[str]:
    return {job.folder.name for job in jobs}


def test_cleaning_by_age(output):
    assert {job.folder.name for job in find_jobs([output]) if job.older} == {"older", "killed"}
    done = clean([output], Keeping())
    assert names(done.removed) == {"finished old", "stopped old", "killed"} and done.freed > 0
    assert names(done.left) == names(find_jobs([output])) == {"finished new", "stopped new", "older"}
    assert not list((output / COMFYUI).glob(".*.lock"))


def test_cleaning_by_size_takes_what_is_needed_to_go_on_last(output):
    left = ["finished old", "finished new", "older", "stopped old", "stopped new"]
    forever = {"finished_days": 1e4, "stopped_days": 1e4}
    clean([output], Keeping(None, **forever))  # the killed one
    for at, name in enumerate(left):
        size = sum(job.size for job in find_jobs([output]))
        assert names(clean([output], Keeping(size - 1, **forever)).removed) == {name}, at


def test_cleaning_spares_what_runs_is_read_or_was_just_finished(output):
    jobs = output / COMFYUI
    lock = JobLock((jobs / "stopped old").resolve())
    assert lock.acquire()
    os.utime(jobs / "finished new" / "segment_0000.mkv")
    kept = clean([output], Keeping(0), in_use=lambda folder: folder.name == "finished old")
    lock.release()
    assert names(kept.left) == {"finished old", "finished new", "stopped old"}
    assert names(clean([output], Keeping(0), own=lambda _: True).left) == set()


def test_a_job_that_went_on_since_it_was_listed_is_not_removed(output):
    job = next(job for job in find_jobs([output]) if job.folder.name == "stopped old")
    (job.folder / "segment_0001.mkv").touch()
    assert not job_list.remove_job(job) and job.folder.is_dir()


def test_half_written_files_of_the_dead_are_found(output):
    half = output / "video" / ".clip.0123abcd.part.mp4"
    half.parent.mkdir()
    half.write_bytes(b"half")
    (output / COMFYUI / "stopped new" / ".segment_0001.0123abcd.part.mkv").touch()
    (output / ".hidden.part.mp4").touch()
    assert find_leftovers([output]) == []
    os.utime(half, (time.time() - 2 * DAY,) * 2)
    assert find_leftovers([output]) == [half]
    job_list.remove_leftover(half)
    assert not half.exists()


def test_an_old_job_beside_the_clip_is_named(output, caplog):
    store = SegmentStore(output / COMFYUI / "now")
    take_over(store, ["a", "b"], (output / FORMER_COMFYUI).iterdir())
    assert "older in" in caplog.text and "of an older version" in caplog.text


def test_the_disk_that_a_job_needs(keyed, tmp_path, monkeypatch):
    work, folder, _ = keyed
    runs = Runs(tmp_path / "runs.json")
    begun = disk_needed(work, SegmentStore(tmp_path / "new"), "cpu", runs)
    store = SegmentStore(folder)
    done = disk_needed(work, store, "cpu", runs)
    assert done.segments == done.tails == 0 and done.video > 0
    store.frames_path(3).unlink()
    part = disk_needed(work, store, "cpu", runs)
    assert 0 < part.segments < begun.segments and 0 < part.tails < begun.tails
    real = sum(path.stat().st_size for path in folder.glob("segment_*.mkv")) * 8 / 7
    assert part.segments * 8 == pytest.approx(real, rel=0.2)

    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, int(part.total) + 1))
    check_room(part, folder)
    with pytest.raises(InputError, match="still needs about .* of disk .* are free at"):
        check_room(begun, folder)


def test_a_disk_that_fills_while_a_job_runs_stops_it_before_a_segment_is_sampled(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    free, told = [10**9], []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, free[0]))

    def during(index, _step):
        told.append(index)
        free[0] = 10**9 if index < 3 else 1000

    work, store = with_options(), SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match="1.0 KB are free at .* a segment of this clip takes up to .* goes on from"):
        generate(work, PlainDenoiser(during=during), PlainVAE(), store)
    assert told[-1] == 3 and SegmentStore(tmp_path / "job").finished(work.plan()) == 4
