"""A finished clip written by a hardware encoder against the software one, at the same quality's name.

A dancer with a film's grain, 1280x720, is written as Save Clip does it (``wan_animate.export.movie``: RGB to the
encoder's pixels, encoding, mp4) by each encoder of H.264, H.265 and AV1 that works here. They take turns; the first
round warms up. Printed for each: seconds (the median), MB, and the PSNR of every tenth frame read back. Hardware
encoders that this PyAV has but this machine does not run are named. Without one, nothing is compared or written.

    python benchmarks/encoders.py                       # quality high, 240 frames
    python benchmarks/encoders.py --quality medium --frames 600
    python benchmarks/encoders.py --small               # seconds on two cores; writes nothing

Writes ``results/encode_h264.json``, ``encode_h265.json``, ``encode_av1.json``, where hardware was found; others than
high with the quality in the name.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import av  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402
from wan_animate.export.codecs import CODECS, QUALITIES, Codec, Encoder  # noqa: E402
from wan_animate.export.encoder import works  # noqa: E402
from wan_animate.export.movie import Movie  # noqa: E402
from wan_animate.video.source import VideoSource  # noqa: E402

NAMES = ("h264", "h265", "av1")
SIZE, RATE, DRAWN, GRAIN = (1280, 720), Fraction(30), 60, 2.5
BATCH = 8


def drawn(size: tuple[int, int]) -> np.ndarray:
    """uint8 ``[60, H, W, 3]``: two seconds of the dancer, with grain of 2.5 levels over neighbouring pixels."""
    from demo.figure import draw_figure, figure_keypoints

    rng = np.random.default_rng(0)
    out = np.empty((DRAWN, size[1], size[0], 3), np.uint8)
    for at in range(DRAWN):
        grain = rng.normal(0, GRAIN, (size[1], size[0], 1))
        grain = (grain + np.roll(grain, 1, 0) + np.roll(grain, 1, 1)) / np.sqrt(3)
        out[at] = np.clip(draw_figure(figure_keypoints(at / 30, *size), *size) + grain, 0, 255).round()
    return out


def forth_and_back(number: int) -> int:
    """Which drawn frame is the clip's ``number``-th."""
    turn = number % (2 * DRAWN - 2)
    return min(turn, 2 * DRAWN - 2 - turn)


def write(path: Path, codec: Codec, encoder: Encoder, quality: str, frames: np.ndarray, count: int) -> float:
    """Seconds from opening the file to closing it."""
    size = frames.shape[2], frames.shape[1]
    started = time.perf_counter()
    with Movie(str(path), codec, encoder, quality, size, RATE, count=count) as movie:
        for start in range(0, count, BATCH):
            movie.write(frames[[forth_and_back(at) for at in range(start, min(start + BATCH, count))]])
    return time.perf_counter() - started


def psnr(path: Path, frames: np.ndarray, count: int) -> float:
    """In dB, of RGB in 0..255, over every tenth frame."""
    source, squared = VideoSource(path, fps=0), []
    if len(source) != count:
        raise SystemExit(f"{path.name} has {len(source)} frames, and {count} were written")
    for number in range(0, count, 10):
        off = source.read(number, number + 1)[0].astype(np.float32) - frames[forth_and_back(number)]
        squared.append(float(np.square(off).mean()))
    source.close()
    return float(10 * np.log10(255**2 / max(statistics.fmean(squared), 1e-9)))


def measure(codec: Codec, quality: str, frames: np.ndarray, count: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Figures by the encoder's name: hardware that works here, and the software one last."""
    size = frames.shape[2], frames.shape[1]
    chosen = [one for one in codec.encoders if works(one, quality, size, RATE)]
    took: dict[str, list[float]] = {one.name: [] for one in chosen}
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds + 1):
            for encoder in chosen:
                path = Path(folder) / f"{encoder.name}.mp4"
                seconds = write(path, codec, encoder, quality, frames, count)
                if turn:
                    took[encoder.name].append(seconds)
        for encoder in chosen:
            path = Path(folder) / f"{encoder.name}.mp4"
            figures[encoder.name] = {
                "seconds": round(statistics.median(took[encoder.name]), 3),
                "mb": round(path.stat().st_size / 1e6, 3),
                "psnr_db": round(psnr(path, frames, count), 2),
                "hardware": encoder.hardware,
            }
            print(f"  {encoder.name}: {figures[encoder.name]}", flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quality", choices=QUALITIES, default="high")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="16 frames of 320x192, one round")
    options = parser.parse_args()
    size, count, rounds = ((320, 192), 16, 1) if options.small else (SIZE, options.frames, options.rounds)
    frames = drawn(size)
    found = False
    for name in options.codecs:
        codec = CODECS[name]
        print(f"{codec.title}, {size[0]}x{size[1]}, {count} frames, quality {options.quality}:", flush=True)
        figures = measure(codec, options.quality, frames, count, rounds)
        idle = [one.name for one in codec.encoders if one.hardware and one.name not in figures]
        there = [one for one in idle if one in av.codecs_available]
        print(f"  not run by this machine: {', '.join(there) or 'none'}; not in this PyAV: "
              f"{', '.join(sorted(set(idle) - set(there))) or 'none'}", flush=True)  # fmt: skip
        hardware = [one for one, values in figures.items() if values["hardware"]]
        if not hardware:
            continue
        found = True
        ours, peer = figures[hardware[0]], figures[codec.encoders[-1].name]
        ending = "" if options.quality == "high" else f"_{options.quality}"
        results.record(
            f"encode_{name}{ending}",
            ours["seconds"],
            peer["seconds"],
            peer_name=f"{codec.encoders[-1].name}, the same quality's name",
            unit=f"seconds for {count} frames of {size[0]}x{size[1]}, RGB to mp4",
            versions=results.versions("av", "numpy") | {"ffmpeg": av.ffmpeg_version_info},
            hardware=", ".join(filter(None, (_card(), results.cpu()))),
            digits=3,
            write=not options.small,
            encoder=hardware[0],
            figures=figures,
        )
    if not found:
        print(f"No hardware encoder works here ({_card() or 'no NVIDIA card'}): Save Clip takes software. "
              "Nothing is compared, no result is written.")  # fmt: skip


def _card() -> str | None:
    """The NVIDIA card's name, where there is one."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


if __name__ == "__main__":
    main()
