"""The next segment's pose, encoded beside the sampler: the same clip, in another thread."""

import threading
import time

import numpy as np
import pytest
import torch

from wan_animate.backends import diffusers
from wan_animate.chain.generate import generate
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError

from .test_generate import FRAMES, denoiser, job, parts, replace_job  # noqa: F401  fixtures

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


def left_over() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(AHEAD)]


@pytest.mark.parametrize("cache", [None, 256 << 20], ids=["no cache", "cache"])
@pytest.mark.parametrize("make", [job, replace_job])
def test_the_same_clip_with_all_poses_but_the_first_ahead(watched, denoiser, tmp_path, make, cache):  # noqa: F811
    alone, beside = SegmentStore(tmp_path / "alone"), SegmentStore(tmp_path / "beside")
    expected = generate(make(), denoiser, CachedVAE(watched.vae), alone).read(0, FRAMES)
    port = CachedVAE(watched, None if cache is None else LatentCache(cache), beside=True)
    found = generate(make(), denoiser, port, beside).read(0, FRAMES)
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


def test_the_pose_is_encoded_while_the_segment_before_is_sampled(watched, denoiser, tmp_path):  # noqa: F811
    during = []

    class Slow(type(denoiser)):
        def denoise(self, conditioning, noise, on_step):
            wanted = conditioning.segment.index + 1
            end = time.monotonic() + 20
            while conditioning.segment.index < 2 and watched.threads.count(AHEAD) < wanted and time.monotonic() < end:
                time.sleep(0.01)
            during.append(watched.threads.count(AHEAD))
            return super().denoise(conditioning, noise, on_step)

    slow = Slow(denoiser.transformer, denoiser.scheduler, denoiser.prompt, steps=2)
    generate(job(), slow, CachedVAE(watched, beside=True), SegmentStore(tmp_path / "job"))
    assert during[:2] == [1, 2]


def test_what_goes_wrong_ahead_is_raised(watched, denoiser, tmp_path):  # noqa: F811
    watched.error = InputError("the card has gone")
    store = SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match="the card has gone"):
        generate(job(), denoiser, CachedVAE(watched, beside=True), store)
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
