"""A text encoder, a tokenizer or an image encoder that is replaced under its name between two clips of one process, and
a model that is written over while a clip is made; on small weights of the libraries' own classes."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser
from wan_animate.cli.make import run
from wan_animate.cli.options import AS_RUN
from wan_animate.cli.recording import weights_key
from wan_animate.cli.run import parsed
from wan_animate.cli.shared import KeptWeights, Shared
from wan_animate.errors import InputError
from wan_animate.record.clip_record import read_record

from .test_options import inputs  # noqa: F401  (a fixture)

PROMPT = "a robot"


def write_text_encoder(folder, seed: int) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(vocab_size=8, d_model=4096, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    torch.manual_seed(seed)
    encoder = UMT5EncoderModel(config)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(torch.randn(weight.shape))
    encoder.save_pretrained(folder / "text_encoder")


def write_tokenizer(folder, words: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(["<pad>", "<unk>", *words])}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", model_max_length=512)
    fast.save_pretrained(folder / "tokenizer")


def write_image_encoder(folder) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=1280, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1, image_size=28, patch_size=14
    )
    torch.manual_seed(4)
    CLIPVisionModel(config).save_pretrained(folder / "image_encoder")
    side = {"height": 28, "width": 28}
    CLIPImageProcessor(crop_size=side, size={"shortest_edge": 28}).save_pretrained(folder / "image_processor")


@pytest.fixture
def models(small_models, tmp_path):
    """A whole folder of one's own in diffusers' layout."""
    pytest.importorskip("diffusers", reason="the embedded backend needs diffusers: run make setup")
    folder = tmp_path / "models"
    shutil.copytree(small_models.diffusers, folder)
    write_text_encoder(folder, 1)
    write_tokenizer(folder, ["a", "robot"])
    write_image_encoder(folder)
    return folder


@pytest.fixture
def options(inputs, models, tmp_path):  # noqa: F811
    """``options(name)`` of a clip of two segments, its prompt encoded."""
    given = {**inputs, "models": models, "limit": 8, "steps": 1, "area": 128 * 80, "previous-frames": 1}
    del given["prompt-file"]

    def of(name: str, *more: str):
        command = [*(f"--{option}={value}" for option, value in given.items()), *more]
        return parsed([*command, f"--out={tmp_path / name}", "--no-retarget", f"--prompt={PROMPT}", "--keep-segments"])

    return of


def frames(options, shared=None) -> str:
    """The hash of the lossless frames."""
    return read_record(run(options, shared=shared or Shared())).frames


def put(path, data: bytes) -> None:
    """Another file of this name, as a download is put in place."""
    new = path.with_name("new")
    new.write_bytes(data)
    os.replace(new, path)


def test_another_encoder_of_the_same_name_encodes_anew(options, models, tmp_path, offline):
    """A worker of a batch keeps what it encoded from clip to clip. And all that the shell loads asks nobody for it."""
    shared, one = Shared(weights=KeptWeights()), "--limit=5"
    first = frames(options("a.mp4", one), shared)
    file = models / "text_encoder" / "model.safetensors"
    write_text_encoder(tmp_path / "other", 2)
    put(file, (tmp_path / "other" / "text_encoder" / "model.safetensors").read_bytes())
    second = frames(options("a.mp4", one), shared)
    assert second != first, "the finished segment of the first is kept, and is not that of this job"
    assert second == frames(options("b.mp4", one)), "as a process makes it that has encoded nothing before"


def test_the_key_sees_every_file_that_is_read(options, models):
    job = options("a.mp4")
    saved = replace(job, prompt_file="saved.safetensors")
    both = replace(saved, prompt_for=["0 3 another"])
    files = [path for path in sorted(models.rglob("*")) if path.is_file()]
    assert {path.parent.name for path in files} >= {"text_encoder", "tokenizer", "image_encoder", "image_processor"}
    for path in files:
        before = [weights_key(one) for one in (job, saved, both)]
        put(path, path.read_bytes() + b" ")
        after = [weights_key(one) for one in (job, saved, both)]
        assert before[0] != after[0] and before[2] != after[2], path
        assert (before[1] == after[1]) == (path.parent.name in ("text_encoder", "tokenizer")), path
    encoded = replace(AS_RUN, cfg=2.0)
    assert weights_key(saved, encoded) != weights_key(saved, AS_RUN), "of the negative prompt"


def test_a_model_that_is_written_over_while_the_clip_is_made(options, models, monkeypatch):
    """In the second segment: the first is kept, the second is not joined to it, and one sentence says why."""
    unbroken = frames(options("whole.mp4"))
    (file,) = (models / "transformer").glob("*.safetensors")
    before, denoise = file.read_bytes(), DiffusersDenoiser.denoise
    begun = []

    def written_over(self, conditioning, noise, on_step):
        begun.append(conditioning.segment.index)
        if begun == [0, 1]:
            with open(file, "r+b") as weights:
                weights.seek(-4, os.SEEK_END)
                weights.write(b"\0\0\x80\x3f")
        return denoise(self, conditioning, noise, on_step)

    monkeypatch.setattr(DiffusersDenoiser, "denoise", written_over)
    with pytest.raises(InputError) as error:
        run(options("a.mp4"))
    said = str(error.value)
    assert f"{file.name} was overwritten while its weights were in memory" in said and "\n" not in said
    (job,) = file.parents[2].glob(".a-*")
    assert [path.name for path in sorted(job.glob("segment_*.mkv"))] == ["segment_0000.mkv"]
    assert not (file.parents[2] / "a.mp4").exists()
    with open(file, "r+b") as weights:  # as it was
        weights.write(before)
    assert frames(options("a.mp4")) == unbroken and begun == [0, 1, 1], "it goes on from the first segment"
    assert json.loads((job / "segments.json").read_text())["made"]
