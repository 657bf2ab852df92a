"""VideoSource: frames that several threads convert."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from wan_animate import workers
from wan_animate.chain.saver import GrowingVideo
from wan_animate.errors import InputError
from wan_animate.video import decode
from wan_animate.video import source as source_module
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip


@pytest.fixture
def many_cores(monkeypatch):
    """Three conversion threads."""
    workers.pool.cache_clear()
    monkeypatch.setattr(workers, "COUNT", 3)
    yield
    workers.pool().shutdown()
    workers.pool.cache_clear()


def test_several_threads_read_what_one_reads(tmp_path, many_cores, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", 40, 25)
    source, names, convert = VideoSource(path, fps=60), set(), source_module.to_rgb
    all_here = threading.Barrier(3, timeout=60)  # a quick thread would take the others' frames

    def meeting(*given):
        if (name := threading.current_thread().name) not in names:
            names.add(name)
            all_here.wait()
        return convert(*given)

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "to_rgb", meeting)
        read = [source.read(0, 50), source.read(45, len(source)), source.read(10, 12)]
    assert len(names) == 3
    monkeypatch.setattr(workers, "COUNT", 1)
    other = VideoSource(path, fps=60)
    for mine, (start, stop) in zip(read, ((0, 50), (45, len(source)), (10, 12)), strict=True):
        assert np.array_equal(mine, other.read(start, stop))


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
def test_a_lowered_thread_lowers_none_of_the_pool(many_cores):
    def priority():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with ThreadPoolExecutor(1, initializer=workers.lower_priority) as lowered:
        assert lowered.submit(priority).result() > priority()
        lowered.submit(workers.each, len, [1, 2, 3]).result()
    all_here = threading.Barrier(3, timeout=60)
    asked = [workers.submit(lambda: (all_here.wait(), priority())[1]) for _ in range(3)]
    assert {one.result() for one in asked} == {priority()}


@pytest.mark.parametrize("given", [0, 2])
def test_a_machine_without_more_threads(tmp_path, many_cores, monkeypatch, given):
    """Where threads are limited, an mp4 is written all the same, and no thread waits for ever."""
    start, started = threading.Thread.start, []

    def limited(thread):
        if thread.name.startswith("frames") and len(started) == given:
            raise RuntimeError("can't start new thread")
        started.extend([thread] * thread.name.startswith("frames"))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    video = GrowingVideo(tmp_path / "clip.mp4", (64, 48), 8, Fraction(30))
    video.add(lambda: TensorSource(np.zeros((8, 48, 64, 3), np.uint8)))
    video.finish()
    workers.pool().shutdown()
    assert len(started) == given and len(VideoSource(tmp_path / "clip.mp4", fps=0)) == 8


def test_a_thread_of_the_pool_does_its_own_parts(many_cores):
    """All of them waiting for parts that none of them does would never end."""
    together, done = threading.Barrier(3, timeout=60), []

    def outer(_):
        together.wait()
        workers.each(lambda part: done.extend(part.tolist()), np.arange(6))

    workers.each(outer, np.arange(3))
    assert sorted(done) == sorted(3 * list(range(6)))


@pytest.mark.parametrize("most", [1, 2])
def test_few_large_frames_are_converted_at_once(tmp_path, many_cores, monkeypatch, most):
    path = write_clip(tmp_path / "clip.mp4", 20)
    source, convert, here = VideoSource(path, fps=0), source_module.to_rgb, []
    monkeypatch.setattr(decode, "_CONVERTED_AT_ONCE", most * source.width * source.height)
    counting, seen = threading.Lock(), set()

    def counted(frame, *given):
        with counting:
            here.append(frame)
            seen.add(len(here))
        time.sleep(0.02)  # another would begin meanwhile
        try:
            return convert(frame, *given)
        finally:
            with counting:
                here.pop()

    monkeypatch.setattr(source_module, "to_rgb", counted)
    read = source.read(0, 20)
    assert max(seen) == most
    monkeypatch.setattr(source_module, "to_rgb", convert)
    assert np.array_equal(read, VideoSource(path, fps=0).read(0, 20))


@pytest.mark.parametrize("cores, size, threads", [(1, (64, 48), 0), (6, (1920, 1080), 1), (6, (3840, 2160), 3)])
def test_a_large_frame_is_converted_by_several_threads(monkeypatch, cores, size, threads):
    """The same values; of small ones each has one, as they are many at once."""
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    expected = decode.to_rgb(frame)
    monkeypatch.setattr(workers, "COUNT", cores)
    assert decode._options(frame)["threads"] == threads
    assert np.array_equal(decode.to_rgb(frame), expected)


def test_an_error_in_a_thread_is_the_readers(tmp_path, many_cores, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", 20)
    source, convert, done = VideoSource(path, fps=0), source_module.to_rgb, []

    def fails(frame, *given):
        if len(done) == 5:
            raise InputError("frame 5 is no picture")
        done.append(frame.pts)
        return convert(frame, *given)

    monkeypatch.setattr(source_module, "to_rgb", fails)
    with pytest.raises(InputError, match="no picture"):
        source.read(0, 20)
