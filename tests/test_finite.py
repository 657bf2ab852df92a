"""NaN and infinity are refused at their first occurrence."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wan_animate.backends.diffusers import check_embedding
from wan_animate.chain.generate import generate
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.finite import check_finite, is_finite
from wan_animate.video.derived import RepeatedSource, ResizedSource
from wan_animate.video.frames import TensorSource
from wan_animate.weights.prompt_file import load_prompt, save_prompt

from .chain.test_background import HEIGHT, WIDTH, job
from .support.chain import PlainDenoiser, PlainVAE

BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_one_number_among_many(dtype):
    values = torch.full((3, 5, 7), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(values), "that they add up to infinity says nothing"
    for bad in BAD:
        values[1, 2, 3] = bad
        assert not is_finite(values)
    values[0, 0, 0] = float("inf")
    values[1, 2, 3] = -float("inf")
    with pytest.raises(InputError, match="the thing holds 2 numbers of 105 that are NaN or infinite.*: do this"):
        check_finite(values, "the thing", "do this")
    assert is_finite(torch.zeros(3, dtype=torch.uint8))


def frames(bad: float, shape=(9, HEIGHT, WIDTH, 3)) -> TensorSource:
    values = torch.rand(shape)
    values[5, 7, 9] = bad
    return TensorSource(values)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["reference", "pose", "face", "background", "character_mask"])
def test_what_is_given(tmp_path, name, bad):
    shapes = {"face": (9, 16, 16, 3), "character_mask": (9, HEIGHT, WIDTH)}
    given = frames(bad, shapes.get(name, (9, HEIGHT, WIDTH, 3)))
    given = torch.from_numpy(given.read(5, 6)[0]) if name == "reference" else given
    work = job(9, "replace", **{name: given})
    says = "the reference image holds" if name == "reference" else f"the {name.replace('_', ' ')} input holds values"
    with pytest.raises(InputError, match=says), SegmentStore(tmp_path / "job") as store:
        generate(work, None, None, store)
    assert not list(tmp_path.iterdir())


def test_what_is_made_of_a_clip_knows_it():
    bad, good = frames(BAD[0]), TensorSource(torch.rand(9, HEIGHT, WIDTH, 3))
    for source, known in ((bad, False), (good, True)):
        assert source.is_finite() is known
        assert ResizedSource(source, 32, 32).is_finite() is known
    assert RepeatedSource(TensorSource(good.read(0, 1)), 9).is_finite() is True
    assert TensorSource(np.zeros((2, 4, 4, 3), np.uint8)[:, ::-1]).is_finite() is True


class Breaks(PlainVAE):
    """Overflows in the n-th call."""

    def __init__(self, kind: str, at: int):
        self.kind, self.at = kind, at

    def _spoil(self, kind: str, values: torch.Tensor) -> torch.Tensor:
        if kind == self.kind:
            self.at -= 1
            if self.at < 0:
                values = values.clone()
                values[..., -1, -1, -1] = float("nan")
        return values

    def encode(self, frames, still=0):
        return self._spoil("encode", super().encode(frames, still))

    def decode(self, latent):
        return self._spoil("decode", super().decode(latent))


@pytest.mark.parametrize("at, says", [(0, "of the reference image"), (1, "of segment 1"), (3, "of segment 2")])
def test_a_vae_that_encodes_to_nan_is_said_before_the_segment_is_sampled(tmp_path, at, says):
    denoiser, store = PlainDenoiser(), SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match=f"what the VAE made .*{says} holds .*load the VAE's file anew"):
        generate(job(17), denoiser, Breaks("encode", at), store)
    assert len(denoiser.told) == max(at - 2, 0) and store.finished() == len(denoiser.told)


def test_a_vae_that_decodes_to_nan_keeps_the_finished_segments(tmp_path):
    store = SegmentStore(tmp_path / "job")
    with pytest.raises(InputError, match="what the VAE decoded of segment 2 holds 9 numbers of"):
        generate(job(17), PlainDenoiser(), Breaks("decode", 1), store, video=store.folder / "clip.mp4")
    assert sorted(os.listdir(store.folder)) == ["segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"]
    assert len(generate(job(17), PlainDenoiser(), PlainVAE(), store)) == 17


def test_a_sampler_that_makes_nan_is_not_taken_for_the_vae(tmp_path):
    class Overflows(PlainDenoiser):
        def denoise(self, conditioning, noise, on_step):
            return super().denoise(conditioning, noise, on_step) * float("nan")

    with pytest.raises(InputError, match="what the sampler made of segment 1 .*compute the model in bfloat16"):
        generate(job(9), Overflows(), PlainVAE(), SegmentStore(tmp_path / "job"))


@pytest.mark.parametrize("bad", BAD)
def test_prompts(tmp_path, bad):
    embedding = torch.zeros(1, 3, 8)
    embedding[0, 1, 2] = bad
    with pytest.raises(InputError, match="the encoded prompt holds 1 numbers of 24"):
        save_prompt(tmp_path / "p.safetensors", [[embedding, {}]], "text", "encoder")
    assert not list(tmp_path.iterdir())
    save_file({"cond": embedding}, tmp_path / "p.safetensors")
    with pytest.raises(InputError, match="the saved prompt .*p.safetensors holds 1 numbers of 24"):
        load_prompt(tmp_path / "p.safetensors")
    with pytest.raises(InputError, match="the prompt holds 1 numbers of 24 .*: encode it"):
        check_embedding(embedding, 8, "the prompt", "encode it")


def test_two_prompts_in_one_for_the_embedded_backend():
    with pytest.raises(InputError, match=r"the prompt is of shape \[2, 3, 8\] where \[1, tokens, 8\] is needed"):
        check_embedding(torch.zeros(2, 3, 8), 8, "the prompt", "encode it")
