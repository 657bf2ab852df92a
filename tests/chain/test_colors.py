"""Colours through the chain: drift, light, resume, and jobs that it must not touch."""

import shutil

import numpy as np
import pytest

from wan_animate.chain.generate import generate
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.store import SegmentStore
from wan_animate.color.delta_e import mean_delta_e
from wan_animate.errors import Cancelled, InputError

from ..support.drift import DriftingDenoiser, PackingVAE, World, errors_of

LENGTH, SEGMENTS = 9, 5
SIZE = {"width": 96, "height": 64}


def world(previous=1, segments=SEGMENTS, **settings) -> World:
    return World(segments * (LENGTH - previous) + previous, **SIZE, **settings)


def made(folder, here, mode, error="together", previous=1, progress=None, vae=None, **settings):
    vae = vae or PackingVAE()
    job = here.job(mode, segment_length=LENGTH, previous_frames=previous, **settings)
    denoiser = DriftingDenoiser(here, errors_of(error), PackingVAE())
    clip = generate(job, denoiser, vae, SegmentStore(folder), progress)
    return clip.read(0, here.count)


def truth(here, at, error="together") -> np.ndarray:
    return np.clip(errors_of(error)(0)(here.frame(at), 1.0), 0, 1)


@pytest.mark.parametrize("mode, previous, moves", [("animate", 1, False), ("animate", 5, True), ("replace", 1, True)])
def test_colours_stay(tmp_path, mode, previous, moves):
    here = world(previous, moves=moves)
    off, on = (made(tmp_path / color, here, mode, previous=previous, color=color) for color in ("off", "anchor"))
    last, still = here.count - 1, here.still()
    far = [mean_delta_e(frames[last] / 255, truth(here, last), still) for frames in (off, on)]
    assert far[0] > 2.5 and far[1] < 0.3
    records = SegmentStore(tmp_path / "anchor").records(SEGMENTS)
    assert records[0] == {} and all(one["color"]["previous"][1] < 0.1 for one in records[1:])
    assert all(one["color"]["anchor"] is not None and one["color"]["note"] == "" for one in records[1:])


def test_off_adds_nothing(tmp_path):
    """What a segment shows is what the model made, and nothing is measured."""
    here = world()
    frames = made(tmp_path / "job", here, "animate", "gain", color="off")
    shown = here.frame(0)
    for index in range(SEGMENTS):
        shown = np.clip(errors_of("gain")(index)(shown, 1.0), 0, 1).astype(np.float32)
        at = index * (LENGTH - 1) + 1
        assert np.array_equal(frames[at][here.still()], (shown * 255 + 0.5).astype(np.uint8)[here.still()])
    assert not any(SegmentStore(tmp_path / "job").records(SEGMENTS))


def test_one_segment_is_not_touched(tmp_path):
    here = world(segments=1)
    for mode in ("animate", "replace"):
        off, on = (made(tmp_path / (mode + color), here, mode, color=color) for color in ("off", "anchor"))
        assert np.array_equal(off, on)
        assert SegmentStore(tmp_path / f"{mode}anchor").records(1) == [{}]


@pytest.mark.parametrize("mode, change", [("replace", "ramp"), ("replace", "cut"), ("animate", "flash")])
def test_light_that_changes_is_kept(tmp_path, mode, change):
    step = LENGTH - 1
    settings = {
        "ramp": {"light": lambda at: float(np.interp(at, [step, 3 * step], [1.0, 0.5]))},
        "flash": {"light": lambda at: 0.6 + 0.4 * (2 * step + 2 <= at < 2 * step + 5)},
        "cut": {"cut": 2 * step + 3},
    }[change]
    here = world(**settings)
    frames, first = made(tmp_path / "job", here, mode), truth(here, 0)
    off, size = 0.0, 0.0
    for at in range(here.count):
        true = truth(here, at)
        changed = (np.abs(true - first).max(axis=-1) > 0.02) & here.still()
        off += np.abs(frames[at] / 255 - true)[changed].sum()
        size += np.abs(true - first)[changed].sum()
    assert off / size < 0.05


@pytest.mark.parametrize("end", [8, 12, 32])
def test_light_that_changes_as_the_clip_ends_is_kept(tmp_path, end):
    """How fast it changes is told by whole segments, also where few frames of the last are decoded."""
    length = 33
    here = World(length + end, **SIZE, light=lambda at: 1 + 0.05 * float(np.clip((at - length + 1) / 8, 0, 1)))
    job = here.job("animate", segment_length=length, previous_frames=1, color="anchor")
    denoiser = DriftingDenoiser(here, lambda _: lambda frames, _: frames, PackingVAE())
    store = SegmentStore(tmp_path / "job")
    frames = generate(job, denoiser, PackingVAE(), store).read(0, here.count)
    assert store.records(2)[1]["color"]["note"] == "the light changes"
    off = [mean_delta_e(frames[at] / 255, here.frame(at)) for at in range(length, here.count)]
    assert max(off) < 0.3


@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_a_stopped_job_goes_on_with_the_same_bits(tmp_path, mode):
    here = world(moves=True)
    whole = made(tmp_path / "whole", here, mode, "walk")
    for done in range(1, SEGMENTS):

        def stop(now, done=done):
            if (now.segment, now.stage) == (done, "denoise"):
                raise Cancelled

        folder = tmp_path / f"stopped{done}"
        with pytest.raises(Cancelled):
            made(folder, here, mode, "walk", progress=stop)
        assert SegmentStore(folder).finished() == done
        assert np.array_equal(made(folder, here, mode, "walk"), whole)
        for index in range(1, SEGMENTS):
            name = f"segment_{index:04d}.json"
            assert (folder / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_scene_that_is_remembered_is_still_compared(tmp_path):
    here, vae = world(), CachedVAE(PackingVAE(), LatentCache())
    first, second = (made(tmp_path / name, here, "replace", vae=vae) for name in ("one", "two"))
    assert np.array_equal(first, second)
    assert np.array_equal(first, made(tmp_path / "three", here, "replace"))


def test_a_segment_whose_record_is_damaged_is_made_again(tmp_path):
    here = world()
    whole = made(tmp_path / "job", here, "animate")
    store = SegmentStore(tmp_path / "job")
    store.record_path(1).write_text("{")
    store.record_path(2).write_text("[1]")
    store.record_path(3).unlink()
    assert [bool(one) for one in store.records(SEGMENTS)] == [False, False, False, False, True]
    again = []
    assert np.array_equal(made(tmp_path / "job", here, "animate", progress=again.append), whole)
    assert {now.segment for now in again if now.stage == "denoise"} == {1, 2, 3}
    assert all(record["color"]["previous"][1] < 0.1 for record in store.records(SEGMENTS)[1:])
    shutil.rmtree(tmp_path / "job")


def test_the_key_tells_the_modes_apart_and_nothing_else(tmp_path):
    here = world()
    keys = [here.job("animate", color=color).key() for color in ("off", "previous", "anchor")]
    assert len(set(keys)) == 3 and keys[2] == here.job("animate").key()
    with pytest.raises(InputError, match="color is 'mkl': choose off, previous or anchor"):
        here.job("animate", color="mkl").check()
