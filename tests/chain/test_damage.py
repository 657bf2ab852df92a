"""Finished segments that are not what was written: found before anything is sampled, said, and made again."""

import os
import random
import shutil
import threading

import numpy as np
import pytest

from wan_animate.chain.clock import RunClock
from wan_animate.chain.generate import Progress, generate
from wan_animate.chain.reuse import take_over
from wan_animate.chain.saver import GrowingVideo
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled

from ..support.chain import PlainDenoiser, PlainVAE
from .test_seams import COUNT, with_options


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished job's folder, its work, and its frames."""
    work, folder = with_options(), tmp_path_factory.mktemp("finished") / "job"
    frames = generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(folder))
    return folder, work, np.array(frames.read(0, COUNT))


def made_again(store, work):
    """The segments that are sampled, and the frames."""
    begun: list[int] = []
    told = PlainDenoiser(during=lambda index, step: begun.append(index))
    frames = generate(work, told, PlainVAE(), store)
    return sorted(set(begun)), np.array(frames.read(0, COUNT))


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_every_flipped_bit_is_found_before_sampling_and_mended(tmp_path, finished, caplog):
    folder, work, whole = finished
    chance, segments = random.Random(7), list(work.plan())
    shutil.copytree(folder, tmp_path / "job")
    store = SegmentStore(tmp_path / "job")
    for _ in range(60):
        segment = chance.choice(segments)
        files = [store.frames_path(segment.index)] + [store.tail_path(segment.index)] * segment.hands_over
        path = chance.choice(files)
        flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
        caplog.clear()
        assert store.verify(segments) == [segment.index]
        assert f"segment {segment.index + 1} in {store.folder} is damaged, it is made again" in caplog.text
        assert not store.is_whole(segment)
        for name in os.listdir(folder):
            if not (store.folder / name).exists():
                shutil.copyfile(folder / name, store.folder / name)
    flip(store.frames_path(1), 700)
    flip(store.tail_path(3), 90)
    begun, frames = made_again(store, work)
    assert begun == [1, 3] and np.array_equal(frames, whole)
    assert store.verify(segments) == []


@pytest.mark.parametrize("damage", ["empty", "half", "zeroed", "another", "gone", "record"])
@pytest.mark.parametrize("kind", ["frames", "tail"])
def test_a_file_that_is_not_whole_costs_its_segment(tmp_path, finished, damage, kind):
    folder, work, whole = finished
    shutil.copytree(folder, tmp_path / "job")
    store = SegmentStore(tmp_path / "job")
    path = (store.frames_path if kind == "frames" else store.tail_path)(2)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "another":
        shutil.copyfile((store.frames_path if kind == "frames" else store.tail_path)(1), path)
    elif damage == "record":
        store.record_path(2).write_text('{"files": {"' + kind + '": []}}')
    else:
        path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "zeroed": bytes(len(data))}[damage])
    begun, frames = made_again(store, work)
    assert begun == [2] and np.array_equal(frames, whole)


def test_former_frames_that_are_damaged_are_taken_anew(tmp_path, finished):
    """Of a segment that is made again within a clip: the frames that it fades back into, and the tail after it."""
    folder, before, whole = finished
    shutil.copytree(folder, tmp_path / "jobs" / "a")
    take_over(SegmentStore(tmp_path / "jobs" / "a"), before.segment_keys("m"), [])
    keep = with_options(segment_seeds={2: 99}, keep_rest=True)
    keys = keep.segment_keys("m")
    store = SegmentStore(tmp_path / "jobs" / "b")
    take_over(store, keys, [tmp_path / "jobs" / "a"], keep.former_keys("m"))
    assert made_again(store, keep)[0] == [2]
    kept = np.array(store.clip(keep.plan(), 30).read(0, COUNT))
    assert store.verify(keep.plan()) == [] and made_again(store, keep)[0] == []

    former = store.former_path(2).read_bytes()
    os.unlink(store.former_path(2))
    store.former_path(2).write_bytes(former[:-9])
    assert made_again(store, keep)[0] == [], "a segment that is whole needs its former frames no more"
    os.unlink(store.frames_path(2))
    assert store.verify(keep.plan()) == [] and not store.former_path(2).exists()
    take_over(store, keys, [tmp_path / "jobs" / "a"], keep.former_keys("m"))

    for path in (store.former_path(2), store.tail_path(2), store.frames_path(2)):
        whole_file = path.read_bytes()
        os.unlink(path)  # the other job's file is the same one
        path.write_bytes(whole_file)
        flip(path, len(whole_file) // 2)
        store.verify(keep.plan())
        take_over(store, keys, [tmp_path / "jobs" / "a"], keep.former_keys("m"))
        _, frames = made_again(store, keep)
        assert np.array_equal(frames, kept)
    other = SegmentStore(tmp_path / "jobs" / "a")
    assert other.verify(before.plan()) == [] and np.array_equal(other.clip(before.plan(), 30).read(0, COUNT), whole)


def test_cancel_while_finished_segments_are_read(tmp_path, finished):
    folder, work, _ = finished
    shutil.copytree(folder, tmp_path / "job")
    stages = []

    def stop(progress):
        stages.append(progress.stage)
        raise Cancelled

    with pytest.raises(Cancelled):
        generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"), stop)
    assert stages == ["verify"] and sorted(os.listdir(tmp_path / "job")) == sorted(os.listdir(folder))


def test_equal_frames_give_equal_files(tmp_path, finished):
    folder, work, _ = finished
    generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"))
    for path in folder.iterdir():
        assert (tmp_path / "job" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_job_folder_edited_by_hand_costs_its_segment_and_no_error(tmp_path, finished):
    folder, work, whole = finished
    shutil.copytree(folder, tmp_path / "job")
    store = SegmentStore(tmp_path / "job")
    text = store.record_path(1).read_text()
    store.record_path(1).write_text(text.replace('"bytes": ', '"bytes": 1'))
    store.record_path(2).write_text(text.replace('{"', '{"color": 5, "', 1))
    (store.folder / "boundaries.json").write_text('[{"segment": 1, "frame": 3, "difference": "x", "usual": 1}]')
    assert store.boundaries() is None and store.records(3)[1:] == [{}, {}]
    begun, frames = made_again(store, work)
    assert begun == [1, 2] and np.array_equal(frames, whole) and store.boundaries()


def test_a_cancelled_first_step_leaves_nothing_of_former_frames(tmp_path, finished):
    folder, before, _ = finished
    shutil.copytree(folder, tmp_path / "jobs" / "a")
    take_over(SegmentStore(tmp_path / "jobs" / "a"), before.segment_keys("m"), [])
    count = len(before.plan())
    keep = with_options(segment_seeds={index: 5 + index for index in range(count)}, keep_rest=True)

    def run(progress=None):
        with SegmentStore(tmp_path / "jobs" / "b") as store:
            take_over(store, keep.segment_keys("m"), [tmp_path / "jobs" / "a"], keep.former_keys("m"))
            return len(generate(keep, PlainDenoiser(), PlainVAE(), store, progress))

    def stop(now):
        if now.stage == "denoise":
            raise Cancelled

    with pytest.raises(Cancelled):
        run(stop)
    assert not (tmp_path / "jobs" / "b").exists()
    assert run() == COUNT


def test_cancel_while_boundaries_are_compared(tmp_path, finished):
    folder, work, _ = finished
    shutil.copytree(folder, tmp_path / "job")
    (tmp_path / "job" / "boundaries.json").unlink()

    def stop(now):
        if now.stage == "measure":
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"), stop)
    assert len(generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"))) == COUNT


def test_who_looks_at_the_frames_gets_all_before_the_mp4_is_whole_and_may_stop(monkeypatch, tmp_path, finished):
    folder, work, _ = finished
    shutil.copytree(folder, tmp_path / "job")
    seen, made, looked, parts = [], tmp_path / "clip.mp4", threading.Event(), GrowingVideo._parts

    def later(self):
        looked.wait(20)
        yield from parts(self)

    def stop(clip):
        seen.append(clip.read(0, len(clip)))
        assert not made.exists()
        looked.set()
        raise Cancelled

    with monkeypatch.context() as patch:
        patch.setattr(GrowingVideo, "_parts", later)
        with pytest.raises(Cancelled):
            generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"), video=made, look=stop)
    assert not made.exists()
    whole = generate(work, PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "job"), video=made)
    assert np.array_equal(seen[0], whole.read(0, COUNT)) and made.is_file()


def test_time_left_of_one_segment_made_again(finished):
    """Finished segments after it take no time."""
    now = [0.0]
    clock = RunClock(step=10.0, now=lambda: now[0])
    for step in range(4):
        clock(Progress(1, 12, "encode" if step == 0 else "denoise", 4 + step, 48, steps=4, later=0))
        now[0] += 10
    assert clock.seconds_left == pytest.approx(10, abs=10)
