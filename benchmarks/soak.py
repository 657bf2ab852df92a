"""A clip of 1,000 segments: whether the last hundred are as fast as the first, in as much memory.

Everything is real but the networks, and small: segments of 9 frames at 64x48, taken over 5 by 5, cross-faded, colours
held, each saved and read again, all appended to one mp4; then the whole clip is opened and read through. Compared are
medians at the end with those of the first hundred segments after twenty to warm up, and of five such clips the median:

- relative: CPU seconds of a segment by those of a fixed computation beside it (:func:`ruler`), which cancels most of
  what a busy machine or a changed clock does to both
- cpu, seconds: CPU and wall seconds of a segment, as they are
- memory: what no file backs, after garbage is collected and the heaps are trimmed, at every tenth segment
- files, threads: open ones
- reading: CPU time of the finished clip's last tenth by its first

One CPU thread for torch, NumPy and OpenCV; no GPU.

    python benchmarks/soak.py                              # minutes
    python benchmarks/soak.py --clips 1 --segments 300     # writes nothing
    python benchmarks/soak.py --folder /dev/shm

Writes ``results/soak.json``. Ends with status 1 where relative, memory or reading grew by more than 5 %, or files or
threads at all.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import threading
import time
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # waiting threads burn CPU time
    os.environ[variable] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.memory_engine import PoolingVAE  # noqa: E402
from benchmarks.meters import anonymous_bytes  # noqa: E402
from wan_animate.buffers import give_back  # noqa: E402
from wan_animate.chain.control_sources import Controls  # noqa: E402
from wan_animate.chain.generate import Progress, generate  # noqa: E402
from wan_animate.chain.job import AnimateJob  # noqa: E402
from wan_animate.chain.options import ClipOptions  # noqa: E402
from wan_animate.chain.ports import SegmentConditioning, StepCallback  # noqa: E402
from wan_animate.chain.reuse import take_over  # noqa: E402
from wan_animate.chain.store import SegmentStore  # noqa: E402
from wan_animate.video.frames import FrameSource  # noqa: E402

LENGTH, PREVIOUS, SIZE, WARM, HUNDRED = 9, 5, (64, 48), 20, 100
PERIOD = 100  # frames: a hundred segments hold whole ones, wherever they begin
EVERY = 10  # segments between two looks at the memory
GROWTH = 1.05
COMPARED = "relative", "cpu", "seconds", "memory", "files", "threads"


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
        across = np.linspace(0, 120, self.width) + 60 + 40 * np.sin(2 * np.pi * at / PERIOD)
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


def ruler() -> float:
    """CPU seconds that this thread takes for a fixed computation like a segment's own: arrays, compression, Python."""
    start = time.thread_time()
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.float32)
    for _ in range(LENGTH):
        frame = cv2.GaussianBlur(frame, (5, 5), 1.0) * 0.5 + frame * 0.5
        zlib.compress(frame.astype(np.uint8).tobytes(), 6)
        sum(divmod(number, 7)[1] for number in range(2000))
    return time.thread_time() - start


@dataclass
class Sample:
    """What a segment took, and what the process had after it."""

    seconds: float
    cpu: float
    relative: float
    """CPU time by the ruler's."""
    files: int
    threads: int
    memory: float | None
    """MB, of every tenth segment."""


class Watch:
    """A progress callback that takes a :class:`Sample` of every segment."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._begin()

    def _begin(self) -> None:
        self._at = time.perf_counter(), time.process_time()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != "save":
            return
        seconds, cpu = time.perf_counter() - self._at[0], time.process_time() - self._at[1]
        files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        relative = cpu / min(ruler() for _ in range(3))
        memory = settled_memory() if not len(self.samples) % EVERY else None
        self.samples.append(Sample(seconds, cpu, relative, files, threads, memory))
        self._begin()


def settled_memory() -> float:
    """MB that no file backs, after collecting garbage and trimming the heaps."""
    gc.collect()
    give_back()
    return anonymous_bytes(os.getpid()) / 1e6


def median(samples: list[Sample], name: str) -> float:
    values = [value for sample in samples if (value := getattr(sample, name)) is not None]
    return float(np.median(values))


def read_through(store: SegmentStore, job: AnimateJob) -> tuple[float, list[float]]:
    """Seconds to open the finished clip, and the CPU time to read each hundredth part of it, by the ruler's."""
    start = time.perf_counter()
    clip = store.clip(job.plan(), job.fps)
    opened, parts = time.perf_counter() - start, []
    for at in np.array_split(np.arange(len(clip)), 100):
        start = time.process_time()
        clip.read(int(at[0]), int(at[-1]) + 1)
        parts.append((time.process_time() - start) / min(ruler() for _ in range(3)))
    clip.close()
    return opened, parts


def make(segments: int, folder: Path) -> dict[str, tuple[float, float]]:
    """One clip: what is compared -> (of the first hundred segments, of the last)."""
    watch, job = Watch(), make_job(segments)
    with SegmentStore(folder / "job") as store:
        take_over(store, job.segment_keys("soak"), [])
        begun = time.perf_counter()
        generate(job, PassingDenoiser(), PoolingVAE(), store, watch, folder / "job" / "clip.mp4").close()
        made = time.perf_counter()
        assert store.verify(job.plan()) == []
        verified = time.perf_counter()
        opened, parts = read_through(store, job)
    print(
        f"{segments} segments made in {made - begun:.0f} s, verified in {verified - made:.1f} s, opened in "
        f"{opened:.2f} s",
        flush=True,
    )
    first, last = watch.samples[WARM : WARM + HUNDRED], watch.samples[-HUNDRED:]
    pairs = {kind: (median(first, kind), median(last, kind)) for kind in COMPARED}
    return {**pairs, "reading": (float(np.median(parts[:10])), float(np.median(parts[-10:])))}


def ratio(pair: tuple[float, float]) -> float:
    first, last = pair
    return last / first


def main(clips: int, segments: int, parent: Path | None) -> int:
    logging.getLogger("wan_animate").setLevel(logging.ERROR)  # the stand-ins' boundaries show
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found: list[dict[str, tuple[float, float]]] = []
    for _ in range(clips):
        with tempfile.TemporaryDirectory(dir=parent) as name:
            found.append(make(segments, Path(name)))
        print(", ".join(f"{kind} {ratio(pair):.3f}" for kind, pair in found[-1].items()), flush=True)
    middle = {kind: sorted((one[kind] for one in found), key=ratio)[clips // 2] for kind in found[0]}
    ratios = {kind: ratio(pair) for kind, pair in middle.items()}
    first, last = middle["relative"]
    results.record(
        "soak", last, first, peer_name="the first hundred segments of the same clip",
        unit="CPU time of a segment, by that of a fixed computation beside it", write=segments >= 1000,
        versions=results.versions("numpy", "av"), clips=clips, segments=segments,
        cpu_seconds=round(middle["cpu"][1], 4), memory_mb=round(middle["memory"][1]),
        ratios={kind: round(value, 3) for kind, value in ratios.items()},
    )  # fmt: skip
    grown = [kind for kind in ("relative", "memory", "reading") if ratios[kind] > GROWTH]
    grown += [kind for kind in ("files", "threads") if ratios[kind] > 1]
    said = ", ".join(f"{kind} {value:.3f}" for kind, value in ratios.items())
    end = f"grew: {', '.join(grown)}" if grown else "as it must be"
    print(f"{clips} clips of {segments} segments, last hundred by first, median: {said}: {end}")
    return bool(grown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where the clips are made (default: the temp folder)")
    arguments = parser.parse_args()
    sys.exit(main(arguments.clips, arguments.segments, arguments.folder))
