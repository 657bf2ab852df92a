"""CPU time of reading a clip: VideoSource against PyAV's own conversion, and the error of both in colour.

Both decode the same 1280x720 H.264 clip from its start: VideoSource eight frames at a time; PyAV with
``frame.to_ndarray(format="rgb24")``, with its defaults and set to exact interpolation. They take turns. Counted is the
process's CPU time, all threads. The error is the distance in pixel values (0 to 255) from the formula of the clip's
matrix and range in float, chroma interpolated bilinearly from H.264's sample positions.

Writes ``results/read_cpu.json``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import av  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402

FRAMES, ROUNDS, BATCH = 240, 6, 8
Reader = Callable[[Path], Iterator[np.ndarray]]  # a clip to its frames, [H, W, 3]


def ours(path: Path) -> Iterator[np.ndarray]:
    from wan_animate.video.source import VideoSource

    source = VideoSource(path, fps=0)
    for _, _, frames in source.batches(BATCH):
        yield from frames


def pyav(path: Path, **options: Any) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24", **options)


def pyav_exact(path: Path) -> Iterator[np.ndarray]:
    from wan_animate.video.decode import EXACT

    yield from pyav(path, interpolation=EXACT, src_colorspace="itu709")


def formula(path: Path) -> Iterator[np.ndarray]:
    """float32 RGB in 0..255 of every frame: BT.709, limited range, as the clip is."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma, u, v = (
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width].astype(np.float32)
                for plane in frame.planes
            )
            u, v = (_upsampled((part - 128) / 224) for part in (u, v))
            y = (luma - 16) / 219
            red, blue = y + 1.5748 * v, y + 1.8556 * u
            green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
            yield np.clip(np.stack([red, green, blue], -1), 0, 1) * 255


def _upsampled(chroma: np.ndarray) -> np.ndarray:
    """``[h, w]`` to ``[2h, 2w]``: chroma lies between two rows of luma, and on every other column."""
    tall = cv2.resize(chroma, (chroma.shape[1], 2 * chroma.shape[0]), interpolation=cv2.INTER_LINEAR)
    after = np.concatenate([tall[:, 1:], tall[:, -1:]], axis=1)
    return np.stack([tall, (tall + after) / 2], axis=2).reshape(len(tall), -1)


def spent(read: Reader, path: Path) -> float:
    """CPU milliseconds a frame."""
    started, count = time.process_time(), 0
    for _ in read(path):
        count += 1
    return (time.process_time() - started) * 1e3 / count


def errors(read: Reader, path: Path) -> dict[str, float]:
    """In pixel values, of every tenth frame: the largest, the mean, and the mean with its sign."""
    largest, total, drift, count = 0.0, 0.0, 0.0, 0
    for number, (got, exact) in enumerate(zip(read(path), formula(path))):
        if number % 10:
            continue
        off = got - exact
        largest = max(largest, float(np.abs(off).max()))
        total, drift, count = total + float(np.abs(off).mean()), drift + float(off.mean()), count + 1
    return {"largest": round(largest, 3), "mean": round(total / count, 3), "drift": round(drift / count, 3)}


def main() -> None:
    from benchmarks.prepare_memory import make_clip

    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path, FRAMES)
        ways = {"ours": ours, "peer": pyav, "peer, exact": pyav_exact}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name, read in ways.items():
                took = spent(read, path)
                if turn:  # the first round warmed up
                    times[name].append(took)
        off = {name: errors(read, path) for name, read in ways.items()}
    mine, theirs, exact = (float(np.median(taken)) for taken in times.values())
    print(f"errors in pixel values: {off}")
    results.record(
        "read_cpu",
        mine,
        theirs,
        peer_name='PyAV, frame.to_ndarray(format="rgb24")',
        unit="processor ms a frame, 1280x720 H.264 to RGB",
        versions=results.versions("av", "cv2"),
        digits=2,
        peer_told_to_be_exact=round(exact, 2),
        error_levels=off,
    )


if __name__ == "__main__":
    main()
