"""Batches of prompts and features, and values that are not finite."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from .test_checks import animate, checks, denoiser, features, ports, prompt, sentence  # noqa: F401  (fixtures)

BAD = [float("nan"), float("inf")]


def spoilt(values: torch.Tensor, bad: float) -> torch.Tensor:
    values = values.clone()
    values.view(-1)[-1] = bad
    return values


def test_two_prompts_in_one(denoiser):  # noqa: F811
    two = [[torch.zeros(2, 8, 4096), {}]]
    for name, given in (("positive", {"positive": two}), ("negative", {"negative": two, "cfg": 2.0})):
        with pytest.raises(ValueError) as error:
            denoiser(**given)
        assert sentence(error).startswith(f"the {name} input holds 2 prompts in one (an embedding of shape [2, 8, 4096")
    assert denoiser(negative=two) is not None, "at cfg 1 nobody reads it"


def test_the_host_takes_the_first_of_a_batch(comfy):
    import comfy.conds

    two = torch.arange(16.0).view(2, 2, 4)
    assert torch.equal(comfy.conds.CONDRegular(two).process_cond(batch_size=1).cond, two[:1])


def test_features_of_several_pictures_are_those_of_the_first(denoiser, caplog):  # noqa: F811
    two = features()
    two.penultimate_hidden_states = spoilt(torch.zeros(2, 257, 1280), BAD[0])
    with caplog.at_level(logging.INFO):
        assert denoiser(image=two) is not None, "what is not read may be anything"
    assert "clip_vision_output holds the features of 2 pictures: the first is used." in caplog.text


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_none(denoiser, bad, dtype):  # noqa: F811
    wrong, image = [[spoilt(torch.zeros(1, 8, 4096, dtype=dtype), bad), {}]], features()
    image.penultimate_hidden_states = spoilt(image.penultimate_hidden_states.to(dtype), bad)
    for name, given in (
        ("the positive input", {"positive": wrong}),
        ("the negative input", {"negative": wrong, "cfg": 2.0}),
        ("clip_vision_output", {"image": image}),
    ):
        with pytest.raises(ValueError) as error:
            denoiser(**given)
        assert sentence(error).startswith(f"{name} holds 1 numbers of ")


@pytest.mark.parametrize("name, shape, says", [
    ("reference_image", (1, 48, 64, 3), "the reference image holds 1 numbers of 9,216"),
    ("pose", (5, 48, 64, 3), "the pose input holds values that are NaN"),
    ("face", (5, 512, 512, 3), "the face input holds values that are NaN"),
])  # fmt: skip
def test_the_node_says_it_before_any_work(animate, monkeypatch, name, shape, says):  # noqa: F811
    import comfy.sample
    import comfy.sd

    for owner, work in ((comfy.sample, "sample"), (comfy.sd.VAE, "encode")):
        monkeypatch.setattr(owner, work, lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ValueError) as error:
        animate(**{name: spoilt(torch.rand(shape), BAD[0])})
    assert says in sentence(error)


@pytest.mark.parametrize("what", ["cancelled", "failed"])
def test_a_job_without_a_finished_segment_leaves_no_folder(animate, monkeypatch, what):  # noqa: F811
    import comfy.model_management
    import comfy.sample
    import folder_paths

    error = comfy.model_management.InterruptProcessingException() if what == "cancelled" else RuntimeError("no memory")
    output = Path(folder_paths.get_output_directory())
    before, seen = set(output.rglob("*")), []

    def sample(*_, **__):
        seen.extend(set(output.rglob("*")) - before)
        raise error

    monkeypatch.setattr(comfy.sample, "sample", sample)
    with pytest.raises(type(error)):
        animate()
    assert any(path.parent.name == "jobs" for path in seen), "the job's folder was there"
    assert set(output.rglob("*")) <= before
