"""Latents kept for the next job: how many frames go through the VAE, and the same frames out."""

import numpy as np
import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser, DiffusersVAE, load
from wan_animate.chain.generate import generate
from wan_animate.chain.latents import CachedVAE, LatentCache
from wan_animate.chain.store import SegmentStore
from wan_animate.video.frames import TensorSource

from ..support.chain import make_job

WIDTH, HEIGHT, FRAMES, LENGTH = 32, 32, 13, 5  # three segments


class Counting(DiffusersVAE):
    """The adapter with its calls written down."""

    def __init__(self, vae):
        super().__init__(vae)
        self.encoded = []

    def encode(self, frames, still=0):
        self.encoded.append(frames.clone())
        return super().encode(frames, still)


@pytest.fixture(scope="module")
def parts(small_models):
    return load(small_models.diffusers, dtype=torch.float32)


def clip(seed, frames=FRAMES):
    return TensorSource(torch.rand(frames, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(seed)))


def job(**changes):
    reference = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5))
    return make_job(**{"reference": reference, "pose": clip(1), "segment_length": LENGTH, "seed": 11, **changes})


def replace_job(**changes):
    mask = TensorSource((torch.rand(FRAMES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4)) > 0.5).float())
    return job(**{"mode": "replace", "background": clip(3), "character_mask": mask, **changes})


def make(parts, vae, given, folder):
    prompt = torch.randn(1, 512, 4096, generator=torch.Generator().manual_seed(3)) * 0.1
    denoiser = DiffusersDenoiser(parts[0], parts[2], prompt, steps=1)
    frames = generate(given, denoiser, vae, SegmentStore(folder))
    return np.array(frames.read(0, FRAMES))


@pytest.mark.parametrize("make_job, other", [(job, "pose"), (replace_job, "background")])
def test_no_frames_twice(parts, tmp_path, make_job, other):
    """A job encodes the reference once, and each segment's pose and scene; with another seed what was generated."""
    network = parts[1].vae.vae
    counting, segments = Counting(network), 3
    vae = CachedVAE(counting, LatentCache())
    make(parts, vae, make_job(), tmp_path / "first")
    assert len(make_job().plan()) == segments and len(counting.encoded) == 1 + 2 * segments

    counting.encoded.clear()
    again = make(parts, vae, make_job(seed=12), tmp_path / "again")
    assert len(counting.encoded) == segments - 1  # the scenes that start with the new frames
    fresh = make(parts, DiffusersVAE(network), make_job(seed=12), tmp_path / "fresh")
    assert (again == fresh).all() and again.std() > 1

    counting.encoded.clear()
    changed = make_job(**{other: clip(9)})
    result = make(parts, vae, changed, tmp_path / "changed")
    poses_anew = segments if other == "pose" else 0
    scenes_anew = segments - 1 if other == "pose" else segments
    assert len(counting.encoded) == poses_anew + scenes_anew
    assert (result == make(parts, DiffusersVAE(network), changed, tmp_path / "fresh_changed")).all()


def test_cachery_is_bounded_and_the_longest_unused_goes():
    latent, made = torch.ones(1, 16, 2, 4, 4), []

    def made_of(number):
        def make():
            made.append(number)
            return latent * number

        return make

    cache = LatentCache(limit=3 * latent.nbytes)
    for number in (1, 2, 3, 1, 4):  # 2 has not been asked for since
        assert torch.equal(cache.get(str(number), made_of(number)), latent * number)
    assert made == [1, 2, 3, 4] and len(cache) == 3 and cache.bytes == cache.limit
    cache.get("1", made_of(1)).zero_()  # what is handed out is nobody else's
    assert torch.equal(cache.get("1", made_of(1)), latent) and made == [1, 2, 3, 4]
    cache.get("2", made_of(2))
    assert made[-1] == 2 and len(cache) == 3
    cache.get("large", lambda: torch.ones(3 * latent.numel() + 1))
    assert len(cache) == 3


def test_a_failed_encode_is_not_remembered():
    cache = LatentCache()
    with pytest.raises(RuntimeError):
        cache.get("one", lambda: (_ for _ in ()).throw(RuntimeError("stop")))
    assert len(cache) == 0 and cache.bytes == 0
    assert torch.equal(cache.get("one", lambda: torch.ones(2)), torch.ones(2))


def test_a_vae_without_cache_encodes_every_time():
    class Plain:
        def encode(self, frames, still=0):
            return frames + 1

    read = []
    for vae, times in ((CachedVAE(Plain()), 2), (CachedVAE(Plain(), LatentCache()), 1)):
        read.clear()
        for _ in range(2):
            assert torch.equal(vae.encode_once("key", lambda: read.append(1) or torch.zeros(1)), torch.ones(1))
        assert len(read) == times and ("key" in vae) == (vae.cache is not None)


def test_variants_share_a_cache_but_no_latent():
    cache = LatentCache()
    one, other = CachedVAE(None, cache, "bf16:"), CachedVAE(None, cache, "fp16:")
    cache.get("bf16:key", lambda: torch.ones(1))
    assert "key" in one and "key" not in other and None not in one


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_latents_lie_in_mapped_files(dtype, monkeypatch):
    """Whose pages are no anonymous memory; where no file can be made they are in RAM."""
    latent = torch.rand(1, 16, 20, 34, 60).to(dtype)
    files = []
    memmap = np.memmap
    monkeypatch.setattr(np, "memmap", lambda file, *rest, **more: files.append(file) or memmap(file, *rest, **more))
    cache = LatentCache()
    cache.get("mapped", lambda: latent)
    assert len(files) == 1

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    cache.get("in RAM", lambda: latent)
    assert cache.bytes == 2 * latent.nbytes
    for key in ("mapped", "in RAM"):
        assert torch.equal(cache.get(key, lambda: pytest.fail("made anew")), latent)
