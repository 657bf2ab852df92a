"""A model file that is written over while its weights are in memory."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from wan_animate.chain.generate import generate
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import InputError
from wan_animate.weights import held as module
from wan_animate.weights.held import HeldFiles

from ..chain.test_seams import COUNT, with_options
from ..support.chain import PlainDenoiser, PlainVAE

REMEDY = "load it again"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(4096))
    return path


def overwrite(path, data: bytes, at: int = 2000) -> None:
    with open(path, "r+b") as open_file:
        open_file.seek(at)
        open_file.write(data)


def test_an_overwritten_file_is_told(file):
    held = HeldFiles([file, file.with_name("gone")], REMEDY)
    held.check()
    overwrite(file, b"1")
    with pytest.raises(InputError) as error:
        held.check()
    said = str(error.value)
    assert "model.safetensors was overwritten while its weights were in memory" in said and said.endswith(f"{REMEDY}.")


def test_size_and_time_of_before_do_not_hide_it(file):
    stat, held = file.stat(), HeldFiles([file], REMEDY)
    overwrite(file, b"1")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(InputError, match="overwritten"):
        held.check()


def test_what_leaves_the_content_in_memory_is_no_change(file):
    held = HeldFiles([file], REMEDY)
    os.utime(file)
    held.check()
    os.link(file, file.with_name("another name"))
    held.check()
    overwrite(file, bytes(10))  # the same bytes
    held.check()
    other = file.with_name("new")
    other.write_bytes(b"1" * 4096)
    os.replace(other, file)  # another inode: the former one's pages are still there
    held.check()
    file.unlink()
    held.check()


def test_a_large_file_that_was_written_to_counts_as_changed(file, monkeypatch):
    """Of it samples are read, which may all be equal."""
    monkeypatch.setattr(module, "WHOLE", 1000)
    held = HeldFiles([file], REMEDY)
    overwrite(file, bytes(1))
    os.utime(file)
    with pytest.raises(InputError, match="overwritten"):
        held.check()


class Mapped(PlainDenoiser):
    """Its only weight is read from the mapped file in every step, as a model's that the system pages in."""

    def __init__(self, path, **settings):
        super().__init__(**settings)
        self.weights = np.memmap(path, np.float32, "r")

    def denoise(self, conditioning, noise, on_step):
        latent = super().denoise(conditioning, noise, on_step)
        return latent + torch.tensor(float(self.weights[500]))


def test_no_segment_of_other_weights_joins_the_finished_ones(tmp_path, file):
    """Written over in the third segment: two are kept; with the file as it was, the clip is that of an unbroken run."""
    work = with_options()
    whole = generate(work, Mapped(file), PlainVAE(), SegmentStore(tmp_path / "whole")).read(0, COUNT)
    before = file.read_bytes()

    def during(index, step):
        if (index, step) == (2, 1):
            overwrite(file, np.float32(0.5).tobytes())

    store, held = SegmentStore(tmp_path / "job"), HeldFiles([file], REMEDY)
    with pytest.raises(InputError, match=r"model\.safetensors was overwritten"):
        generate(work, Mapped(file, during=during), PlainVAE(), store, check_model=held.check)
    assert store.finished(work.plan()) == 2 and not list(store.folder.glob(".*.part*"))

    # without the check both would be in one clip, in silence
    overwrite(file, before[2000:2004])
    mixed = generate(work, Mapped(file, during=during), PlainVAE(), SegmentStore(tmp_path / "mixed")).read(0, COUNT)
    assert (mixed != whole).any()

    overwrite(file, before[2000:2004])
    again = HeldFiles([file], REMEDY)
    frames = generate(work, Mapped(file), PlainVAE(), store, check_model=again.check).read(0, COUNT)
    assert np.array_equal(frames, whole)
