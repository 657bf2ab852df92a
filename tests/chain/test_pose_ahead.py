"""The next segment's pose, encoded beside the sampler: the same clip, in another thread."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from wan_animate.backends import diffusers
from wan_animate.chain.conditioning import build_conditioning
from wan_animate.chain.control_sources import POSE
from wan_animate.chain.generate import generate
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.pose_ahead import PoseAhead
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError

from .test_generate import FRAMES, HEIGHT, WIDTH, denoiser, job, parts, replace_job  # noqa: F401  fixtures

AHEAD = "pose ahead"


class Watched:
    """A VAE that notes in which thread it encoded how many frames, and may fail."""

    def __init__(self, vae):
        self.vae, self.threads, self.error, self.busy = vae, [], None, False

    def encode(self, frames, still=0):
        self.threads.append(threading.current_thread().name.split("_")[0])
        if self.error is not None and self.threads[-1] == AHEAD:
            raise self.error
        assert not torch.is_grad_enabled() and not self.busy
        self.busy = True
        try:
            return self.vae.encode(frames, still)
        finally:
            self.busy = False

    def decode(self, latent):
        assert not self.busy, "it keeps features from frame to frame: one thread at a time"
        return self.vae.decode(latent)


@pytest.fixture
def watched(parts):  # noqa: F811
    return Watched(parts[1].vae)


@pytest.fixture
def patient(denoiser, watched):  # noqa: F811
    """A denoiser that takes as long as the pose ahead of it; ``during``: how many were made when it was done."""

    class Patient(type(denoiser)):
        during: list[int] = []
        last = len(job().plan()) - 1

        def denoise(self, conditioning, noise, on_step):
            wanted, end = conditioning.segment.index + 1, time.monotonic() + 20
            while wanted <= self.last and watched.threads.count(AHEAD) < wanted and time.monotonic() < end:
                time.sleep(0.01)
            self.during.append(watched.threads.count(AHEAD))
            return super().denoise(conditioning, noise, on_step)

    return Patient(denoiser.transformer, denoiser.scheduler, denoiser.prompt, steps=denoiser.steps)


def done(frames: np.ndarray) -> Future:
    found: Future = Future()
    found.set_result({POSE: frames})
    return found


def left_over() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(AHEAD)]


@pytest.mark.parametrize("cache", [None, 256 << 20], ids=["no cache", "cache"])
@pytest.mark.parametrize("make", [job, replace_job])
def test_the_same_clip_with_all_poses_but_the_first_ahead(watched, denoiser, patient, tmp_path, make, cache):  # noqa: F811
    alone, beside = SegmentStore(tmp_path / "alone"), SegmentStore(tmp_path / "beside")
    expected = generate(make(), denoiser, CachedVAE(watched.vae), alone).read(0, FRAMES)
    port = CachedVAE(watched, None if cache is None else LatentCache(cache), beside=True)
    found = generate(make(), patient, port, beside).read(0, FRAMES)
    assert np.array_equal(found, expected) and beside.boundaries() == alone.boundaries()
    assert watched.threads.count(AHEAD) == len(make().plan()) - 1 >= 2
    assert not left_over()
    if cache is not None:  # what is kept is not encoded again, ahead or not
        before = len(watched.threads)
        again = generate(make(), denoiser, port, SegmentStore(tmp_path / "again")).read(0, FRAMES)
        assert np.array_equal(again, expected) and AHEAD not in watched.threads[before:]


def test_only_where_the_vae_is_beside(watched, denoiser, tmp_path):  # noqa: F811
    generate(job(), denoiser, CachedVAE(watched), SegmentStore(tmp_path / "job"))
    assert watched.threads and AHEAD not in watched.threads and not left_over()


def test_the_pose_is_encoded_while_the_segment_before_is_sampled(watched, patient, tmp_path):
    generate(job(), patient, CachedVAE(watched, beside=True), SegmentStore(tmp_path / "job"))
    assert patient.during[:2] == [1, 2]


def test_the_decoder_does_not_wait_for_frames_that_are_not_read_yet(parts, watched):  # noqa: F811
    never: Future = Future()
    first, second = job().plan().segments[:2]

    class Reader:
        def __init__(self, frames: Future) -> None:
            self.frames = frames

        def ahead(self, name):
            return first, self.frames

    for frames, made in ((never, False), (done(np.zeros((first.length, 64, 64, 3), np.float32)), True)):
        ahead = PoseAhead(Reader(frames), CachedVAE(watched, beside=True), job().controls)
        ahead.begin()
        end = time.monotonic() + 20
        while made and AHEAD not in watched.threads and time.monotonic() < end:
            time.sleep(0.01)
        began = time.monotonic()
        ahead.wait()
        assert made or time.monotonic() - began < 0.05
        assert (ahead.take(first) is not None) == made
        ahead.begin()
        assert ahead.take(second) is None, "it is of another segment"
        ahead.close()
    assert not left_over()


def test_its_frames_are_taken_all_the_same(parts):  # noqa: F811
    """The driver's motion is measured by what is read."""
    work, port, taken = job(), CachedVAE(parts[1].vae), []
    segment = work.plan().segments[0]

    def build(pose_ahead=None):
        taken.clear()
        reference = torch.zeros(1, 16, 1, HEIGHT // 8, WIDTH // 8)
        read = lambda name: taken.append(name) or segment.read(work.controls.sources[name])  # noqa: E731
        made = build_conditioning(
            segment, work.controls, port, reference, face_size=16, take=read, pose_ahead=pose_ahead
        )
        return made.pose_latent, sorted(taken)

    latent, names = build()
    again, also = build(latent)
    assert POSE in names and also == names and torch.equal(again, latent)


def test_what_goes_wrong_ahead_is_raised(watched, patient, tmp_path):
    watched.error = InputError("the card has gone")
    store = SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match="the card has gone"):
        generate(job(), patient, CachedVAE(watched, beside=True), store)
    assert store.is_whole(job().plan().segments[0]), "it is of the next segment: this one is finished first"
    assert not left_over()


def test_cancel_ends_the_thread(watched, denoiser, tmp_path):  # noqa: F811
    def stop(progress):
        if progress.stage == "denoise":
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(job(), denoiser, CachedVAE(watched, beside=True), SegmentStore(tmp_path / "job"), stop)
    assert not left_over()


def test_the_shell_puts_the_vae_beside_where_another_card_has_room(small_models, monkeypatch):
    """``meta`` stands for the other card."""
    _, vae, _ = diffusers.load(small_models.diffusers, dtype=torch.float32)
    assert not vae.beside and vae.vae.vae.device.type == "cpu"
    asked = []
    other = torch.device("meta")
    monkeypatch.setattr(diffusers, "card_with_room", lambda device, work, needed: asked.append(needed) or other)
    transformer, vae, _ = diffusers.load(small_models.diffusers, dtype=torch.float32, needed=7.5)
    assert vae.beside and vae.vae.vae.device == other and transformer.device.type == "cpu" and asked == [7]
