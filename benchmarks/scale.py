"""10,000 clips of 30 s a day at 720p: cards, hours, storage, network, cost, reckoned from the measured figures and
simulated with failures; and the simulation held against a real batch on this machine.

    python benchmarks/scale.py                       # the table of docs/scale.md
    python benchmarks/scale.py --cards 70 --days 5   # one farm
    python benchmarks/scale.py --check               # a real batch of two workers, small weights; minutes

The simulation (simpy) has what ``wan_animate/batch`` does: units by priority, a clip after its shots, a lost worker's
unit to the front of the queue with its finished segments, a worker that reads its weights before its first unit.
``--check`` measures units in the first half of a real batch, simulates the whole, and compares the seconds; it writes
``results/scale_check.json``.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import simpy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402
from wan_animate.plan.costs import MP4_SHARE  # noqa: E402

DAY = 86_400.0
FRAMES, LENGTH, PREVIOUS, SIZE = 900, 77, 1, (1280, 720)
LOSSLESS = 0.506
"""Bytes a pixel of finished segments: ``plan/sample.py`` on the example clip, replace."""
DRIVER_MB = 8.0
"""A driving video: the example clip is 0.90 MB for 3.5 s."""
WEIGHTS_GB = 34.5 + 0.3 + 11.4 + 1.3
MTBF = 16_384 * 54 * DAY / 419
"""Seconds a card works between two failures: 419 in 54 days on 16,384 H100 (Llama 3, arXiv:2407.21783)."""
PRICE = 2.50
"""Assumed, US dollars an hour of one H100."""


def claim(name: str) -> dict[str, Any]:
    return dict(json.loads((results.FOLDER / f"{name}.json").read_text()))


@dataclass(frozen=True)
class Times:
    """Seconds: a segment with all that is in its way, reading weights, finding the pose (or the shots), and the end of
    a clip whose segments are there. ``spread``: standard deviation of a unit's time over its mean."""

    segment: float
    start: float
    find: float
    end: float
    spread: float = 0.03


@dataclass
class Unit:
    """What a worker takes: a clip's segments, or one shot's; ``finished`` survive the worker."""

    clip: Clip
    kind: str  # "find", "shot", "clip"
    segments: int
    finished: int = 0


@dataclass
class Clip:
    """A clip to make: when it came, and the segments of each shot."""

    came: float
    shots: tuple[int, ...]
    done: float = math.inf
    left: int = 0


@dataclass
class Outcome:
    """Seconds each clip waited until it was whole, busy seconds of all workers, units lost and seconds made again."""

    waits: list[float] = field(default_factory=list)
    busy: float = 0.0
    lost: int = 0
    again: float = 0.0
    until: float = 0.0


class Farm:
    """Workers that take units from one queue.

    Args:
        mtbf: seconds between two ends of a worker; infinite: none.
        restart: seconds until an ended worker reads its weights again.
    """

    def __init__(self, workers: int, times: Times, mtbf: float = math.inf, restart: float = 60.0, seed: int = 0):
        self.env = simpy.Environment()
        self._times, self._mtbf, self._restart = times, mtbf, restart
        self._chance = random.Random(seed)
        self._queue: list[tuple[int, Unit]] = []
        self._numbers = iter(range(1, 10**9))
        self._waiting: list[simpy.Event] = []
        self.outcome = Outcome()
        for _ in range(workers):
            self.env.process(self._work())

    def give(self, clip: Clip) -> None:
        several = len(clip.shots) > 1
        self._put(Unit(clip, "find", 0) if several else Unit(clip, "clip", sum(clip.shots)))

    def _put(self, unit: Unit, first: bool = False) -> None:
        number = next(self._numbers)
        heapq.heappush(self._queue, (-number if first else number, unit))
        if self._waiting:
            self._waiting.pop(0).succeed()

    def _take(self) -> Generator[simpy.Event, Any, Unit]:
        while not self._queue:
            event = self.env.event()
            self._waiting.append(event)
            yield event
        return heapq.heappop(self._queue)[1]

    def _work(self) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(self._times.start)
        life = self._life()
        while True:
            unit = yield from self._take()
            while (step := self._next(unit)) is not None:
                seconds = step * max(self._chance.gauss(1.0, self._times.spread), 0.2)
                if seconds > life:
                    yield self.env.timeout(life)
                    self.outcome.lost += 1
                    self.outcome.again += life
                    self._put(unit, first=True)
                    yield self.env.timeout(self._restart + self._times.start)
                    life = self._life()
                    break
                yield self.env.timeout(seconds)
                life -= seconds
                self.outcome.busy += seconds
                unit.finished += 1
            else:
                self._after(unit)

    def _next(self, unit: Unit) -> float | None:
        """Seconds of the unit's next step; None: it is done."""
        steps = {
            "find": [self._times.find],
            "shot": [self._times.segment] * unit.segments,
            "clip": [
                *([self._times.find] if len(unit.clip.shots) == 1 else []),
                *[self._times.segment] * unit.segments,
                self._times.end,
            ],
        }[unit.kind]
        return steps[unit.finished] if unit.finished < len(steps) else None

    def _after(self, unit: Unit) -> None:
        clip = unit.clip
        if unit.kind == "find":
            clip.left = len(clip.shots)
            for segments in reversed(clip.shots):
                self._put(Unit(clip, "shot", segments), first=True)
        elif unit.kind == "shot":
            clip.left -= 1
            if not clip.left:
                self._put(Unit(clip, "clip", 0), first=True)
        else:
            clip.done = self.env.now
            self.outcome.waits.append(clip.done - clip.came)
            self.outcome.until = self.env.now

    def _life(self) -> float:
        return self._chance.expovariate(1 / self._mtbf) if math.isfinite(self._mtbf) else math.inf


# -- 10,000 clips a day


def segments_of(frames: int) -> int:
    return 1 + max(0, math.ceil((frames - LENGTH) / (LENGTH - PREVIOUS)))


def measured(backend: str, steps: int) -> Times:
    """Of a segment at 720p on one H100: ``server`` is a whole job on a ComfyUI server without flags, ``shell`` the
    shell on diffusers, whose step was measured alone."""
    job, step = claim("clip_720p_4"), claim("step_480p_default")["ours"] / claim("step_480p_bf16")["ours"]
    other = claim("vae_encode_720p")["ours"] + claim("vae_decode_720p")["ours"]
    if backend == "server":
        four = job["ours"] / job["segments"]
        segment = four + (steps - 4) * claim("step_720p_bf16_fa4")["ours"] * step
    else:
        other = claim("vae_encode_720p")["peer"] + claim("vae_decode_720p")["peer"]
        segment = steps * claim("step_720p_diffusers")["peer"] + other
    return Times(segment, start=60.0, find=FRAMES / claim("detect_gpu")["ours"], end=5.0)


def arrivals(days: float, clips: int, peak: float, chance: random.Random) -> list[float]:
    """Poisson, by an hourly rate that is ``peak`` times the mean at its highest."""
    at, found = 0.0, []
    while at < days * DAY:
        at += chance.expovariate(peak * clips / DAY)
        rate = 1 + (peak - 1) * math.sin(2 * math.pi * at / DAY)
        if chance.random() < rate / peak:
            found.append(at)
    return found


def simulate(
    cards: int, times: Times, days: float, clips: int, peak: float, mtbf: float, shots: int = 1, seed: int = 1
) -> tuple[Outcome, float]:
    """The outcome, and the share of the cards' time that was busy."""
    farm, chance = Farm(cards, times, mtbf, seed=seed), random.Random(seed)
    count = [segments_of(FRAMES // shots)] * shots

    def come() -> Generator[simpy.Event, Any, None]:
        for at in arrivals(days, clips, peak, chance):
            yield farm.env.timeout(at - farm.env.now)
            farm.give(Clip(farm.env.now, tuple(count)))

    farm.env.process(come())
    farm.env.run(until=days * DAY)
    return farm.outcome, farm.outcome.busy / (cards * days * DAY)


def line(name: str, times: Times, given: argparse.Namespace) -> None:
    segments = segments_of(FRAMES)
    seconds = times.find + segments * times.segment + times.end
    hours = given.clips * seconds / 3600
    least = hours / 24
    print(f"\n{name}: {times.segment:.1f} s a segment, {seconds / 60:.1f} min a clip, {hours:,.0f} card hours a day")
    for cards in [given.cards] if given.cards else [math.ceil(least / share) for share in (0.95, 0.85, 0.70)]:
        for mtbf, failing in ((MTBF, "as Llama 3's"), (MTBF / 50, "50 times as often")):
            outcome, busy = simulate(cards, times, given.days, given.clips, given.peak, mtbf, given.shots)
            waits = sorted(outcome.waits)
            half, most = statistics.median(waits) / 60, waits[int(0.95 * len(waits))] / 60
            print(
                f"  {cards:5} cards ({busy:.0%} busy), failing {failing}: a clip is there after {half:.0f} min, "
                f"95% after {most:.0f} min; {outcome.lost} units lost, {outcome.again / 3600:.1f} card hours again; "
                f"${24 * PRICE * cards / given.clips:.2f} a clip"
            )


def storage(given: argparse.Namespace, cards: int) -> None:
    pixels = SIZE[0] * SIZE[1]
    lossless = LOSSLESS * pixels * FRAMES / 1e6
    tails = (segments_of(FRAMES) - 1) * PREVIOUS * pixels * 12 / 1e6
    video = MP4_SHARE * lossless
    rate = given.clips / DAY
    work, through = lossless + tails, DRIVER_MB + video
    print(
        f"\na clip: {DRIVER_MB:.0f} MB in, {video:.0f} MB out, {work:.0f} MB at work ({lossless:.0f} segments, "
        f"{tails:.0f} handed on)\n"
        f"a day: {given.clips * through / 1e6:.2f} TB of videos, {given.clips * work / 1e6:.1f} TB written, deleted; "
        f"{cards} clips at once hold {cards * work / 1e3:.0f} GB\n"
        f"a second: {rate * work:.0f} MB written, {2 * rate * lossless:.0f} MB read (checked, then into the mp4), "
        f"{rate * through:.1f} MB in and out of the farm\n"
        f"start: {WEIGHTS_GB:.1f} GB of weights a worker, {cards * WEIGHTS_GB / 1e3:.1f} TB if all start at once: "
        f"{cards * WEIGHTS_GB * 8 / 100 / 60:.0f} min through one 100 Gbit/s"
    )


# -- held against a real batch


def real(clips: int, workers: int) -> tuple[list[dict[str, Any]], float, float]:
    """A batch in which every other clip has two shots: events, the time of day at its begin, and its seconds."""
    from benchmarks import farm

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, out = Path(name), Path(name) / "out"
        farm.write_inputs(folder)
        rows = [f"clip{at:02},driver.mp4,{at},{'anew' if at % 2 else 'chain'}" for at in range(clips)]
        (folder / "clips.csv").write_text("\n".join(["name,video,seed,at_cuts", *rows]))
        command = farm.shell("batch", folder / "clips.csv", "--out", out, f"--workers={workers}", *farm.options(folder))
        begun, clock = time.time(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        took = time.perf_counter() - clock
        lines = (out / "queue.jsonl").read_text().splitlines()
    return [json.loads(one) for one in lines], begun, took


def check(clips: int, workers: int, write: bool) -> int:
    from benchmarks import farm

    events, begun, took = real(clips, workers)
    half = events[: len(events) // 2]

    first = {one["worker"]: one for one in reversed(half)}.values()  # each worker's first unit loads the model
    warm = [one for one in half if one not in first]

    def mean(kind: str) -> float:
        return statistics.mean(one["seconds"] for one in warm if _kind(one["name"], events) == kind)

    usual = {kind: mean(kind) for kind in ("find", "shot", "whole", "end")}
    start = statistics.mean(one["at"] - begun - usual[_kind(one["name"], events)] for one in first)
    segments = 4  # of a clip; two in each shot
    one_segment = (usual["shot"] / 2 + (usual["whole"] - usual["find"] - usual["end"]) / segments) / 2
    times = Times(one_segment, start, usual["find"], usual["end"])
    farm_ = Farm(workers, times)
    for at in range(clips):
        farm_.give(Clip(0.0, (2, 2) if at % 2 else (segments,)))
    farm_.env.run(until=10 * took + 1000)
    said = farm_.outcome.until
    off = said / took - 1
    print(f"simulated {said:.1f} s, real {took:.1f} s: {off:+.1%} ({times})")
    results.record(
        "scale_check", said, took, digits=1, write=write, unit="seconds", better="lower",
        peer_name="the real batch that was simulated", versions=results.versions("simpy", "torch"),
        clips=clips, workers=workers, off=round(off, 3), wanted="within 0.15",
        note="unit times measured in the first half of the batch", **farm.load(),
    )  # fmt: skip
    return abs(off) > 0.15


def _kind(name: str, events: list[dict[str, Any]]) -> str:
    if ": " in name:
        return "find" if name.endswith("its shots") else "shot"
    return "end" if any(one["name"].startswith(f"{name}: ") for one in events) else "whole"


def main(given: argparse.Namespace) -> int:
    if given.check:
        return check(given.check_clips, 2, not given.dry)
    for name, backend, steps in (
        ("ComfyUI servers, 4 steps", "server", 4),
        ("shell on diffusers, 4 steps", "shell", 4),
        ("ComfyUI servers, 20 steps", "server", 20),
    ):
        line(name, measured(backend, steps), given)
    times = measured("server", 4)
    storage(given, given.cards or math.ceil(given.clips * segments_of(FRAMES) * times.segment / DAY / 0.85))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000, help="a day")
    parser.add_argument("--cards", type=int, default=0)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--peak", type=float, default=1.5, help="the busiest hour's rate over the mean")
    parser.add_argument("--shots", type=int, default=1, help="of a clip, made side by side")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--check-clips", type=int, default=12)
    parser.add_argument("--dry", action="store_true", help="write no result")
    sys.exit(main(parser.parse_args()))
