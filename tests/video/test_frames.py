"""Frame sources in memory, and derived sources."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from wan_animate import workers
from wan_animate.errors import InputError
from wan_animate.video.derived import DerivedSource, RepeatedSource, ResizedSource, SampledSource
from wan_animate.video.frames import (
    TensorSource,
    as_uint8,
    read_float,
    read_reflected,
    read_uint8,
    reading_once,
    reflected_index,
)
from wan_animate.video.resample import letterbox

from ..support.reads import RecordedSource


def counting(count=10, height=6, width=8):
    return RecordedSource(
        np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3))
    )


def test_tensor_source_gives_out_what_it_was_given():
    images = torch.rand(5, 6, 8, 3)
    source = TensorSource(images, 24)
    assert (len(source), source.width, source.height, source.fps, source.kind) == (5, 8, 6, 24, "image")
    assert np.array_equal(source.read(1, 3), images[1:3].numpy())
    masks = TensorSource(torch.rand(5, 6, 8))
    assert masks.kind == "mask" and masks.read(0, 5).shape == (5, 6, 8)
    half = TensorSource(torch.rand(2, 6, 8, 3).half())
    assert half.read(0, 1).dtype == np.float32


@pytest.mark.parametrize("shape", [(6, 8), (5, 6, 8, 2), (5, 6, 8, 3, 1), (0, 6, 8, 3)])
def test_tensor_source_refuses_other_shapes(shape):
    with pytest.raises(InputError):
        TensorSource(torch.zeros(shape))


@pytest.mark.parametrize("start, stop", [(-1, 2), (0, 11), (3, 3), (4, 2)])
def test_a_range_outside_the_clip_is_an_index_error(start, stop):
    with pytest.raises(IndexError, match="of a clip of 10"):
        counting().read(start, stop)


def test_uint8_and_float_reading_agree():
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    source = TensorSource(values)
    as_float = read_float(source, 0, 4)
    assert as_float.dtype == torch.float32 and torch.equal(as_float, torch.from_numpy(values).float() / 255)
    assert np.array_equal(read_uint8(TensorSource(as_float), 0, 4), values)
    assert read_uint8(TensorSource(torch.tensor([[[1.5, -0.5]]])), 0, 1).tolist() == [[[255, 0]]]


def test_fingerprint_follows_the_frames():
    one = TensorSource(torch.zeros(3, 4, 4, 3))
    assert one.fingerprint() == TensorSource(torch.zeros(3, 4, 4, 3)).fingerprint()
    changed = torch.zeros(3, 4, 4, 3)
    changed[2, 3, 3, 2] = 1e-6
    assert TensorSource(changed).fingerprint() != one.fingerprint()
    assert TensorSource(torch.zeros(3, 4, 4, 3), 24).fingerprint() != one.fingerprint()


@pytest.mark.parametrize(
    ("size", "given", "ranges"),
    [
        (4, (), [(0, 4), (4, 8), (8, 10)]),
        (20, (), [(0, 10)]),
        (3, (2,), [(2, 5), (5, 8), (8, 10)]),
        (3, (2, 8), [(2, 5), (5, 8)]),
        (3, (5, 5), []),
    ],
)
def test_batches(size, given, ranges):
    source = counting()
    found = list(source.batches(size, *given))
    assert [part[:2] for part in found] == source.reads == ranges
    for start, stop, frames in found:
        assert frames[:, 0, 0, 0].tolist() == list(range(start, stop))


@pytest.mark.parametrize(
    ("derive", "length"),
    [
        (lambda source: ResizedSource(source, 4, 3), 1),
        (lambda source: RepeatedSource(source, 5), 5),
        (lambda source: SampledSource(source, 60), 2),
    ],
    ids=["resized", "repeated", "sampled"],
)
def test_a_derived_source_closes_what_it_is_made_from(derive, length):
    source = counting(1)
    derived = derive(source)
    derived.close()
    assert source.closed == 1 and len(derived) == length and derived.source is source


def test_a_derived_source_of_two_closes_both():
    class Sum(DerivedSource):
        def _read(self, start, stop):
            return self.source.read(start, stop)

        def fingerprint(self):
            return "sum"

    first, second = counting(3), counting(4)
    derived = Sum(first, second)
    derived.close()
    assert (len(derived), derived.width, derived.height, derived.fps) == (3, 8, 6, 30)
    assert (first.closed, second.closed) == (1, 1)


def test_playing_back_and_forth():
    assert [reflected_index(i, 4) for i in range(10)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert [reflected_index(i, 1) for i in range(3)] == [0, 0, 0]
    assert read_reflected(counting(4), 2, 9)[:, 0, 0, 0].tolist() == [2, 3, 2, 1, 0, 1, 2]
    assert read_reflected(counting(3), 4, 7)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert read_reflected(counting(1), 0, 5)[:, 0, 0, 0].tolist() == [0] * 5


def test_frames_played_back_are_read_once_and_forwards():
    for length, start, stop in [(10, 7, 15), (4, 2, 30), (3, 5, 8), (10, 2, 9)]:
        source = counting(length)
        frames = read_reflected(source, start, stop)[:, 0, 0, 0].tolist()
        assert frames == [reflected_index(index, length) for index in range(start, stop)]
        assert source.reads == [(min(frames), max(frames) + 1)]


def test_sources_made_of_each_other_are_read_once_in_a_block():
    source = counting()
    one, other = ResizedSource(source, 8, 6), ResizedSource(source, 4, 3)
    with reading_once():
        assert np.array_equal(one.read(2, 5), ResizedSource(counting(), 8, 6).read(2, 5))
        assert np.array_equal(other.read(2, 5), ResizedSource(counting(), 4, 3).read(2, 5))
        assert source.reads == [(2, 5)]
        source.read(2, 4)
    source.read(2, 5)
    assert source.reads == [(2, 5), (2, 4), (2, 5)], "another range, or after the block, is read anew"


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (64, 64), (7, 90), (33, 31)])
@pytest.mark.parametrize("target", [(32, 32), (64, 48), (16, 80)])
def test_letterbox_keeps_the_shape_and_centres(size, target):
    (width, height), (to_width, to_height) = size, target
    image = np.full((height, width, 3), 200, np.uint8)
    out = letterbox(image, to_width, to_height)
    assert out.shape == (to_height, to_width, 3)
    inside = out[..., 0] == 200
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert inside[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].all() and not out[~inside].any()
    scale = min(to_width / width, to_height / height)
    assert abs(len(cols) - width * scale) <= 1 and abs(len(rows) - height * scale) <= 1
    assert abs((to_width - len(cols)) // 2 - cols[0]) == 0 and abs((to_height - len(rows)) // 2 - rows[0]) == 0


def test_letterbox_averages_when_it_shrinks():
    checker = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.ptp(letterbox(checker, 16, 16)) <= 1
    assert np.array_equal(letterbox(checker, 64, 64), checker)
    assert set(np.unique(letterbox(checker, 16, 16, cv2.INTER_NEAREST))) <= {0, 255}


def test_resized_source():
    rng = np.random.default_rng(0)
    images = TensorSource(rng.integers(0, 256, (4, 30, 40, 3), dtype=np.uint8), 24)
    small = ResizedSource(images, 32, 32)
    assert (small.width, small.height, len(small), small.fps, small.kind) == (32, 32, 4, 24, "image")
    assert np.array_equal(small.read(1, 3)[1], letterbox(images.read(2, 3)[0], 32, 32))
    assert np.array_equal(ResizedSource(images, 40, 30).read(0, 4), images.read(0, 4))
    floats = ResizedSource(TensorSource(torch.rand(2, 30, 40, 3)), 20, 20)
    assert floats.read(0, 2).dtype == np.float32
    mask = ResizedSource(TensorSource((torch.rand(2, 30, 40) > 0.5).float()), 33, 47)
    assert mask.kind == "mask" and mask.read(0, 2).shape == (2, 47, 33)
    assert set(np.unique(mask.read(0, 2))) == {0.0, 1.0}, "a hard mask stays hard"
    with pytest.raises(InputError):
        ResizedSource(images, 0, 5)


def in_planes(frames):
    """The same frames, a channel after the other in memory, as the host's own VAE makes them."""
    return np.ascontiguousarray(frames.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """So many round one array."""
    monkeypatch.setattr("wan_animate.video.frames._SHARED", 1)
    monkeypatch.setattr(workers, "COUNT", request.param)
    workers.pool.cache_clear()
    yield request.param
    workers.pool.cache_clear()


@pytest.mark.parametrize("laid", [np.asarray, in_planes, lambda frames: frames[::2, :, ::-1], lambda frames: frames[0]])
def test_floats_become_bytes_rounded_whatever_their_order_in_memory(laid, threads):
    frames = np.random.default_rng(0).uniform(-0.1, 1.1, (5, 300, 200, 3)).astype(np.float32)
    frames.reshape(-1)[:512] = (np.arange(512) / 2 + 0.25).astype(np.float32) / np.float32(255)
    frames = laid(frames)
    made = as_uint8(frames)
    assert made.dtype == np.uint8 and made.flags.c_contiguous
    np.testing.assert_array_equal(made, np.clip(frames * 255.0 + 0.5, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("laid", [np.asarray, in_planes])
def test_floats_become_bytes_without_another_copy_of_the_frames(laid):
    frames = laid(np.full((8, 300, 400, 3), 0.5, np.float32))
    tracemalloc.start()
    try:
        made = as_uint8(frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < made.nbytes + (1 << 20)
