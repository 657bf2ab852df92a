"""Latents kept for the next job: how many frames go through the VAE, and the same frames out."""

import numpy as np
import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser, DiffusersVAE, load
from wan_animate.chain.generate import AnimateJob, generate
from wan_animate.chain.latents import LatentMemo, encode_once
from wan_animate.chain.store import SegmentStore
from wan_animate.video.frames import TensorSource

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
    return AnimateJob(**{"reference": reference, "pose": clip(1), "segment_length": LENGTH, "seed": 11, **changes})


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
    vae, segments = Counting(parts[1].vae), 3
    make(parts, vae, make_job(), tmp_path / "first")
    assert len(make_job().plan()) == segments and len(vae.encoded) == 1 + 2 * segments

    vae.encoded.clear()
    again = make(parts, vae, make_job(seed=12), tmp_path / "again")
    assert len(vae.encoded) == segments - 1  # the scenes that start with the new frames
    fresh = make(parts, DiffusersVAE(parts[1].vae), make_job(seed=12), tmp_path / "fresh")
    assert (again == fresh).all() and again.std() > 1

    vae.encoded.clear()
    changed = make_job(**{other: clip(9)})
    result = make(parts, vae, changed, tmp_path / "changed")
    poses_anew = segments if other == "pose" else 0
    scenes_anew = segments - 1 if other == "pose" else segments
    assert len(vae.encoded) == poses_anew + scenes_anew
    assert (result == make(parts, DiffusersVAE(parts[1].vae), changed, tmp_path / "fresh_changed")).all()


def test_memory_is_bounded_and_the_longest_unused_goes():
    latent, made = torch.ones(1, 16, 2, 4, 4), []

    def made_of(number):
        def make():
            made.append(number)
            return latent * number

        return make

    memo = LatentMemo(limit=3 * latent.nbytes)
    for number in (1, 2, 3, 1, 4):  # 2 has not been asked for since
        assert torch.equal(memo.get(str(number), made_of(number)), latent * number)
    assert made == [1, 2, 3, 4] and len(memo) == 3 and memo.bytes == memo.limit
    memo.get("1", made_of(1)).zero_()  # what is handed out is nobody else's
    assert torch.equal(memo.get("1", made_of(1)), latent) and made == [1, 2, 3, 4]
    memo.get("2", made_of(2))
    assert made[-1] == 2 and len(memo) == 3
    memo.get("large", lambda: torch.ones(3 * latent.numel() + 1))
    assert len(memo) == 3


def test_a_failed_encode_is_not_remembered():
    memo = LatentMemo()
    with pytest.raises(RuntimeError):
        memo.get("one", lambda: (_ for _ in ()).throw(RuntimeError("stop")))
    assert len(memo) == 0 and memo.bytes == 0
    assert torch.equal(memo.get("one", lambda: torch.ones(2)), torch.ones(2))


def test_a_vae_without_memo_encodes_every_time():
    class Plain:
        def encode(self, frames, still=0):
            return frames + 1

    assert torch.equal(encode_once(Plain(), "name", lambda: torch.zeros(1)), torch.ones(1))
