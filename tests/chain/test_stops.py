"""What a stop, or a full disk, costs: nothing that was made."""

import threading

import pytest

from wan_animate.chain.generate import generate
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError

from ..support.chain import PlainDenoiser, PlainVAE
from .test_background import SlowStore, job


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("stage, finished", [("save", 2), ("write", 2), ("decode", 1)])
def test_a_stop_costs_no_segment_that_was_made(tmp_path, stage, finished, error):
    """Stopped as the second of three is to be saved, as it waits for the first to be written, or before it is whole."""
    store = SlowStore(tmp_path / "job")

    def stop(now):
        if now.segment == 1 and now.stage == stage:
            raise error

    with pytest.raises(error):
        generate(job(25), PlainDenoiser(), PlainVAE(), store, stop)
    assert store.finished(job(25).plan()) == finished
    assert not list(store.folder.glob(".*.part*"))


def test_a_segment_after_one_that_could_not_be_written_is_not_written(tmp_path):
    class Full(SegmentStore):
        def save(self, index, *more):
            asked.append(index)
            raise InputError("the disk is full")

    asked, store = [], Full(tmp_path / "job")
    with pytest.raises(InputError, match="full"):
        generate(job(25), PlainDenoiser(), PlainVAE(), store)
    assert asked == [0]


def test_a_stop_stays_a_stop_where_a_write_fails_meanwhile(tmp_path):
    class Full(SlowStore):
        full_at = 0

    def stop(now):
        if now.segment == 1 and now.stage == "save":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(job(25), PlainDenoiser(), PlainVAE(), Full(tmp_path / "job"), stop)


def test_without_a_thread_to_save_in_nothing_is_left(tmp_path, monkeypatch):
    start = threading.Thread.start

    def limited(thread):
        if thread.name.startswith("saver"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    store = SegmentStore(tmp_path / "job")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        generate(job(25), PlainDenoiser(), PlainVAE(), store, video=store.folder / "clip.mp4")
    assert not [thread for thread in threading.enumerate() if thread.name == "video"]
    assert not list(store.folder.glob(".*.part*"))
