"""What a plan reckons, against what benchmarks measured and what segments and files really are."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.figure import draw_figure, figure_keypoints
from wan_animate.chain.job import AnimateJob
from wan_animate.chain.options import ClipOptions
from wan_animate.chain.segment_files import bytes_a_pixel, write_lossless
from wan_animate.errors import InputError
from wan_animate.plan import costs
from wan_animate.plan.cards import CARDS, MEASURED, Device, device_here, known_card
from wan_animate.plan.clip_plan import plan_clip
from wan_animate.plan.sample import lossless_size
from wan_animate.preview.plan_picture import draw_plan
from wan_animate.text import duration
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainVAE, make_job

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
H100 = Device("NVIDIA H100 80GB HBM3", 85_000_000_000)


def result(claim: str) -> dict:
    return json.loads((RESULTS / f"{claim}.json").read_text())


@pytest.mark.parametrize(
    "claim, size, segments",
    [("clip_480p_4", (832, 464), 2), ("clip_480p_4_five", (832, 464), 5), ("clip_720p_4", (1280, 720), 2)],
)
def test_whole_jobs_on_the_measured_card(claim, size, segments):
    frames = 77 + 76 * (segments - 1)
    plan = plan_clip(size, frames, Fraction(30), 1.0, H100, steps=4)
    assert plan.times.total == pytest.approx(result(claim)["ours"], rel=0.2)
    assert "estimated" in plan.times.basis


@pytest.mark.parametrize("size, claim", [((832, 480), "480p"), ((1280, 720), "720p")])
def test_a_step_and_memory_at_both_sizes(size, claim):
    plan = plan_clip(size, 77, Fraction(30), 1.0, H100)
    kernels = result(f"step_{claim}_bf16_fa4")
    # flash-attn 4, which a server without it does not have: step_480p_default
    slower = result("step_480p_default")["ours"] / result("step_480p_bf16_fa4")["ours"]
    assert plan.times.step == pytest.approx(kernels["ours"] * slower, rel=0.05)
    assert plan.memory.resident / 1e9 == pytest.approx(kernels["peak_gb"]["ours"], rel=0.03)
    offloaded = result(f"offload_{claim}_bf16")["peak_gb"]["ours"]
    assert plan.memory.offloaded / 1e9 == pytest.approx(offloaded, rel=0.05)
    ram = result("clip_480p_4_five" if claim == "480p" else "clip_720p_4")["ram_peak_gb"]["ours"]
    assert plan.memory.ram / 1e9 == pytest.approx(ram, rel=0.1)


def test_tokens_are_the_transformers(small_models):
    """Patches of 1x2x2 of the latent that the engine gives it, reference included."""
    clip = TensorSource(torch.zeros(20, 64, 96, 3), 30)
    job = make_job(torch.zeros(64, 96, 3), pose=clip, segment_length=9)
    (first, *_) = job.plan()
    latent = PlainVAE().encode(torch.zeros(9, 64, 96, 3))
    plan = plan_clip((96, 64), 20, Fraction(30), 1.0, H100, segment_length=9)
    assert first.latent_frames == latent.shape[2]
    assert plan.tokens == (latent.shape[2] + 1) * latent.shape[3] * latent.shape[4] // 4
    assert costs.tokens((832, 480), 20) == 32_760
    job.more_references = (job.reference,) * 2
    three = plan_clip((96, 64), 20, Fraction(30), 1.0, H100, segment_length=9, references=3)
    latent = PlainVAE().encode(job.reference_pixels()).shape[2] + latent.shape[2]
    assert three.tokens == latent * 12 * 8 // 4 and three.memory.resident > plan.memory.resident
    with pytest.raises(InputError, match="is 6 pictures"):
        plan_clip((96, 64), 20, Fraction(30), 1.0, H100, references=6)


@pytest.mark.parametrize("frames, length, previous", [(20, 9, 1), (23, 9, 5), (9, 9, 1), (3, 9, 5), (77, 13, 1)])
def test_segments_overlaps_and_padding(frames, length, previous):
    job = AnimateJob(torch.zeros(16, 16, 3), make_controls(frames), "animate", length, previous)
    plan = plan_clip((16, 16), frames, Fraction(30), 1.0, H100, segment_length=length, previous_frames=previous)
    assert plan.segments == job.plan()
    sampled = sum(segment.length for segment in job.plan())
    assert sampled == frames + plan.padding + plan.made_twice


@pytest.mark.parametrize(
    "frames, previous, options",
    [
        (100, 1, dict(cuts=(20, 50))),
        (100, 5, dict(cuts=(20, 50), crossfade=-1)),
        (200, 5, dict(crossfade=5, first_segment=1)),
        (200, 5, dict(crossfade=3, last_segment=1)),
        (200, 5, dict(continue_from=TensorSource(torch.zeros(9, 16, 16, 3)), first_segment=1)),
    ],
)
def test_the_plan_is_the_jobs(frames, previous, options):
    given = ClipOptions(**options)
    job = AnimateJob(torch.zeros(16, 16, 3), make_controls(frames), "animate", 77, previous, options=given)
    plan = plan_clip((16, 16), frames, Fraction(30), 1.0, H100, previous_frames=previous, options=given)
    made = list(job.wanted())
    assert list(plan.segments) == made and plan.count == len(job.plan())
    ends = [frames if one.shot is None else one.shot[1] for one in made]
    played_back = [max(one.driving_frames(frames).count(at) - 1, 0) for one in made for at in range(frames)]
    assert plan.padding == sum(played_back) == sum(max(one.stop - end, 0) for one, end in zip(made, ends))
    pixels = 16 * 16
    assert plan.disk.segments == pixels * job.wanted().keep
    assert plan.disk.tails == pixels * 12 * previous * sum(one.hands_over for one in made)
    assert draw_plan(plan).std() > 20


def test_shots_that_are_begun_anew():
    """100 frames with cuts at 20 and 50: a segment for each shot, each filled to 77 frames."""
    plan = plan_clip((832, 480), 100, Fraction(30), 1.0, H100, options=ClipOptions(cuts=(20, 50), cut_frames=100))
    text = plan.text()
    assert "| Segments | 3 of 77 frames |" in text and "| Padding | 131 frames at the end of shots" in text
    assert "| Shots | 3 (cuts at 20, 50), each begun anew |" in text
    with pytest.raises(InputError, match="shots are of a video of 100 frames and the driving video has 99"):
        plan_clip((832, 480), 99, Fraction(30), 1.0, H100, options=ClipOptions(cuts=(20, 50), cut_frames=100))


def test_a_part_and_a_clip_that_goes_on():
    def text(**options):
        return plan_clip((832, 480), 229, Fraction(30), 1.0, H100, options=ClipOptions(**options)).text()

    assert "| Segments | 3 of 77 frames, 1 of them taken over (2 in all) |" in text()
    assert "7.6 s |" in text() and "7.6 s; frames 77 to 228 are made |" in text(first_segment=1)
    assert "| Segments | 2 to 3 of 3: 2 of 77 frames, 1 of them taken over (2 in all) |" in text(first_segment=1)
    assert "| Segments | 1 of 3: 1 of 77 frames |" in text(last_segment=0)
    clip = TensorSource(torch.zeros(5, 480, 832, 3))
    assert "frames 1 to 228 are made" in text(continue_from=clip)


def test_a_last_segment_with_few_new_frames_where_it_is_faded():
    plan = plan_clip((832, 480), 79, Fraction(30), 1.0, H100, previous_frames=5, options=ClipOptions(crossfade=5))
    (finding,) = [one for one in plan.findings if one.kind == "last_segment"]
    assert "makes 2 new frames and 75 that are not kept" in finding.what and "limit of 77 frames" in finding.remedy


def make_controls(frames: int):
    return make_job(torch.zeros(16, 16, 3), pose=TensorSource(torch.zeros(frames, 16, 16, 3))).controls


def test_other_cards_by_their_rates():
    def plan(name, **more):
        return plan_clip((832, 480), 153, Fraction(30), 1.0, Device(name, 10**12), **more)

    h100, rtx = plan(H100.name), plan("NVIDIA GeForce RTX 4090")
    assert rtx.times.step == pytest.approx(h100.times.step * MEASURED.tflops / 165.2)
    assert "H100 by the published rates" in rtx.times.basis and "estimated" in rtx.times.basis
    assert plan(H100.name, cfg=3.5).times.segment > 1.9 * h100.times.segment
    assert plan(H100.name, mode="replace").times.segment > h100.times.segment
    unknown = plan("Some Card 9000")
    assert unknown.times is None and "not known for Some Card 9000" in unknown.text()


def test_names_of_cards():
    for name, card in (
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4070 Ti", "RTX 4070 Ti"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA L4", "L4"),
        ("Tesla V100-SXM2-16GB", "V100"),
    ):
        assert known_card(name).name == card, name
    for name in ("NVIDIA GeForce RTX 4090 Laptop GPU", "CPU", "", "NVIDIA GeForce GTX 1080"):
        assert known_card(name) is None, name
    assert len({card.name for card in CARDS}) == len(CARDS)
    assert all(known_card(f"NVIDIA {card.name}") == card for card in CARDS)
    assert device_here("cpu") == Device("CPU")


def test_bytes_of_lossless_frames(tmp_path):
    """As they are in the file; a sample of a few frames tells those of the clip."""
    frames = np.stack([draw_figure(figure_keypoints(at / 30, 320, 176), 320, 176) for at in range(24)])
    write_lossless(tmp_path / "a.mkv", frames, 30)
    written = (tmp_path / "a.mkv").stat().st_size / frames[..., 0].size
    assert bytes_a_pixel(frames) == pytest.approx(written, rel=0.05)
    assert lossless_size(TensorSource(frames, 30), (320, 176)) == pytest.approx(written, rel=0.05)
    assert lossless_size(torch.from_numpy(frames[3]).float() / 255, (320, 176)) == pytest.approx(written, rel=0.1)
    noise = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert bytes_a_pixel(noise) > 3 > 10 * bytes_a_pixel(np.zeros((2, 64, 64, 3), np.uint8))


def test_times_in_words():
    said = [duration(seconds) for seconds in (0.2, 59.4, 61, 120, 3599, 3600, 7260)]
    assert said == ["1 s", "59 s", "1 min 1 s", "2 min", "59 min 59 s", "1 h", "2 h 1 min"]
