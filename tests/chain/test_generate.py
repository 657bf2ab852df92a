"""The chain on real (small) networks through the diffusers adapter: overlap, resume, Cancel, bad input."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from wan_animate.backends.diffusers import DiffusersDenoiser, load
from wan_animate.chain.generate import generate
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.noise import unit_noise
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.seams import join
from wan_animate.chain.segments import plan_segments
from wan_animate.chain.store import SegmentStore
from wan_animate.errors import Cancelled, InputError
from wan_animate.video.frames import TensorSource, as_uint8, read_float

from ..support.chain import make_job

WIDTH, HEIGHT, FRAMES, LENGTH = 64, 48, 23, 9


@pytest.fixture(scope="module")
def parts(small_models):
    transformer, vae, scheduler = load(small_models.diffusers, dtype=torch.float32)
    return transformer, vae, scheduler


@pytest.fixture
def denoiser(parts):
    prompt = torch.randn(1, 512, 4096, generator=torch.Generator().manual_seed(3)) * 0.1
    return DiffusersDenoiser(parts[0], parts[2], prompt, steps=2)


def clip(seed, channels=3, size=(HEIGHT, WIDTH), frames=FRAMES):
    """Smooth noise, so that the VAE has something that it can keep."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(frames, channels, size[0] // 8, size[1] // 8, generator=generator)
    big = torch.nn.functional.interpolate(small, size=size, mode="bilinear")
    return TensorSource(big.movedim(1, -1) if channels == 3 else (big[:, 0] > 0.5).float(), 24)


def job(**changes) -> AnimateJob:
    settings = dict(
        reference=torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5)),
        pose=clip(1), face=clip(2, size=(16, 16)), segment_length=LENGTH, seed=11,
    )  # fmt: skip
    return make_job(**{**settings, **changes})


def replace_job(**changes) -> AnimateJob:
    return job(**{"mode": "replace", "background": clip(3), "character_mask": clip(4, channels=1), **changes})


@pytest.mark.parametrize("make, previous_frames", [(job, 1), (replace_job, 5)])
def test_chain(parts, denoiser, tmp_path, make, previous_frames):
    """Exact count and rate; each later segment starts from the last frames of the one before, as decoded."""
    given = []

    class Watched(DiffusersDenoiser):
        def denoise(self, conditioning, noise, on_step):
            given.append((conditioning, noise))
            return super().denoise(conditioning, noise, on_step)

    watched = Watched(denoiser.transformer, denoiser.scheduler, denoiser.prompt, steps=2)
    work = make(previous_frames=previous_frames)
    store = SegmentStore(tmp_path / "job")
    steps = []
    result = generate(work, watched, parts[1], store, lambda p: steps.append((p.stage, p.done, p.total)))
    plan = plan_segments(FRAMES, LENGTH, previous_frames)
    assert (len(result), result.fps, result.width, result.height) == (FRAMES, Fraction(24), WIDTH, HEIGHT)
    assert len(given) == len(plan) >= 3
    frames = read_float(result, 0, FRAMES)
    assert frames.std() > 0.01
    for segment, (conditioning, noise) in zip(plan, given):
        assert torch.equal(noise, unit_noise(11 + segment.index, noise.shape))
        if segment.index:
            tail = store.tail(segment.index - 1)
            kept = frames[segment.start : segment.start + previous_frames]
            assert (tail - kept).abs().max() <= 0.5 / 255 + 1e-6, "the tail is what the clip shows, before rounding"
            pixels = torch.full((LENGTH, HEIGHT, WIDTH, 3), 0.5)
            if work.mode == "replace":
                for i in range(segment.start, segment.stop):
                    at = i if i < FRAMES else 2 * (FRAMES - 1) - i
                    pixels[i - segment.start] = torch.from_numpy(work.controls.background.read(at, at + 1)[0])
            pixels[:previous_frames] = tail
            assert torch.equal(conditioning.concat_latent[:, :, 1:], parts[1].encode(pixels))
    assert [step for step in steps if step[0] != "write"][-1] == ("save", 2 * len(plan), 2 * len(plan))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_noise_is_what_comfyui_draws():
    torch.manual_seed(99)
    wanted = torch.randn(1, 16, 3, 6, 8, dtype=torch.float32, device="cpu")
    assert torch.equal(unit_noise(99, (1, 16, 3, 6, 8)), wanted)


def test_stopped_job_goes_on_where_it_was(parts, denoiser, tmp_path):
    whole = generate(job(), denoiser, parts[1], SegmentStore(tmp_path / "whole")).read(0, FRAMES)

    def stop_in_second(progress):
        if progress.segment == 1 and progress.stage == "denoise":
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(job(), denoiser, parts[1], SegmentStore(tmp_path / "job"), stop_in_second)
    names = sorted(path.name for path in (tmp_path / "job").iterdir())
    assert names == ["segment_0000.json", "segment_0000.mkv", "tail_0000.safetensors"], (
        "finished segments only, nothing half-written"
    )
    # What a killed process leaves: temporary names, and a tail without its frames.
    (tmp_path / "job" / ".segment_0001.0123abcd.part.mkv").write_bytes(b"half")
    (tmp_path / "job" / ".tail_0001.0123abcd.part.safetensors").write_bytes(b"half")
    (tmp_path / "job" / "tail_0001.safetensors").write_bytes(b"no frames beside it")
    segments = []
    resumed = generate(
        job(), denoiser, parts[1], SegmentStore(tmp_path / "job"), lambda p: segments.append((p.stage, p.segment))
    ).read(0, FRAMES)
    assert min(number for stage, number in segments if stage != "verify") == 1, (
        "the finished segment must not be made again"
    )
    assert np.array_equal(resumed, whole)
    assert not list((tmp_path / "job").glob(".*"))


def test_another_job_has_another_key():
    keys = {
        job().key(),
        job(seed=12).key(),
        job(previous_frames=5).key(),
        job(pose=clip(9)).key(),
        job().key("other model"),
        replace_job().key(),
    }
    assert len(keys) == 6
    assert job().key() == job().key()


def bad_jobs():
    short, small = dict(frames=FRAMES - 2), dict(size=(HEIGHT, WIDTH - 16))
    yield dict(segment_length=10), ["segment length is 10", "9 or 13"]
    yield dict(previous_frames=9), ["previous frames (9)", "segment length (9)"]
    yield dict(previous_frames=2), ["previous frames is 2"]
    yield dict(pose=clip(1, size=(40, 64))), ["64x40", "divisible by 16", "64x32"]
    yield dict(face=clip(2, **short)), ["face video has 21 frames", "pose video has 23"]
    yield dict(mode="replace", character_mask=clip(4, channels=1)), ["needs a background", "set mode to animate"]
    yield dict(mode="replace", background=clip(3)), ["needs a character mask"]
    both = dict(mode="replace", background=clip(3), character_mask=clip(4, channels=1))
    yield {**both, "background": clip(3, **short)}, ["background video has 21"]
    yield {**both, "background": clip(3, **small)}, ["background video is 48x48", "pose video is 64x48"]
    yield {**both, "character_mask": clip(4, channels=1, **small)}, ["character mask video is 48x48"]
    yield {**both, "character_mask": clip(4, channels=1, **short)}, ["character mask video has 21"]
    yield {**both, "character_mask": clip(4)}, ["character mask input holds images", "Frames to Mask"]
    yield {**both, "mode": "animate"}, ["mode is animate", "set mode to replace"]
    yield dict(mode="dance"), ["'dance'", "animate or replace"]


@pytest.mark.parametrize(
    "changes, says", list(bad_jobs()), ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else ""
)
def test_bad_input_is_refused_before_any_work(tmp_path, changes, says):
    with pytest.raises(InputError) as error:
        generate(job(**changes), None, None, SegmentStore(tmp_path / "job"))
    message = str(error.value)
    assert all(part in message for part in says), message
    assert "\n" not in message and message.endswith(".")


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        SegmentStore(tmp_path / "file" / "job")


@pytest.mark.parametrize(
    "count, mode, color, crossfade",
    [
        (12, "animate", "anchor", 0),
        (12, "replace", "anchor", 0),
        (10, "animate", "off", 0),
        (10, "animate", "off", 1),
        (11, "animate", "off", 1),
    ],
)
def test_frames_that_nobody_sees_are_not_decoded(parts, denoiser, tmp_path, count, mode, color, crossfade):
    """Those past the clip's end, where the shot is played back. In time the VAE is causal: the others are the same."""
    decoded, latents = [], []

    class Counting(type(parts[1])):
        def decode(self, latent):
            decoded.append(latent.shape[2])
            return super().decode(latent)

    class Watched(DiffusersDenoiser):
        def denoise(self, conditioning, noise, on_step):
            latents.append(super().denoise(conditioning, noise, on_step))
            return latents[-1]

    make = replace_job if mode == "replace" else job
    cut = {"pose": clip(1, frames=count), "face": clip(2, size=(16, 16), frames=count)}
    if mode == "replace":
        cut |= {"background": clip(3, frames=count), "character_mask": clip(4, channels=1, frames=count)}
    work = make(previous_frames=1, color=color, options=ClipOptions(crossfade=crossfade), **cut)
    first, last = work.plan()
    assert last.needed == count - last.start < last.length
    store = SegmentStore(tmp_path / "job")
    watched = Watched(denoiser.transformer, denoiser.scheduler, denoiser.prompt, steps=2)
    frames = generate(work, watched, Counting(parts[1].vae), store).read(0, count)
    assert decoded == [first.latent_frames, (last.needed + 2) // 4 + 1]
    if color == "off":  # what the colours are measured in is what is decoded
        whole = parts[1].decode(latents[-1][:, :, 1:])
        assert len(whole) == last.length
        if crossfade:
            join(last, whole, store.tail(0))
        assert np.array_equal(frames[last.first :], as_uint8(whole[last.first - last.start :][: last.keep].numpy()))
