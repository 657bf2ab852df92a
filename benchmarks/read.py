"""What reading a clip costs on the CPU: ours against PyAV's own conversion, and how far the colours of both are off.

All decode the same 1280x720 H.264 clip from its start; ours through VideoSource, eight frames a time, PyAV with
``frame.to_ndarray(format="rgb24")``, as it comes and told to be exact. They take turns. Counted is processor time of
the whole process, all threads, so that other programs do not count. The error is the distance, in levels of 255, from
the formula of the clip's matrix and range, with chroma interpolated bilinearly from where H.264 has it and nothing
rounded.

Writes ``results/read_cpu.json``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import av  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402

FRAMES, ROUNDS, BATCH = 240, 6, 8


def ours(path: Path):
    from wan_animate.video.source import VideoSource

    source = VideoSource(path, fps=0)
    for _, _, frames in source.batches(BATCH):
        yield from frames


def pyav(path: Path, **options):
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24", **options)


def pyav_exact(path: Path):
    from wan_animate.video.decode import EXACT

    yield from pyav(path, interpolation=EXACT, src_colorspace="itu709")


def formula(path: Path):
    """float32 RGB in 0..255 of every frame: BT.709, limited range, as the clip is."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma, u, v = (
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width].astype(np.float32)
                for plane in frame.planes
            )
            u, v = (_everywhere((part - 128) / 224) for part in (u, v))
            y = (luma - 16) / 219
            red, blue = y + 1.5748 * v, y + 1.8556 * u
            green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
            yield np.clip(np.stack([red, green, blue], -1), 0, 1) * 255


def _everywhere(chroma: np.ndarray) -> np.ndarray:
    """Twice as wide and high; between two rows, but on every other column."""
    tall = cv2.resize(chroma, (chroma.shape[1], 2 * chroma.shape[0]), interpolation=cv2.INTER_LINEAR)
    after = np.concatenate([tall[:, 1:], tall[:, -1:]], axis=1)
    return np.stack([tall, (tall + after) / 2], axis=2).reshape(len(tall), -1)


def spent(read, path: Path) -> float:
    """Processor milliseconds a frame."""
    started, count = time.process_time(), 0
    for _ in read(path):
        count += 1
    return (time.process_time() - started) * 1e3 / count


def errors(read, path: Path) -> dict[str, float]:
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
    values = {
        "claim": "read_cpu",
        "ours": round(mine, 2),
        "peer": round(theirs, 2),
        "peer_name": 'PyAV, frame.to_ndarray(format="rgb24")',
        "ratio": round(mine / theirs, 3),
        "unit": "processor ms a frame, 1280x720 H.264 to RGB",
        "better": "lower",
        "peer_told_to_be_exact": round(exact, 2),
        "error_levels": off,
        "hardware": f"CPU, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": {"python": platform.python_version(), "av": av.__version__, "opencv": cv2.__version__},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": "python benchmarks/read.py",
    }
    (Path(__file__).parent / "results" / "read_cpu.json").write_text(json.dumps(values, indent=2) + "\n")
    print(json.dumps(values, indent=2))


if __name__ == "__main__":
    main()
