"""Prefetching: order, bounded depth, and no thread left behind."""

import threading
import time

import numpy as np
import pytest

from wan_animate.errors import Cancelled
from wan_animate.video.frames import FrameSource, ahead, read_ahead


class Counted(FrameSource):
    """Frames filled with their number; records reads, may fail at one frame."""

    width, height = 8, 6

    def __init__(self, count: int, fails_at: int | None = None):
        self.count, self.fails_at, self.reads = count, fails_at, []

    def __len__(self):
        return self.count

    def _read(self, start, stop):
        if self.fails_at is not None and start <= self.fails_at < stop:
            raise OSError(f"frame {self.fails_at} is gone")
        self.reads.append((start, stop))
        return np.stack([np.full((6, 8, 3), index, np.uint8) for index in range(start, stop)])

    def fingerprint(self):
        return f"counted:{self.count}"


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (7, 3), (9, 3), (5, 20)])
def test_every_frame_once_and_in_order(count, batch):
    source = Counted(count)
    parts = list(read_ahead(source, batch))
    assert [part[:2] for part in parts] == [(at, min(at + batch, count)) for at in range(0, count, batch)]
    assert np.concatenate([part[2] for part in parts])[:, 0, 0, 0].tolist() == list(range(count))


def test_parts_of_a_clip():
    parts = list(read_ahead(Counted(30), 4, ranges=[(2, 3), (10, 16)]))
    assert [part[:2] for part in parts] == [(2, 3), (10, 14), (14, 16)]
    assert np.concatenate([part[2] for part in parts])[:, 0, 0, 0].tolist() == [2, *range(10, 16)]


def test_reads_on_while_the_consumer_works_but_not_further_than_depth():
    source = Counted(100)
    reader = read_ahead(source, 1, depth=2)
    next(reader)
    deadline = time.monotonic() + 2
    while len(source.reads) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(source.reads) == 4  # one in use, two waiting, one in hand
    reader.close()
    assert len(source.reads) <= 5


def test_an_error_of_the_source_comes_after_the_frames_before_it():
    reader = read_ahead(Counted(10, fails_at=6), 2)
    seen = []
    with pytest.raises(OSError, match="frame 6 is gone"):
        for start, _, _ in reader:
            seen.append(start)
    assert seen == [0, 2, 4]


def test_an_error_at_the_end_of_a_pipeline_comes_through_all_of_it():
    def doubled(source):
        for start, _, images in source:
            yield start, images * 2

    def shifted(source):
        for start, images in source:
            yield start, images + 1

    whole = ahead(shifted(ahead(doubled(read_ahead(Counted(4), 2)))))
    assert [(start, images[:, 0, 0, 0].tolist()) for start, images in whole] == [(0, [1, 3]), (2, [5, 7])]
    with pytest.raises(OSError, match="frame 3"):
        list(ahead(shifted(ahead(doubled(read_ahead(Counted(4, fails_at=3), 2))))))


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
def test_cancel_in_the_consumer_ends_every_stage(error):
    closed = []

    def stage(source, name):
        try:
            yield from source
        finally:
            closed.append(name)

    source = Counted(1000)
    pipeline = ahead(stage(ahead(stage(read_ahead(source, 1), "inner")), "outer"))
    with pytest.raises(error):
        try:
            for start, _, _ in pipeline:
                if start == 5:
                    raise error
        finally:
            pipeline.close()
    assert sorted(closed) == ["inner", "outer"]
    assert len(source.reads) < 30


def test_forgetting_the_iterator_ends_it():
    source = Counted(1000)
    reader = read_ahead(source, 1)
    next(reader)
    del reader  # the fixture sees that its thread is gone
