"""Clips that were read are closed."""

import os
import sys
import time

import numpy as np
import pytest

from wan_animate.chain.segment_files import LosslessSource, write_lossless
from wan_animate.video.opened import close_opened, close_opened_later
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is open: run on Linux")


def is_open(path) -> bool:
    return str(path) in {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}


@pytest.fixture(params=["video", "lossless"])
def clip(request, tmp_path):
    """(its file, source)"""
    if request.param == "video":
        path = write_clip(tmp_path / "clip.mp4", 12)
        return path, VideoSource(path, fps=0)
    path = tmp_path / "clip.mkv"
    write_lossless(path, np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), np.uint8), 30)
    return path, LosslessSource([(path, 0, None)], 30)


def test_what_was_read_is_closed_and_read_again(clip):
    path, source = clip
    assert not is_open(path)
    first = source.read(0, 5)
    assert is_open(path)
    close_opened()
    assert not is_open(path)
    assert np.array_equal(source.read(0, 5), first) and is_open(path)
    close_opened()
    assert not is_open(path)


def test_a_clip_that_is_looked_through_is_closed_when_nobody_does(clip):
    path, source = clip
    for frame in range(5):
        close_opened_later(1.0)
        source.read(frame, frame + 1)
        time.sleep(0.3)
        assert is_open(path), "longer in all than a clip is kept open that is not looked at"
    end = time.monotonic() + 30
    while is_open(path):
        assert time.monotonic() < end
        time.sleep(0.05)
