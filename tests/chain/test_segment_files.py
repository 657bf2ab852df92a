"""Segment files: the same bits back, whole or not at all, and what is damaged is named."""

import os
from fractions import Fraction

import numpy as np
import pytest

from wan_animate.chain.segment_files import LosslessSource, write_lossless
from wan_animate.errors import Cancelled, InputError
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..support.clips import numbered_frame, numbers


def test_lossless_is_bit_exact(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 50, 66, 3), dtype=np.uint8)
    assert write_lossless(tmp_path / "s.mkv", iter(frames), Fraction(30000, 1001)) == 12
    source = LosslessSource([(tmp_path / "s.mkv", 0, None)], Fraction(30000, 1001))
    assert (len(source), source.width, source.height, source.fps) == (12, 66, 50, Fraction(30000, 1001))
    assert np.array_equal(source.read(0, 12), frames)
    assert os.listdir(tmp_path) == ["s.mkv"]


def test_lossless_parts_play_as_one(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, 48, 64, 3), dtype=np.uint8)
    parts, whole = [], []
    for at, (start, stop) in enumerate([(0, 30), (5, 30), (1, 9)]):
        write_lossless(tmp_path / f"{at}.mkv", frames[at], 30)
        parts.append((tmp_path / f"{at}.mkv", start, stop))
        whole.append(frames[at, start:stop])
    whole, source = np.concatenate(whole), LosslessSource(parts, 30)
    assert len(source) == 63 and np.array_equal(source.read(0, 63), whole)
    rng = np.random.default_rng(1)
    for start in rng.integers(0, 62, 30):
        stop = int(rng.integers(start + 1, 64))
        assert np.array_equal(source.read(int(start), stop), whole[start:stop])
    source.close()
    assert np.array_equal(source.read(28, 33), whole[28:33])
    assert source.fingerprint() != LosslessSource(parts[:2], 30).fingerprint()
    assert source.fingerprint() == LosslessSource(parts, 30).fingerprint()


def test_lossless_becomes_the_result(tmp_path):
    write_lossless(tmp_path / "s.mkv", np.stack([numbered_frame(i, 160, 96) for i in range(30)]), 30)
    write_video(tmp_path / "v.mp4", LosslessSource([(tmp_path / "s.mkv", 0, 30)], 30))
    assert numbers(VideoSource(tmp_path / "v.mp4").read(0, 30)) == list(range(30))


def test_lossless_leaves_nothing_half_written(tmp_path):
    def frames():
        yield np.zeros((48, 64, 3), np.uint8)
        raise Cancelled

    with pytest.raises(Cancelled):
        write_lossless(tmp_path / "s.mkv", frames(), 30)
    small, large = np.zeros((48, 64, 3), np.uint8), np.zeros((50, 64, 3), np.uint8)
    for bad in ([], [small.astype(np.float32)], [small, large]):
        with pytest.raises(InputError):
            write_lossless(tmp_path / "s.mkv", bad, 30)
    assert os.listdir(tmp_path) == []


def test_damaged_segments_are_refused(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8)
    path = tmp_path / "s.mkv"
    write_lossless(path, frames, 30)
    with pytest.raises(InputError, match="holds 30 frames and 0 to 31 are wanted"):
        LosslessSource([(path, 0, 31)], 30)
    write_lossless(tmp_path / "big.mkv", np.zeros((2, 96, 64, 3), np.uint8), 30)
    with pytest.raises(InputError, match="64x96"):
        LosslessSource([(path, 0, 30), (tmp_path / "big.mkv", 0, None)], 30)
    later = LosslessSource([(path, 0, 30), (tmp_path / "big.mkv", 0, 2)], 30)  # opened when it is read
    with pytest.raises(InputError, match="64x96"):
        later.read(29, 31)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged"):
        LosslessSource([(path, 0, 30)], 30)
    with pytest.raises(InputError, match="none was finished"):
        LosslessSource([], 30)
