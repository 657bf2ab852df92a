"""Face crops that are shown and then sampled with are decoded once, within a bound of memory."""

import threading

import numpy as np
import pytest

from wan_animate.face import crop
from wan_animate.face.crop import FaceCropSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, write_clip

COUNT, SIZE = 24, 32
CROP_BYTES = SIZE * SIZE * 3


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "a.mp4", COUNT, width=96, height=64, frame=numbered_frame)


class CountedReads:
    """The frames that were read, in ``asked``."""

    asked: list

    def _read(self, start, stop):
        self.asked.extend(range(start, stop))
        return super()._read(start, stop)


class CountedVideo(CountedReads, VideoSource):
    pass


class CountedPictures(CountedReads, TensorSource):
    pass


def crops(clip) -> FaceCropSource:
    frames = CountedVideo(clip, fps=0)
    frames.asked = []
    boxes = np.stack([np.array([8 + i * 0.5, 4, 60 + i * 0.5, 56]) for i in range(COUNT)])
    boxes[5] = 0  # no face anywhere near: black
    return FaceCropSource(frames, boxes, size=SIZE)


def test_shown_and_sampled_decodes_each_frame_once(clip):
    source, decoded = crops(clip), []
    shown = np.concatenate([source.read(at, min(at + 5, COUNT)) for at in range(0, COUNT, 5)])  # as a preview reads
    decoded += source.source.asked
    first, second = source.read(0, 17), source.read(16, COUNT)  # as two segments do
    assert source.source.asked == decoded == list(range(COUNT))
    assert np.array_equal(np.concatenate((first, second[1:])), shown) and not shown[5].any() and shown.std() > 10


def test_of_a_clip_that_does_not_fit_nothing_is_kept(clip, monkeypatch):
    expected = crops(clip).read(0, COUNT)
    monkeypatch.setattr(crop, "KEPT_BYTES", 10 * CROP_BYTES + 5)
    source = crops(clip)
    for _ in range(2):
        for start, stop in ((3, 9), (0, COUNT), (7, 20), (23, 24)):
            assert np.array_equal(source.read(start, stop), expected[start:stop])
    source.source.asked.clear()
    source.read(0, COUNT)
    assert len(source.source.asked) == COUNT


def test_nobody_writes_into_what_is_kept(clip):
    source = crops(clip)
    first = source.read(0, 4).copy()
    source.read(0, 4)[:] = 7
    assert np.array_equal(source.read(0, 4), first)


def test_two_that_read_at_the_same_time(clip):
    source, expected, wrong = crops(clip), crops(clip).read(0, COUNT), []

    def work():
        for start in range(0, COUNT, 6):
            if not np.array_equal(source.read(start, start + 6), expected[start : start + 6]):
                wrong.append(start)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    source.source.asked.clear()
    source.read(0, COUNT)
    assert not source.source.asked, "every crop is kept"


def test_pictures_in_memory_as_floats_are_not_held_twice():
    frames = CountedPictures(np.random.default_rng(0).random((4, 64, 96, 3), np.float32))
    source = FaceCropSource(frames, np.tile([8.0, 4, 60, 56], (4, 1)), size=SIZE)
    frames.asked = []
    assert source.read(0, 4).dtype == source.read(0, 4).dtype == np.float32
    assert frames.asked == [*range(4), *range(4)], "read again, not kept"
