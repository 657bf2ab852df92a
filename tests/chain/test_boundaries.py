"""Boundaries that show are found, whoever resumes the job."""

import numpy as np
import pytest
import torch

from wan_animate.chain.options import ClipOptions
from wan_animate.errors import Cancelled

from ..support.chain import PlainVAE
from .test_background import HEIGHT, LENGTH, WIDTH, Watched, job
from .test_seams import COUNT, PREVIOUS, made, with_options


class Jumping(PlainVAE):
    """Moves on evenly, and has an error of a known size in one segment's new frames."""

    def __init__(self, jump, segment=2):
        self.jump, self.segment, self.count = jump, segment, 0

    def decode(self, latent):
        start = self.count * (LENGTH - PREVIOUS)
        level = torch.arange(start, start + LENGTH).view(-1, 1, 1, 1) * (1 / 255)
        picture = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1)) * 0.3
        self.count += 1
        return picture + level + (self.jump / 255 if self.count - 1 >= self.segment else 0)


def test_a_boundary_that_shows_is_found_and_told(tmp_path, caplog):
    quiet = Watched(COUNT, size=(WIDTH, HEIGHT))
    quiet.frames = np.zeros_like(quiet.frames)
    still = dict(pose=quiet, face=None, previous_frames=PREVIOUS, color="off")
    _, store = made(job(COUNT, **still), tmp_path / "job", vae=Jumping(6))
    found = store.boundaries()
    segments = len(job(COUNT, **still).plan())
    assert [boundary.segment for boundary in found] == list(range(1, segments))
    assert [boundary.shows for boundary in found] == [boundary.segment == 2 for boundary in found]
    (shown,) = [boundary for boundary in found if boundary.shows]
    assert (
        shown.frame == 13 and shown.difference == pytest.approx(7, abs=0.1) and shown.usual == pytest.approx(1, abs=0.1)
    )
    assert "segment 3 begins at frame 13" in caplog.text and "seed of its own" in caplog.text
    # The driver itself jumps there: nothing to tell.
    quiet.frames[:, :, :, 0] = np.arange(COUNT)[:, None, None]
    quiet.frames[13:] += 200
    caplog.clear()
    _, store = made(
        job(COUNT, pose=quiet, face=None, previous_frames=PREVIOUS, seed=8), tmp_path / "cut", vae=Jumping(6)
    )
    assert not any(boundary.shows for boundary in store.boundaries()) and "show" not in caplog.text
    # A cross-fade spreads the jump.
    quiet.frames[:] = 0
    faded = job(COUNT, options=ClipOptions(crossfade=3), **still)
    _, store = made(faded, tmp_path / "faded", vae=Jumping(6))
    (soft,) = [boundary for boundary in store.boundaries() if boundary.segment == 2]
    assert soft.difference == pytest.approx(1 + 6 * 0.3018, abs=0.1)


def test_boundaries_of_a_resumed_job_are_the_same(tmp_path):
    _, whole = made(with_options(), tmp_path / "whole")

    def stop(now):
        if now.segment == 3 and now.stage == "encode":
            raise Cancelled

    with pytest.raises(Cancelled):
        made(with_options(), tmp_path / "job", progress=stop)
    _, store = made(with_options(), tmp_path / "job")
    assert whole.boundaries() and whole.boundaries() == store.boundaries()
