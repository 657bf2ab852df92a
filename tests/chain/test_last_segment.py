"""The last segment guides none: its frames alone make it whole, on a disk that is full and when the job is resumed."""

import os

import numpy as np
import pytest
import torch

from wan_animate.chain.generate import generate
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.video.source import VideoSource

from ..support.chain import PlainDenoiser, PlainVAE
from ..test_files import limited
from .test_background import job

PREVIOUS = 5


def folder_of(count: int, tmp_path, name="job") -> SegmentStore:
    store = SegmentStore(tmp_path / name)
    generate(job(count, previous_frames=PREVIOUS), PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4")
    return store


@pytest.mark.parametrize("count", [9, 10, 23])
def test_no_frames_are_kept_for_a_segment_that_does_not_come(tmp_path, count):
    store = folder_of(count, tmp_path)
    segments = len(job(count, previous_frames=PREVIOUS).plan())
    assert sorted(path.name for path in store.folder.glob("tail_*")) == [
        f"tail_{index:04d}.safetensors" for index in range(segments - 1)
    ]
    assert store.finished(job(count, previous_frames=PREVIOUS).plan()) == segments and store.finished() == segments - 1


def test_a_disk_with_room_for_the_clip_and_not_for_frames_that_nobody_reads(tmp_path):
    """One segment: what is written is smaller than the previous frames of a next one."""
    work = job(9, previous_frames=PREVIOUS)
    size = work.controls.pose.width * work.controls.pose.height * 3 * 4 * PREVIOUS
    sizes = [path.stat().st_size for path in folder_of(9, tmp_path, "measured").folder.iterdir()]
    assert max(sizes) < size, "the limit tells the two apart"
    store = SegmentStore(tmp_path / "job")
    with limited(size):
        frames = generate(work, PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4")
    assert len(frames) == 9 and len(VideoSource(store.folder / "clip.mp4", fps=0)) == 9
    with limited(size), pytest.raises(InputError, match="the segment's last frames cannot be written"):
        store.save(0, np.zeros((1, 32, 32, 3), np.uint8), torch.rand(PREVIOUS, *work.reference.shape), work.fps)


def test_a_finished_job_makes_nothing_again(tmp_path):
    store, told = folder_of(23, tmp_path), PlainDenoiser()
    first = store.clip(job(23, previous_frames=PREVIOUS).plan(), 30).read(0, 23)
    os.unlink(store.folder / "clip.mp4")  # stopped while the last of it was written
    again = generate(job(23, previous_frames=PREVIOUS), told, PlainVAE(), store, video=store.folder / "clip.mp4")
    assert not told.told and np.array_equal(again.read(0, 23), first)
    assert len(VideoSource(store.folder / "clip.mp4", fps=0)) == 23


def test_a_job_that_grows_makes_its_former_last_segment_again(tmp_path):
    """It is another job by its key; where the folder is given all the same, nothing guides what comes next."""
    short, long = job(23, previous_frames=PREVIOUS), job(33, previous_frames=PREVIOUS)
    assert short.key() != long.key()
    store, told = folder_of(23, tmp_path), PlainDenoiser()
    kept = len(short.plan()) - 1
    assert store.finished(long.plan()) == kept
    assert len(generate(long, told, PlainVAE(), store)) == 33 and len(told.told) == len(long.plan()) - kept
