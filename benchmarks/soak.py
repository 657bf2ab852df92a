"""A clip of 1,000 segments: whether the last hundred are as fast as the first, in as much memory.

Everything is real but the networks, and small: segments of 9 frames at 64x48, taken over 5 by 5, cross-faded, colours
held, each saved and read again, all appended to one mp4; then the whole clip is opened and read through. Compared are
medians of the seconds of a segment, wall and CPU (which other programs do not change), the memory that no file backs,
open files and threads, at the end against the first hundred segments after twenty to warm up.

    python benchmarks/soak.py                  # minutes
    python benchmarks/soak.py --segments 300   # writes nothing

Writes ``results/soak.json`` (CPU seconds of a segment).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.memory_engine import PoolingVAE  # noqa: E402
from benchmarks.meters import anonymous_bytes  # noqa: E402
from wan_animate.chain.control_sources import Controls  # noqa: E402
from wan_animate.chain.generate import Progress, generate  # noqa: E402
from wan_animate.chain.job import AnimateJob  # noqa: E402
from wan_animate.chain.options import ClipOptions  # noqa: E402
from wan_animate.chain.ports import SegmentConditioning, StepCallback  # noqa: E402
from wan_animate.chain.reuse import take_over  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.video.frames import FrameSource  # noqa: E402

LENGTH, PREVIOUS, SIZE, WARM, HUNDRED = 9, 5, (64, 48), 20, 100


class Ramp(FrameSource):
    """A slow gradient with grain, made when it is read."""

    kind = "image"
    fps = Fraction(30)

    def __init__(self, count: int) -> None:
        self.count, (self.width, self.height) = count, SIZE

    def __len__(self) -> int:
        return self.count

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.stack([self._frame(at) for at in range(start, stop)])

    def _frame(self, at: int) -> np.ndarray:
        across = np.linspace(0, 120, self.width) + 60 + 40 * np.sin(at / 50)
        grain = np.random.default_rng(at).integers(0, 8, (self.height, self.width, 3))
        return (across[None, :, None] + grain).astype(np.uint8)

    def fingerprint(self) -> str:
        return f"ramp of {self.count}"


class PassingDenoiser:
    steps, face_size, face_dtype = 1, 16, torch.float32

    def denoise(self, conditioning: SegmentConditioning, noise: torch.Tensor, on_step: StepCallback) -> torch.Tensor:
        on_step(1, 1, None)
        return torch.cat((conditioning.concat_latent[:, :, :1], conditioning.pose_latent), dim=2)


def make_job(segments: int) -> AnimateJob:
    controls = Controls(Ramp(LENGTH + (segments - 1) * (LENGTH - PREVIOUS)))
    job = AnimateJob(torch.full((48, 64, 3), 0.5), controls, "animate", LENGTH, PREVIOUS)
    job.options = ClipOptions(crossfade=3)
    return job


@dataclass
class Sample:
    """What a segment took, and what the process had after it."""

    seconds: float
    cpu: float
    memory: float
    files: int
    threads: int


class Watch:
    """A progress callback that takes a :class:`Sample` of every segment."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._at = time.perf_counter(), time.process_time()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != "save":
            return
        now, files = (time.perf_counter(), time.process_time()), len(os.listdir("/proc/self/fd"))
        memory, threads = anonymous_bytes(os.getpid()) / 1e6, threading.active_count()
        self.samples.append(Sample(now[0] - self._at[0], now[1] - self._at[1], memory, files, threads))
        self._at = now


def median(samples: list[Sample], name: str) -> float:
    return float(np.median([getattr(sample, name) for sample in samples]))


def read_through(store: SegmentStore, job: AnimateJob) -> tuple[float, list[float]]:
    """Seconds to open the finished clip, and CPU seconds to read each hundredth part of it."""
    start = time.perf_counter()
    clip = store.clip(job.plan(), job.fps)
    opened, parts = time.perf_counter() - start, []
    for at in np.array_split(np.arange(len(clip)), 100):
        start = time.process_time()
        clip.read(int(at[0]), int(at[-1]) + 1)
        parts.append(time.process_time() - start)
    clip.close()
    return opened, parts


def main(segments: int) -> None:
    logging.getLogger("wan_animate").setLevel(logging.ERROR)  # the stand-ins' boundaries show
    watch = Watch()
    with tempfile.TemporaryDirectory() as name:
        job = make_job(segments)
        with SegmentStore(Path(name) / "job") as store:
            take_over(store, job.segment_keys("soak"), [])
            start = time.perf_counter()
            generate(job, PassingDenoiser(), PoolingVAE(), store, watch, Path(name) / "job" / "clip.mp4").close()
            print(f"{segments} segments: {time.perf_counter() - start:.0f} s", flush=True)
            start = time.perf_counter()
            assert store.verify(job.plan()) == []
            print(f"verified in {time.perf_counter() - start:.1f} s", flush=True)
            opened, parts = read_through(store, job)
    first, last = watch.samples[WARM : WARM + HUNDRED], watch.samples[-HUNDRED:]
    for kind in ("seconds", "cpu", "memory", "files", "threads"):
        before, after = median(first, kind), median(last, kind)
        print(
            f"{kind}: {before:.4g} of the first hundred, {after:.4g} of the last, ratio {after / before:.3f}",
            flush=True,
        )
    early, late = np.median(parts[:10]), np.median(parts[-10:])
    print(f"clip opened in {opened:.3f} s; a hundredth takes {early:.4f} CPU s at its begin, {late:.4f} at its end")
    results.record(
        "soak", median(last, "cpu"), median(first, "cpu"), peer_name="the first hundred segments of the same clip",
        unit="CPU seconds a segment", versions=results.versions("numpy", "av"), write=segments >= 1000,
        segments=segments, memory_ratio=round(median(last, "memory") / median(first, "memory"), 3),
        wall_ratio=round(median(last, "seconds") / median(first, "seconds"), 3), open_seconds=round(opened, 3),
        read_ratio=round(float(late / early), 3),
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=1000)
    main(parser.parse_args().segments)
