"""The chain with reading ahead and saving behind: same frames as one thing after the other, and nothing left over."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import wan_animate.chain.control_reader
from wan_animate.chain.conditioning import build_conditioning
from wan_animate.chain.control_reader import ControlReader
from wan_animate.chain.control_sources import Controls
from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.saver import GrowingVideo
from wan_animate.chain.segments import plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError
from wan_animate.face.crop import FaceCropSource
from wan_animate.mask.background import BackgroundSource
from wan_animate.video.audio import read_audio
from wan_animate.video.frames import FrameSource, TensorSource, reflected_index
from wan_animate.video.source import VideoSource
from wan_animate.video.write import write_video

from ..support.chain import PlainDenoiser, PlainVAE, make_job

WIDTH, HEIGHT, LENGTH = 48, 32, 9


@pytest.fixture(autouse=True)
def no_thread_left():
    before = set(threading.enumerate())
    yield
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert all(name.startswith("frames_") for name in left), "none but the workers that all share"


class Watched(FrameSource):
    """Frames of noise; remembers what was read, can be slow, and can fail at a frame."""

    def __init__(self, count, seed=0, kind="image", dtype=np.uint8, size=(WIDTH, HEIGHT), fails_at=None, seconds=0.0):
        self.width, self.height = size
        self.kind, self.fails_at, self.seconds, self.asked = kind, fails_at, seconds, []
        shape = (count, self.height, self.width) + ((3,) if kind == "image" else ())
        self.frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        if dtype == np.float32:
            self.frames = self.frames.astype(np.float32) / 255

    def __len__(self):
        return len(self.frames)

    def _read(self, start, stop):
        self.asked += range(start, stop)
        time.sleep(self.seconds * (stop - start))
        if self.fails_at is not None and start <= self.fails_at < stop:
            raise InputError(f"frame {self.fails_at} cannot be decoded.")
        return self.frames[start:stop]

    def fingerprint(self):
        return f"watched:{id(self)}"


def job(count, mode="animate", previous_frames=1, dtype=np.uint8, **changes) -> AnimateJob:
    more = {}
    if mode == "replace":
        more = dict(background=Watched(count, 3, dtype=dtype), character_mask=Watched(count, 4, "mask", dtype))
    settings = dict(
        reference=torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5)),
        pose=Watched(count, 1, dtype=dtype), face=Watched(count, 2, dtype=dtype, size=(16, 16)),
        mode=mode, segment_length=LENGTH, previous_frames=previous_frames, seed=7, **more,
    )  # fmt: skip
    return make_job(**{**settings, **changes})


def padded(source: Watched, count: int) -> TensorSource:
    """The clip played back and forth, frame by frame."""
    return TensorSource(np.stack([source.frames[reflected_index(i, len(source))] for i in range(count)]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("previous_frames", [1, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 23, 25])
def test_every_segment_is_told_what_its_frames_say_one_by_one(tmp_path, count, previous_frames, mode, dtype):
    work, denoiser, vae = job(count, mode, previous_frames, dtype), PlainDenoiser(), PlainVAE()
    store = SegmentStore(tmp_path / "job")
    result = generate(work, denoiser, vae, store)
    plan = plan_segments(count, LENGTH, previous_frames)
    assert len(result) == count and len(denoiser.told) == len(plan)
    sources = work.controls.sources
    whole = {name.replace(" ", "_"): padded(source, plan.segments[-1].stop) for name, source in sources.items()}
    reference = vae.encode(work.reference_pixels())
    for segment, told in zip(plan, denoiser.told):
        tail = store.tail(segment.index - 1) if segment.index else None
        wanted = build_conditioning(segment, Controls(**whole), CachedVAE(vae), reference, previous=tail, face_size=16)
        for name in ("concat_latent", "unknown_mask", "pose_latent", "face"):
            assert torch.equal(getattr(told, name), getattr(wanted, name)), (segment.index, name)
    for source in sources.values():
        assert source.asked == list(range(count)), "every frame once, and forwards"


def test_what_several_controls_are_made_of_is_read_once():
    driver, mask = Watched(25), Watched(25, kind="mask")
    face = FaceCropSource(driver, np.tile([4, 4, 20, 20], (25, 1)), size=16)
    sources = {"pose": Watched(25), "face": face, "background": BackgroundSource(driver, mask), "character mask": mask}
    segments = plan_segments(25, LENGTH).segments
    with ControlReader(sources, segments) as reader:
        for segment in segments:
            reader.begin(segment)
            for name in sources:
                reader.take(name)
    assert driver.asked == mask.asked == list(range(25))


def test_the_next_segment_is_read_after_this_one_was_encoded():
    """Else both are in memory while the VAE works."""
    pose, segments = Watched(25), plan_segments(25, LENGTH).segments
    with ControlReader({"pose": pose}, segments) as reader:
        reader.begin(segments[0])
        reader.take("pose")
        time.sleep(0.2)  # time to read too far
        assert pose.asked == list(range(LENGTH))
        reader.read_on()
        reader.begin(segments[1])
        assert len(reader.take("pose")) == LENGTH and pose.asked == list(range(segments[1].stop))


@pytest.mark.parametrize("count, previous_frames", [(41, 1), (40, 5), (10, 1)])
def test_at_most_one_segment_is_held_ahead(tmp_path, count, previous_frames):
    held, furthest = [], []
    plan = plan_segments(count, LENGTH, previous_frames)

    def during(segment, step):
        time.sleep(0.05)  # time to read too far
        here = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, wan_animate.chain.control_reader.__file__)]
        )
        held.append(sum(trace.size for trace in here.statistics("filename")))
        furthest.append((segment, max(work.controls.pose.asked)))

    work = job(count, "replace", previous_frames)
    tracemalloc.start()
    try:
        generate(work, PlainDenoiser(during=during), PlainVAE(), SegmentStore(tmp_path / "job"))
    finally:
        tracemalloc.stop()
    frame = WIDTH * HEIGHT * 7 + 16 * 16 * 3
    again = max(previous_frames, 2 * (count - 1) - plan.segments[-1].stop)  # of them, kept for the segment after
    assert max(held) <= (LENGTH + max(again, LENGTH - 1)) * frame + 20_000
    if count > 20:
        assert max(held[: len(plan)]) <= (LENGTH + previous_frames) * frame + 20_000
    for segment, last in furthest:
        assert last < plan.segments[min(segment + 1, len(plan) - 1)].stop


def test_latents_that_are_remembered_need_no_frames(tmp_path):
    vae = CachedVAE(PlainVAE(), LatentCache())
    work, first, second = job(25, "replace", color="off"), PlainDenoiser(), PlainDenoiser()
    generate(work, first, vae, SegmentStore(tmp_path / "one"))
    for source in work.controls.sources.values():
        source.asked.clear()
    generate(work, second, vae, SegmentStore(tmp_path / "two"))
    controls = work.controls
    assert controls.pose.asked == [] and controls.background.asked == list(range(8, 25))
    assert controls.face.asked == list(range(25))
    for one, other in zip(first.told, second.told):
        assert torch.equal(one.pose_latent, other.pose_latent) and torch.equal(one.concat_latent, other.concat_latent)
    third = PlainDenoiser()
    generate(work, third, CachedVAE(PlainVAE(), Forgetful()), SegmentStore(tmp_path / "three"))
    assert all(torch.equal(one.pose_latent, other.pose_latent) for one, other in zip(first.told, third.told))


class Forgetful(LatentCache):
    """Says that it has everything, and has nothing when asked: another job's latents took their place."""

    def __contains__(self, key):
        return True


@pytest.mark.parametrize("name", ["pose", "face", "background", "character_mask"])
def test_a_reading_error_comes_where_its_segment_begins(tmp_path, name):
    work = job(33, "replace")
    getattr(work.controls, name).fails_at = 20  # in the third segment, read while the second is sampled
    seen = []
    store = SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match="frame 20 cannot be decoded"):
        generate(work, PlainDenoiser(during=lambda *_: time.sleep(0.05)), PlainVAE(), store, seen.append)
    assert (seen[-1].segment, seen[-1].stage) == (2, "encode") and store.finished() == 2
    assert not list(store.folder.glob(".*"))
    getattr(work.controls, name).fails_at = None
    whole = generate(job(33, "replace"), PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "whole"))
    assert np.array_equal(generate(work, PlainDenoiser(), PlainVAE(), store).read(0, 33), whole.read(0, 33))


class SlowStore(SegmentStore):
    """Takes its time, and can be full."""

    full_at = None

    def save(self, index, frames, tail, fps, *more):
        time.sleep(0.3)
        if index == self.full_at:
            raise InputError("the segment could not be saved: the disk is full.")
        super().save(index, frames, tail, fps, *more)


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
@pytest.mark.parametrize("at", [("encode", 1), ("denoise", 0), ("denoise", 1), ("save", 2), ("write", 3)])
def test_cancel_leaves_whole_files_and_no_thread(tmp_path, error, at):
    """While controls are read (a second a segment), a segment is saved and the clip encoded."""
    store = SlowStore(tmp_path / "job")

    def progress(now):
        if (now.stage, now.segment) == at:
            cancelled.append(time.monotonic())
            raise error

    work, cancelled = job(33, pose=Watched(33, 1, seconds=0.02), face=None), []
    with pytest.raises(error):
        generate(work, PlainDenoiser(), PlainVAE(), store, progress, store.folder / "clip.mp4")
    assert time.monotonic() - cancelled[0] < 1.0
    done = store.finished(work.plan())
    names = [f"segment_{i:04d}.{ending}" for i in range(done) for ending in ("mkv", "json")]
    names += [f"tail_{i:04d}.safetensors" for i in range(min(done, 3))]  # none follows the last of four
    assert sorted(os.listdir(store.folder)) == sorted(names) and done >= at[1] - 1
    again = generate(work, PlainDenoiser(), PlainVAE(), store, None, store.folder / "clip.mp4")
    whole = generate(job(33, face=None), PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "whole"))
    assert np.array_equal(again.read(0, 33), whole.read(0, 33))
    assert len(VideoSource(store.folder / "clip.mp4", fps=0)) == 33


def test_a_full_disk_while_saving_is_said_and_ends_the_job(tmp_path):
    store, begun = SlowStore(tmp_path / "job"), []
    store.full_at = 1
    with pytest.raises(InputError, match="the disk is full"):
        generate(
            job(41), PlainDenoiser(during=lambda index, _: begun.append(index) or time.sleep(0.3)), PlainVAE(), store,
            video=store.folder / "clip.mp4",
        )  # fmt: skip
    assert max(begun) == 2, "said while the next is sampled, and no further one is begun"
    assert sorted(os.listdir(store.folder)) == ["segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"]


def test_a_clip_that_cannot_be_written_is_said_at_once(tmp_path):
    store, begun = SegmentStore(tmp_path / "job"), []
    denoiser = PlainDenoiser(during=lambda index, _: begun.append(index) or time.sleep(0.2))
    with pytest.raises(InputError, match="there is no folder"):
        generate(job(41), denoiser, PlainVAE(), store, video=tmp_path / "nowhere" / "clip.mp4")
    assert max(begun, default=0) == 0


def test_a_segment_is_on_disk_before_the_one_after_the_next_starts(tmp_path):
    store, there = SlowStore(tmp_path / "job"), []
    denoiser = PlainDenoiser(1, during=lambda index, _: there.append((index, store.finished())))
    generate(job(41), denoiser, PlainVAE(), store)
    assert there == [(index, max(index - 1, 0)) for index in range(5)]


@pytest.mark.parametrize("resumed", [0, 2, 4])
def test_the_clip_is_the_one_that_is_written_at_the_end(tmp_path, resumed):
    """Same frames, rate and sound as write_video of the finished job; also where segments were finished before."""
    time_line = torch.arange(48000) / 48000
    audio = {"waveform": torch.sin(2 * torch.pi * 440 * time_line)[None, None], "sample_rate": 48000}
    store = SegmentStore(tmp_path / "job")

    def stop(now):
        if now.segment == resumed and now.stage == "encode":
            raise Cancelled

    if resumed:
        try:
            generate(job(33), PlainDenoiser(), PlainVAE(), store, stop)
        except Cancelled:
            pass
        assert store.finished(job(33).plan()) == resumed
    frames = generate(job(33), PlainDenoiser(), PlainVAE(), store, None, tmp_path / "grown.mp4", audio)
    write_video(tmp_path / "end.mp4", frames, audio, frames.fps)
    grown, end = VideoSource(tmp_path / "grown.mp4", fps=0), VideoSource(tmp_path / "end.mp4", fps=0)
    assert (len(grown), grown.fps) == (33, 30) == (len(end), end.fps)
    # Not bit for bit: x264 is not deterministic on CPUs with AVX-512. Two encodings of the same frames were up to 1.22
    # levels apart; with asm=avx2, never.
    one, other = (clip.read(0, 33).astype(np.int16) for clip in (grown, end))
    away = np.abs(one[:, None] - other[None]).mean(axis=(2, 3, 4))  # [33, 33]: of every frame from every other
    assert np.diag(away).mean() < 2, "no more than coding noise"
    for at in range(33):
        assert away[at].argmin() == at, f"frame {at} is another frame"
    heard = [read_audio(tmp_path / name)["waveform"] for name in ("grown.mp4", "end.mp4")]
    assert heard[0].shape == heard[1].shape and (heard[0] - heard[1]).abs().max() < 1e-3
    assert sorted(os.listdir(tmp_path)) == ["end.mp4", "grown.mp4", "job"]


def test_segments_that_the_encoder_has_no_time_for_wait_on_disk(tmp_path):
    """Never more than two segments' frames wait in memory: the one that is encoded and the next."""
    store, gate, opened = SegmentStore(tmp_path / "job"), threading.Event(), []
    clip = store.clip
    store.clip = lambda plan, fps: opened.append([s.index for s in plan]) or clip(plan, fps)

    class Held(GrowingVideo):
        def _parts(self):
            gate.wait(10)
            return super()._parts()

    from wan_animate.chain.saver import SegmentSaver

    frames = torch.rand(8, HEIGHT, WIDTH, 3)
    segments = plan_segments(33, LENGTH).segments
    with SegmentSaver(store, 30, Held(tmp_path / "clip.mp4", (WIDTH, HEIGHT), 32, 30)) as saver:
        for segment in segments:
            saver.save(segment, frames, frames[-1:])
        gate.set()
        store_parts = [s.index for s in segments[1:]]
        saver.finish()
    assert opened == [[index] for index in store_parts]
    assert len(VideoSource(tmp_path / "clip.mp4", fps=0)) == 32


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives each thread a priority of its own: run on Linux")
def test_writing_leaves_the_cores_to_the_sampler(tmp_path):
    """The clip's thread and the encoder's own are of lower priority, this one and the process are not."""

    def priorities():
        found = {}
        for thread in os.listdir("/proc/self/task"):
            try:
                found[thread] = os.getpriority(os.PRIO_PROCESS, int(thread))
            except OSError:  # ended meanwhile
                pass
        return found

    before = priorities()
    video = GrowingVideo(tmp_path / "clip.mp4", (WIDTH, HEIGHT), 40, 30)
    try:
        video.add(lambda: TensorSource(np.zeros((16, HEIGHT, WIDTH, 3), np.uint8)))
        time.sleep(0.5)
        new = {thread: nice for thread, nice in priorities().items() if thread not in before}
    finally:
        video.close()
    own = os.getpriority(os.PRIO_PROCESS, os.getpid())  # not 0 where the tests run under nice
    assert new and set(new.values()) == {min(own + 10, 19)}
    assert own == os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


KILLED = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from demo import importing
importing.install()
sys.path.insert(0, sys.argv[1])
from tests.chain.test_background import PlainDenoiser, PlainVAE, SegmentStore, generate, job

class Stuck(SegmentStore):
    def save(self, index, *more):
        if index == 1:
            time.sleep(60)
        super().save(index, *more)

def during(segment, step):
    if segment == 2:
        time.sleep(0.3)
        os._exit(9)

store = Stuck(sys.argv[2])
generate(job(33), PlainDenoiser(during=during), PlainVAE(), store, video=store.folder / "clip.mp4")
"""


def test_a_job_that_was_killed_between_finishing_and_saving_goes_on(tmp_path):
    """A process that dies while segment 2 is sampled and segment 1 is not on disk yet: both are made again."""
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(tmp_path / "job")], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 9, ended.stderr
    assert list((tmp_path / "job").glob(".clip.*.part.mp4")), "the clip that was growing"
    store, segments = SegmentStore(tmp_path / "job"), []
    assert store.finished() == 1
    again = generate(job(33), PlainDenoiser(), PlainVAE(), store, lambda p: segments.append((p.stage, p.segment)))
    assert min(number for stage, number in segments if stage != "verify") == 1 and not list(store.folder.glob(".*"))
    whole = generate(job(33), PlainDenoiser(), PlainVAE(), SegmentStore(tmp_path / "whole"))
    assert np.array_equal(again.read(0, 33), whole.read(0, 33))
