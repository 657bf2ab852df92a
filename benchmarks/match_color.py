"""Match Color against color-matcher, the library of KJNodes' ColorMatch: CPU time a frame, and peak memory of a clip.

Both give the frames of one 832x464 clip the colours of a picture, on one core. Ours reads 8-bit frames, measures them,
and changes them eight at a time; the peer is called a frame at a time on float32 frames, as the node calls it, and its
frames are stacked into one IMAGE. Time is the process's CPU time, the clip being in memory; memory is the growth of a
process that decodes the clip and hands the frames on (ours: each of them; the peer: the IMAGE). The difference of both
results is in levels of 255.

Without color-matcher (``pip install color-matcher``) the peer are the same formulas in NumPy and OpenCV.

    python benchmarks/match_color.py
    python benchmarks/match_color.py --small   # a few frames; writes nothing

Writes ``results/match_color.json`` and ``results/match_color_memory.json``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import color_formulas, results  # noqa: E402
from benchmarks.prepare_memory import Growth  # noqa: E402
from wan_animate.color.match import match_color  # noqa: E402
from wan_animate.video.frames import FrameSource, TensorSource, read_float  # noqa: E402
from wan_animate.video.picture import read_picture  # noqa: E402
from wan_animate.video.source import VideoSource  # noqa: E402

AREA, FRAMES, ROUNDS = 832 * 464, 96, 5
PEERS = {"mkl": "mkl", "reinhard_lab": "reinhard", "histogram": "hm"}
Match = Callable[[np.ndarray, np.ndarray], np.ndarray]  # frame and reference, float32 [H, W, 3]


def color_matcher(method: str) -> Match:
    from color_matcher import ColorMatcher

    # copied: it writes into what it is given
    return lambda frame, reference: ColorMatcher().transfer(src=frame.copy(), ref=reference.copy(), method=method)


def formula(method: str) -> Match:
    return {"mkl": color_formulas.transport, "reinhard": color_formulas.mean_and_deviation, "hm": _histograms}[method]


def _histograms(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    out = np.empty_like(frame)
    for channel in range(3):
        here, there = frame[..., channel], reference[..., channel]
        _, place, counts = np.unique(here, return_inverse=True, return_counts=True)
        levels, wanted = np.unique(there, return_counts=True)
        ranks = np.interp(np.cumsum(counts) / here.size, np.cumsum(wanted) / there.size, levels)
        out[..., channel] = ranks[place].reshape(here.shape)
    return out


def peer() -> tuple[str, Callable[[str], Match]]:
    """Its name, and its way of each method."""
    if results.version_of("color-matcher"):
        return "color-matcher, as KJNodes' ColorMatch calls it", color_matcher
    return "the formulas in NumPy and OpenCV, a frame at a time", formula


def ours(clip: FrameSource, reference: FrameSource, method: str, count: int) -> list[np.ndarray]:
    source = match_color(clip, reference, method)
    return [frames for _, _, frames in source.batches(8, 0, count)]


def theirs(clip: np.ndarray, reference: np.ndarray, method: str) -> torch.Tensor:
    match = peer()[1](PEERS[method])
    return torch.stack([torch.from_numpy(match(frame, reference)) for frame in clip]).float().clamp_(0, 1)


def speed(clip: FrameSource, reference: FrameSource, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """By method: CPU milliseconds a frame of both, and their difference in levels of 255."""
    frames = clip.read(0, count)
    given, wanted = TensorSource(frames), read_float(reference, 0, 1)[0].numpy()
    floats = read_float(given, 0, count).numpy()
    found = {}
    for method in PEERS:
        spent: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds + 1):  # the first warms up
            started = time.process_time()
            mine = ours(given, reference, method, count)
            between = time.process_time()
            other = theirs(floats, wanted, method)
            ended = time.process_time()
            if turn:
                spent[0].append((between - started) / count * 1e3)
                spent[1].append((ended - between) / count * 1e3)
        alone = match_color(TensorSource(floats), reference, method, smooth=0)
        off = np.abs(alone.read(0, 8) - other[:8].numpy()) * 255
        found[method] = {
            "ours": round(float(np.median(spent[0])), 2),
            "peer": round(float(np.median(spent[1])), 2),
            "difference_mean": round(float(off.mean()), 3),
            "difference_largest": round(float(off.max()), 2),
        }
        print(f"{method}: {found[method]}", flush=True)
        del mine, other
    return found


def memory(video: Path, picture: Path, who: str, count: int) -> float:
    """MiB that this process grows by."""
    reference = TensorSource(read_picture(picture)[None])
    with Growth() as growth:
        clip = VideoSource(video, max_area=AREA, limit=count)
        if who == "ours":
            for _ in match_color(clip, reference).batches(8):
                pass
        else:
            image = read_float(clip, 0, count)
            theirs(image.numpy(), read_float(reference, 0, 1)[0].numpy(), "mkl")
    return growth.mib


def memory_of(video: Path, picture: Path, who: str, count: int) -> float:
    command = [sys.executable, __file__, "--child", who, str(count), str(video), str(picture)]
    out = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return float(json.loads(out.stdout.splitlines()[-1]))


def main(small: bool) -> None:
    from demo.example import clip_at_hand

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    count, rounds = (8, 1) if small else (FRAMES, ROUNDS)
    name, _ = peer()
    with tempfile.TemporaryDirectory() as folder:
        video, picture, _ = clip_at_hand(Path(folder))
        clip, reference = VideoSource(video, max_area=AREA, limit=count), TensorSource(read_picture(picture)[None])
        by_method = speed(clip, reference, min(count, 16), rounds)
        grown = {who: memory_of(video, picture, who, len(clip)) for who in ("ours", "peer")}
    size = f"{clip.width}x{clip.height}"
    versions = results.versions("torch", "numpy", "kornia") | {"color-matcher": results.version_of("color-matcher")}
    record = functools.partial(results.record, versions=versions, hardware=results.cpu(1), write=not small)
    record(
        "match_color",
        by_method["mkl"]["ours"],
        by_method["mkl"]["peer"],
        peer_name=f"{name}, method mkl",
        unit=f"CPU ms a frame, {size}",
        digits=2,
        by_method=by_method,
    )
    record(
        "match_color_memory",
        grown["ours"],
        grown["peer"],
        peer_name=f"{name}, whole clip as IMAGE",
        unit=f"MiB of peak resident memory over the start, {len(clip)} frames of {size}",
        digits=1,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few frames; writes nothing")
    parser.add_argument("--child", nargs=4, metavar=("WHO", "COUNT", "VIDEO", "PICTURE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        who, count, video, picture = arguments.child
        print(json.dumps(memory(Path(video), Path(picture), who, int(count))))
    else:
        main(arguments.small)
