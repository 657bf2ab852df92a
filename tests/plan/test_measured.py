"""What runs took: followed, kept, bounded, and used by the next plan."""

import json
from dataclasses import asdict, replace
from fractions import Fraction

import pytest
import torch

from wan_animate.chain.clock import RunClock
from wan_animate.chain.generate import Progress, generate
from wan_animate.chain.store import SegmentStore
from wan_animate.plan.cards import Device
from wan_animate.plan.clip_plan import plan_clip
from wan_animate.plan.costs import STEP_SECONDS
from wan_animate.plan.measured import KEPT, Run, Runs, TimedModel, begin_clock, run_of, weights_name
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainDenoiser, PlainVAE, make_job

SMALL = TimedModel("256x5", "bf16", "fused")
RUN = Run("CPU", SMALL.size, "bf16", "fused", 3, "animate", 96, 64, 9, 96, 2.0, 1.0, 5.0, 1.5, 0.1, "2026-11-27")
CPU = Device("CPU")


class Told:
    """A clock that is set by hand, and a job that takes as long as it is told."""

    def __init__(self, **known):
        self.now, self.clock = 100.0, None
        self.clock = RunClock(**known, now=lambda: self.now)

    def run(self, segments: int, steps: int, step: float, encode: float, rest: float, load: float, first: int = 0):
        for segment in range(first, segments):
            for stage, done, spent in (
                ("encode", 0, 0.0),
                *(("denoise", at + 1, step + (encode + (load if segment == first else 0)) * (at == 0))
                  for at in range(steps)),
                ("decode", steps, 0.0),
                ("save", steps, rest),
            ):  # fmt: skip
                self.now += spent
                self.clock(Progress(segment, segments, stage, segment * steps + done, segments * steps))
                yield segment, stage, done


def test_a_job_is_followed():
    told = Told()
    left = [told.clock.seconds_left for _ in told.run(4, 5, step=2, encode=3, rest=4, load=30)]
    assert told.clock.step_seconds == pytest.approx(2)
    assert told.clock.other_seconds == pytest.approx(7)
    assert told.clock.start_seconds == pytest.approx(30)
    assert left[0] is None, "nothing is known yet"
    assert left[-1] == 0
    known = [seconds for seconds in left if seconds is not None]
    assert known[len(known) // 2 :] == sorted(known[len(known) // 2 :], reverse=True)
    # after the second segment its steps and the rest of a segment are known: two segments of 17 seconds are left
    assert left[2 * 8 - 1] == pytest.approx(34)


def test_what_is_known_before_tells_from_the_first_moment():
    told = Told(step=2.0, other=7.0)
    next(iter(told.run(4, 5, step=2, encode=3, rest=4, load=0)))
    assert told.clock.seconds_left == pytest.approx(68)
    told.now += 5
    assert told.clock.seconds_left == pytest.approx(63)


def test_a_resumed_job_counts_what_it_makes():
    told = Told()
    list(told.run(4, 5, step=2, encode=3, rest=4, load=0, first=3))
    assert told.clock.step_seconds == pytest.approx(2) and told.clock.seconds_left == 0


def test_one_step_a_segment():
    told = Told()
    list(told.run(3, 1, step=2, encode=3, rest=4, load=0))
    assert told.clock.step_seconds == pytest.approx(9), "step and rest cannot be told apart"
    assert told.clock.other_seconds == 0


def test_the_words():
    told, said = Told(step=2.0, other=7.0), []
    for _ in told.run(2, 2, step=2, encode=3, rest=4, load=0):
        said.append(told.clock.text())
    assert said[0] == "segment 1 of 2: loading the VAE, encoding, 22 s left"
    assert said[1] == "segment 1 of 2: sampling, step 2 of 2, 17 s left"
    assert said[-1] == "segment 2 of 2: saving"
    assert RunClock().text() == ""


def job(**changes):
    pose = TensorSource(torch.rand(20, 64, 96, 3, generator=torch.Generator().manual_seed(1)), 30)
    return make_job(torch.zeros(64, 96, 3), **{"pose": pose, "segment_length": 9, **changes})


def test_a_real_job_corrects_the_next_plan(tmp_path):
    """Disk within a fifth, time from its own steps; of another seed."""
    runs = Runs(tmp_path / "user" / "runs.json")
    work, folder = job(seed=1), tmp_path / "job"
    clock = begin_clock(runs, "CPU", work, SMALL)
    assert clock.step_seconds is None

    def plan():
        return plan_clip((96, 64), 20, Fraction(30), 0.01, CPU, segment_length=9, steps=3, runs=runs, model=SMALL.size)

    assert plan().times is None
    generate(work, PlainDenoiser(3), PlainVAE(), SegmentStore(folder), clock, folder / "clip.mp4")
    runs.add(run_of(clock, "CPU", work, folder, SMALL, 3))
    after = plan()
    assert after.times.basis.startswith("measured here at 96x64 on 20")
    assert after.times.step == pytest.approx(clock.step_seconds) and after.times.total > 0
    other = tmp_path / "other"
    generate(job(seed=2), PlainDenoiser(3), PlainVAE(), SegmentStore(other), video=other / "clip.mp4")
    written = {
        "segments": sum(path.stat().st_size for path in other.glob("segment_*.mkv")),
        "tails": sum(path.stat().st_size for path in other.glob("tail_*.safetensors")),
        "video": (other / "clip.mp4").stat().st_size,
    }
    for part, size in written.items():
        assert getattr(after.disk, part) == pytest.approx(size, rel=0.2), part
    assert after.disk.total == pytest.approx(sum(written.values()), rel=0.2)
    assert begin_clock(runs, "CPU", work, SMALL).step_seconds == pytest.approx(clock.step_seconds)
    assert begin_clock(runs, "CPU", work, SMALL, passes=2).step_seconds == pytest.approx(2 * clock.step_seconds)


def test_a_resumed_whole_job_took_nothing(tmp_path):
    work, store = job(), SegmentStore(tmp_path / "job")
    generate(work, PlainDenoiser(), PlainVAE(), store)
    clock = RunClock()
    generate(work, PlainDenoiser(), PlainVAE(), store, clock)
    assert run_of(clock, "CPU", work, store.folder, SMALL, 3) is None


def test_another_size_by_its_operations(tmp_path):
    runs = Runs(tmp_path / "runs.json")
    large = replace(RUN, model=TimedModel.size, how="")
    runs.add(replace(large, device="Card", width=832, height=480, segment_length=77, tokens=32_760, step_seconds=3.0))
    plan = plan_clip((1280, 720), 77, Fraction(30), 1.0, Device("Card"), runs=runs)
    assert plan.times.step == pytest.approx(3 * 3.75, rel=0.05), "as the measured card: step_720p over step_480p"
    assert plan.times.basis == "estimated from the run here at 832x480 on 2026-11-27 (bf16 weights)"
    same = plan_clip((832, 480), 153, Fraction(30), 1.0, Device("Card"), runs=runs)
    assert same.times.basis == "measured here at 832x480 on 2026-11-27 (bf16 weights)"
    assert same.times.total == pytest.approx(5 + 2 * (20 * 3 + 1))
    assert plan_clip((832, 480), 77, Fraction(30), 1.0, Device("Another"), runs=runs).times is None


def test_the_nearest_run_is_taken(tmp_path):
    runs = Runs(tmp_path / "runs.json")
    small = replace(RUN, tokens=96)
    large = replace(RUN, width=960, height=640, tokens=9600)
    other = replace(RUN, mode="replace")
    for run in (small, large, other):
        runs.add(run)
    assert runs.nearest("CPU", "animate", (96, 64), 96, SMALL) == small
    assert runs.nearest("CPU", "replace", (96, 64), 96, SMALL) == other
    assert runs.nearest("CPU", "animate", (800, 640), 8000, SMALL) == large
    assert runs.nearest("GPU", "animate", (96, 64), 96, SMALL) is None


def test_another_models_run_tells_nothing(tmp_path):
    """Size, card; weights, offload and steps are kept apart, and the nearest is taken and named."""
    runs, work = Runs(tmp_path / "runs.json"), job()
    size = dict(width=832, height=480, segment_length=77, tokens=32_760)
    runs.add(replace(RUN, device="NVIDIA H100 80GB HBM3", step_seconds=0.01, **size))

    def plan(**more):
        card = Device("NVIDIA H100 80GB HBM3", 85_000_000_000)
        return plan_clip((832, 480), 77, Fraction(30), 1.0, card, runs=runs, **more)

    assert plan().times.step == pytest.approx(STEP_SECONDS[0], rel=0.01)
    assert "times measured on such a card" in plan().times.basis and "models of another size" in plan().times.basis
    assert plan(model="1x1").times is None
    whole = replace(RUN, device="NVIDIA H100 80GB HBM3", model=TimedModel.size, how="", **size)
    made = [
        ("bf16", "", 6),
        ("bf16", "", 20),
        ("bf16", "40 blocks offloaded", 20),
        ("fp8", "", 20),
        ("fp8", "fused", 20),
    ]
    for number, (weights, how, steps) in enumerate(made, 1):
        runs.add(replace(whole, weights=weights, how=how, steps=steps, step_seconds=float(number)))
    assert len(runs.read()) == 6, "each is another"
    assert plan(weights="fp8").times.step == 5 and "(fp8 weights, fused)" in plan(weights="fp8").times.basis
    assert plan(weights="bf16", steps=6).times.step == 1
    latest = "measured here at 832x480 on 2026-11-27 (bf16 weights, 40 blocks offloaded)"
    assert plan(weights="bf16").times.basis == latest
    count, near = 32_760, runs.nearest
    exact = TimedModel(TimedModel.size, "bf16", "40 blocks offloaded")
    assert near("NVIDIA H100 80GB HBM3", "animate", (832, 480), count, exact).step_seconds == 3
    runs.add(replace(RUN, tokens=96))
    assert begin_clock(runs, "CPU", work, SMALL).step_seconds is not None
    for other in (replace(SMALL, size="5120x40"), replace(SMALL, how="compiled"), replace(SMALL, weights="fp8")):
        assert begin_clock(runs, "CPU", work, other).step_seconds is None


def test_what_weights_are_called():
    named = {torch.bfloat16: "bf16", torch.float16: "bf16", torch.float8_e4m3fn: "fp8", torch.float32: "float32"}
    assert {dtype: weights_name(dtype) for dtype in named} == named and weights_name("uint8") == "uint8"


def test_the_file_is_small_and_written_whole(tmp_path):
    runs = Runs(tmp_path / "new" / "runs.json")
    for width in range(16, 16 * (KEPT + 9), 16):
        runs.add(replace(RUN, width=width))
    assert len(runs.read()) == KEPT and runs.read()[-1].width == 16 * (KEPT + 8)
    runs.add(replace(RUN, width=16 * (KEPT + 8), step_seconds=7.0))
    assert len(runs.read()) == KEPT and runs.read()[-1].step_seconds == 7.0, "in place of the last of its kind"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["runs.json"]
    assert runs.path.stat().st_size < 40_000


@pytest.mark.parametrize(
    "content",
    [
        b"", b"not json", b"5", b"{}", b"[5, null, []]", b"\xff\xfe", b"[" * 100_000,
        json.dumps([asdict(RUN) | {"step_seconds": "many"}, asdict(RUN) | {"tokens": -1}]).encode(),
        json.dumps([asdict(RUN) | {"step_seconds": float("nan")}]).encode(),
        json.dumps([asdict(RUN) | {"width": 0}, asdict(RUN) | {"segment_length": 0}]).encode(),
    ],
)  # fmt: skip
def test_a_file_that_somebody_edited(tmp_path, content):
    runs = Runs(tmp_path / "runs.json")
    runs.path.write_bytes(content)
    assert runs.read() == []
    plan_clip((96, 64), 20, Fraction(30), 1.0, CPU, segment_length=9, runs=runs)
    runs.add(RUN)
    assert runs.read() == [RUN]


def test_a_place_that_cannot_be_written_costs_no_clip(tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    Runs(tmp_path / "file" / "runs.json").add(RUN)
    assert "the next plan will not know what this run took" in caplog.text
