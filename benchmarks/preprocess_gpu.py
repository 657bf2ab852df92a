"""Frames a second of the whole of detection, against the two networks alone.

Builds graphs of YOLOv10m's and ViTPose's shapes and arithmetic (59 GFLOP an image of 640x640; ViT-L or ViT-H on
256x192) with random weights: the boxes and joints are known, the time is that of the real networks. Measures the
networks alone, fed from memory at several batch sizes, in turn and both at once, and takes the best; the same fed from
GPU memory; then detect() on a 1280x720 clip, with decoding. Needs onnxruntime-gpu; ``--small`` runs the same on a CPU
in little time.

Writes ``results/detect_gpu.json`` (not with ``--small``). ``--room`` instead takes most of the first card's memory, and
shows on which of several cards the detector and SAM 2 then run, and that they find what they find on the first; it
writes nothing.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks import results  # noqa: E402

if TYPE_CHECKING:
    from wan_animate.detect.onnx_model import OnnxModel

SHAPES = (3, 640, 640), (3, 256, 192)
VITS = {"l": (1024, 24, 16), "h": (1280, 32, 16), "small": (64, 2, 2)}  # width, depth, heads
# channels, size halved, convolutions of 3x3: 29.9 GMAC in all
STAGES = ((48, True, 1), (96, True, 5), (192, True, 5), (384, True, 4), (576, True, 3))
SMALL_STAGES = ((8, True, 1), (8, True, 1), (8, True, 1))


class Net:
    """An ONNX graph of float32 weights, saved as external data."""

    def __init__(self, seed: int):
        from demo.small_onnx import Builder

        self.graph, self.rng = Builder(), np.random.default_rng(seed)
        self.op = self.graph.op

    def weights(self, *shape: int, fan_in: int) -> str:
        drawn = self.rng.standard_normal(shape, dtype=np.float32)
        drawn *= np.float32((1.0 / fan_in) ** 0.5)
        return self.graph.constant(drawn)

    def convolved(self, x: str, inputs: int, outputs: int, stride: int) -> str:
        kernel = self.weights(outputs, inputs, 3, 3, fan_in=9 * inputs)
        x = self.op("Conv", x, kernel, np.zeros(outputs), strides=[stride, stride], pads=[1, 1, 1, 1])
        return self.op("Mul", x, self.op("Sigmoid", x))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weights(inputs, outputs, fan_in=inputs)), np.zeros(outputs))

    def normed(self, x: str, width: int) -> str:
        return self.op("LayerNormalization", x, np.ones(width), np.zeros(width), axis=-1)


def save_yolo(path: Path, stages: Sequence[tuple[int, bool, int]]) -> None:
    net = Net(1)
    x, channels = "input", 3
    for outputs, halved, count in stages:
        for number in range(count):
            x = net.convolved(x, channels, outputs, 2 if halved and number == 0 else 1)
            channels = outputs
    nothing = net.op("Mul", net.op("ReduceMean", x, axes=[1, 2, 3], keepdims=0), 0.0)
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = 220, 60, 420, 620, 0.9, 0
    rows[0, 1:, 2:4] = 20
    result = net.op("Add", net.graph.reshape(nothing, -1, 1, 1), rows)
    net.graph.save(path, result, ["batch", 3, 640, 640], ["batch", 300, 6], external=True)


def save_vit(path: Path, width: int, depth: int, heads: int) -> None:
    net = Net(2)
    op, reshape = net.op, net.graph.reshape
    patches = op("Conv", "input", net.weights(width, 3, 16, 16, fan_in=768), strides=[16, 16])
    x = op("Transpose", reshape(patches, -1, width, 192), perm=[0, 2, 1])
    x = op("Add", x, net.weights(1, 192, width, fan_in=2500))
    size = width // heads
    for _ in range(depth):
        normed = net.normed(x, width)
        q, k, v = (reshape(net.linear(normed, width, width), -1, 192, heads, size) for _ in range(3))
        q, v = (op("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
        k = op("Transpose", k, perm=[0, 2, 3, 1])
        looked = op("Softmax", op("Mul", op("MatMul", q, k), size**-0.5), axis=-1)
        mixed = reshape(op("Transpose", op("MatMul", looked, v), perm=[0, 2, 1, 3]), -1, 192, width)
        x = op("Add", x, net.linear(mixed, width, width))
        wide = net.linear(net.normed(x, width), width, 4 * width)
        gelu = op("Mul", op("Mul", wide, 0.5), op("Add", op("Erf", op("Mul", wide, 2**-0.5)), 1.0))
        x = op("Add", x, net.linear(gelu, 4 * width, width))
    x = reshape(op("Transpose", net.normed(x, width), perm=[0, 2, 1]), -1, width, 16, 12)
    middle = min(width, 256)
    for inputs in (width, middle):
        kernel = net.weights(inputs, middle, 4, 4, fan_in=4 * inputs)
        x = op("Relu", op("ConvTranspose", x, kernel, strides=[2, 2], pads=[1, 1, 1, 1]))
    noise = op("Mul", op("Conv", x, net.weights(133, middle, 1, 1, fan_in=middle)), 1e-4)
    # peaks like a trained network's: noise is decoded on a slow path that no real clip takes
    rows, columns = np.mgrid[:64, :48]
    at = np.random.default_rng(3).uniform((8, 8), (56, 40), (133, 2))[:, :, None, None]
    peaks = 0.9 * np.exp(-((rows - at[:, 0]) ** 2 + (columns - at[:, 1]) ** 2) / 8)
    maps = op("Add", noise, peaks[None])
    net.graph.save(path, maps, ["batch", 3, 256, 192], ["batch", 133, 64, 48], external=True)


def pictures(graph: OnnxModel, shape: tuple[int, ...], batch: int, on_card: bool) -> np.ndarray | torch.Tensor:
    images = np.random.default_rng(0).random((batch, *shape), np.float32)
    return torch.from_numpy(images).to(graph.device) if on_card else images


def rate_alone(graph: OnnxModel, images: np.ndarray | torch.Tensor, seconds: float) -> float:
    """Images a second of one network, fed from memory or on the card."""
    for _ in range(2):
        graph.run(images)
    started, runs = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        graph.run(images)
        runs += 1
    return runs * len(images) / (time.perf_counter() - started)


def rate_together(graphs: Sequence[OnnxModel], inputs: Sequence[np.ndarray | torch.Tensor], frames: int) -> float:
    """Frames a second when both networks run at once, each in a thread, on as many frames."""
    batch = len(inputs[0])

    def work(graph: OnnxModel, images: np.ndarray | torch.Tensor) -> None:
        for _ in range(max(frames // batch, 1)):
            graph.run(images)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(graphs, inputs)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(frames // batch, 1) * batch / (time.perf_counter() - started)


def networks(graphs: Sequence[OnnxModel], options: argparse.Namespace, on_card: bool) -> tuple[float, int]:
    """The best rate of both networks for a frame, and its batch."""
    best, best_batch = 0.0, 0
    for batch in options.batches:
        inputs = [pictures(graph, shape, batch, on_card) for graph, shape in zip(graphs, SHAPES)]
        for graph in graphs:
            graph.begin()  # this batch is no shorter one of the last, to be filled up
        alone = [rate_alone(*pair, options.seconds) for pair in zip(graphs, inputs)]
        in_turn = 1 / sum(1 / rate for rate in alone)
        together = rate_together(graphs, inputs, options.frames)
        print(
            f"{'on the card' if on_card else 'from memory'}, batch {batch:3d}: detector {alone[0]:7.1f}, pose "
            f"{alone[1]:7.1f}, in turn {in_turn:7.1f}, at once {together:7.1f} frames a second",
            flush=True,
        )
        if max(in_turn, together) > best:
            best, best_batch = max(in_turn, together), batch
    return best, best_batch


class Stages:
    """How long every stage of detect() works on a frame, without waiting for the stage before it. Patched around the
    threads of the stages; the last stage, reading the heatmaps, is the caller's own thread."""

    def __init__(self) -> None:
        self.made: dict[str, float] = {}  # seconds the thread of this name spent, waiting included
        self.waited: dict[str, float] = {}  # ... and its consumer on it

    def _timed(self, items: Any, spent: dict[str, float], name: str) -> Iterator[Any]:
        try:
            while True:
                started = time.perf_counter()
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    spent[name] += time.perf_counter() - started
                yield item
        finally:
            items.close()

    @contextmanager
    def watching(self) -> Iterator[None]:
        from wan_animate.detect import detector
        from wan_animate.video import frames as prefetch

        real = prefetch.ahead

        def ahead(source: Any, depth: int = 1, name: str = "ahead") -> Iterator[Any]:
            self.made[name] = self.waited[name] = 0.0
            return self._timed(real(self._timed(source, self.made, name), depth, name), self.waited, name)

        with mock.patch.object(prefetch, "ahead", ahead), mock.patch.object(detector, "ahead", ahead):
            yield

    def say(self, frames: int, seconds: float) -> None:
        names = list(self.made)
        busy = {name: self.made[name] - self.waited.get(before, 0) for before, name in zip(["", *names], names)}
        busy["heatmaps"] = seconds - self.waited[names[-1]]
        print("  ms a frame: " + ", ".join(f"{name} {spent * 1e3 / frames:.2f}" for name, spent in busy.items()))


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.prepare_memory import make_clip
    from wan_animate import workers
    from wan_animate.detect.detector import PoseDetector
    from wan_animate.video.source import VideoSource

    vit = "small" if options.small else options.vit
    save_yolo(folder / "yolo.onnx", SMALL_STAGES if options.small else STAGES)
    save_vit(folder / "vit.onnx", *VITS[vit])
    make_clip(folder / "clip.mp4", options.frames)
    print(f"ViTPose-{vit}: graphs and a clip of {options.frames} frames written", flush=True)
    detector = PoseDetector(folder / "yolo.onnx", folder / "vit.onnx", options.provider)
    print(f"runs on {detector.provider}", flush=True)
    graphs = detector.person_network, detector.pose_network
    best, best_batch = networks(graphs, options, False)
    best_on_card = networks(graphs, options, True)[0] if graphs[0].device is not None else None
    rates = {}
    batches = {best_batch, 8, 16} if not options.small else {best_batch}
    for batch, threads in itertools.product(sorted(batches), options.threads or [workers.COUNT]):
        workers.COUNT = threads
        workers.pool.cache_clear()
        detector.detect(VideoSource(folder / "clip.mp4", fps=0, limit=4 * batch), batch=batch)
        source, stages = VideoSource(folder / "clip.mp4", fps=0), Stages()
        with stages.watching():
            started = time.perf_counter()
            detector.detect(source, batch=batch)
            seconds = time.perf_counter() - started
        rates[batch, threads] = len(source) / seconds
        print(f"detect(), batch {batch}, {threads} threads: {len(source) / seconds:.1f} frames a second", flush=True)
        stages.say(len(source), seconds)
    started = time.perf_counter()
    source = VideoSource(folder / "clip.mp4", fps=0)
    for _ in source.batches(8):
        pass
    print(f"decoding alone: {len(source) / (time.perf_counter() - started):.1f} frames a second")
    batch, threads = max(rates, key=lambda pair: rates[pair])
    return {
        "ours": rates[batch, threads],
        "peer": best,
        "batch": {"ours": batch, "peer": best_batch},
        "by_batch": {str(size): round(rate, 1) for (size, used), rate in rates.items() if used == threads},
        "threads": threads,
        "networks_fed_on_the_card": best_on_card and round(best_on_card, 1),
        "provider": detector.provider,
        "network": f"ViTPose-{vit}",
    }


def room(folder: Path, options: argparse.Namespace) -> None:
    """The choice among several cards, in use. Raises SystemExit where it is wrong."""
    from benchmarks.prepare_memory import make_clip
    from demo.small_sam2 import FILE
    from wan_animate.detect.detector import PoseDetector
    from wan_animate.mask.prompts import Prompt
    from wan_animate.mask.segmentation import Segmenter
    from wan_animate.parallel.roomiest import card_with_room, free_memory
    from wan_animate.video.source import VideoSource

    if torch.cuda.device_count() < 2:
        raise SystemExit(f"--room takes two cards or more, and there are {torch.cuda.device_count()}.")
    save_yolo(folder / "yolo.onnx", STAGES)
    save_vit(folder / "vit.onnx", *VITS[options.vit])
    make_clip(folder / "clip.mp4", 64)
    first, found, masks = torch.device("cuda", 0), [], []
    taken = torch.empty(int(0.8 * free_memory(first)), dtype=torch.uint8, device=first)
    chosen = card_with_room("cuda", "The pose detector")
    if chosen in (first, torch.device("cuda")):
        raise SystemExit("the first card was chosen, of whose memory most is taken.")
    clip = VideoSource(folder / "clip.mp4", fps=0)
    where = Prompt(0, np.array([[clip.width / 2, clip.height / 2]], np.float32), np.ones(1, np.int64))
    for card in (chosen, first):
        if card == first:
            del taken
            torch.cuda.empty_cache()
        before = free_memory(card)
        detector = PoseDetector(
            folder / "yolo.onnx", folder / "vit.onnx", "cuda", functools.partial(getattr, card, "index")
        )
        found.append(detector.detect(clip, batch=8).track.keypoints)
        used = before - free_memory(card)
        print(f"detector: asked for {card}, runs on {detector.person_network.device} with {detector.provider}, "
              f"{used / 1e9:.2f} GB of {card}", flush=True)  # fmt: skip
        if detector.person_network.device != card or used < 100e6:
            raise SystemExit(f"the detector is not on {card}.")
        detector.close()
        segmenter = Segmenter(FILE, first)
        segmenter.move(card)
        masks.append(segmenter.segment(clip, [where]).read(0, len(clip)))
        segmenter.close()
    apart = float(np.abs(found[0] - found[1]).max())
    print(f"keypoints at most {apart:.4f} apart, masks in {(masks[0] != masks[1]).mean():.2e} of their pixels")


def write_result(values: dict[str, Any], small: bool) -> None:
    results.record(
        "detect_gpu",
        **values,
        peer_name="the two networks alone, fed from memory, at their best batch size",
        unit="frames a second, 1280x720 clip to keypoints",
        better="higher",
        versions=results.versions("onnxruntime"),
        hardware=f"{results.gpu() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        digits=1,
        write=not small,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the script on a CPU")
    parser.add_argument("--vit", choices=["l", "h"], default="l")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", help="to try: threads for single frames (workers.COUNT)")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each network alone is measured")
    parser.add_argument("--room", action="store_true", help="which of several cards is chosen, and that it works there")
    options = parser.parse_args()
    options.frames = options.frames or (48 if options.small else 1200)
    options.batches = options.batches or ([1, 8] if options.small else [1, 4, 8, 16, 32])
    if options.small:
        options.seconds = min(options.seconds, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        if options.room:
            room(Path(folder), options)
            sys.exit()
        result = measure(Path(folder), options)
    write_result(result, options.small)
