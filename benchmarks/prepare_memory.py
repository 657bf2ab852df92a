"""Peak memory of preparing a long clip (read, detect, draw, crop, mask), segment by segment.

Prepares generated 1280x720 clips of 600 and 1,200 frames, each in its own process, and samples the growth of its
resident memory from just before the clip is opened. A segment's pose, face, mask and background are held at once, as a
segment needs them. The networks are small graphs of the real shapes, so that the pipeline grows and not the weights.
Two more processes compare 96 frames prepared so with the same steps over IMAGE tensors (every frame of every control
as float32, as the usual node graphs hold them).

Writes ``results/prepare_memory.json`` (1,200 frames against 600) and ``results/prepare_memory_tensors.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

from benchmarks import results  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 1280, 720
SEGMENT, OVERLAP = 77, 1
SHORT = 96  # frames of the comparison with tensors
MIB = 1 << 20


class Growth:
    """Peak resident memory over the start, sampled every 2 ms, in MiB."""

    def __enter__(self) -> Growth:
        import psutil

        self._process, self._running = psutil.Process(), True
        self._start = self._peak = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._running:
            self._peak = max(self._peak, self._process.memory_info().rss)
            time.sleep(0.002)

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._running = False
        self._thread.join()
        self.mib = (self._peak - self._start) / MIB


def make_clip(path: Path, frames: int) -> None:
    """A clip of the dancer; two seconds of it, over and over."""
    import numpy as np

    from demo.figure import draw_figure, figure_keypoints
    from wan_animate.video.frames import FrameSource
    from wan_animate.video.write import write_video

    class Loop(FrameSource):
        width, height, fps = WIDTH, HEIGHT, Fraction(30)
        drawn = [draw_figure(figure_keypoints(at / 30, WIDTH, HEIGHT), WIDTH, HEIGHT) for at in range(60)]

        def __len__(self) -> int:
            return frames

        def _read(self, start: int, stop: int) -> np.ndarray:
            return np.stack([self.drawn[index % 60] for index in range(start, stop)])

        def fingerprint(self) -> str:
            return "loop"

    write_video(path, Loop(), crf=23)


def prepare(clip: Path, graphs: Path, as_tensors: bool) -> dict:
    import numpy as np

    from wan_animate.detect.detector import PoseDetector
    from wan_animate.face.boxes import face_boxes
    from wan_animate.face.crop import FaceCropSource
    from wan_animate.mask.background import BackgroundSource
    from wan_animate.mask.from_pose import PoseMaskSource
    from wan_animate.mask.shape import ShapedMaskSource
    from wan_animate.mask.track import MaskTrack, MaskTrackSource
    from wan_animate.pose.draw import DrawnPoseSource
    from wan_animate.video.frames import FrameSource, TensorSource, read_float
    from wan_animate.video.source import VideoSource

    detector = PoseDetector(graphs / "detector.onnx", graphs / "pose.onnx", provider="cpu")
    detector.find_keypoints(
        np.zeros((8, HEIGHT, WIDTH, 3), np.uint8), np.tile(np.array([0, 0, 640, 720, 1], np.float32), (8, 1))
    )
    started = time.perf_counter()
    with Growth() as growth:
        frames: FrameSource = VideoSource(clip, fps=0, max_area=WIDTH * HEIGHT)
        if as_tensors:
            frames = TensorSource(read_float(frames, 0, len(frames)))
        track = detector.detect(frames, batch=8).track
        pose = DrawnPoseSource(track)
        face = FaceCropSource(frames, *face_boxes(track))
        mask = ShapedMaskSource(MaskTrackSource(MaskTrack.from_source(PoseMaskSource(track))), w_len=10, h_len=20)
        background = BackgroundSource(frames, mask)
        controls = (pose, face, mask, background)
        if as_tensors:
            tensors = [read_float(source, 0, len(source)) for source in controls]
            segments = 1
            del tensors
        else:
            segments = 0
            for start in range(0, len(frames), SEGMENT - OVERLAP):
                held = [source.read(start, min(start + SEGMENT, len(frames))) for source in controls]
                segments += 1
                del held  # before the next is read
    return {"frames": len(frames), "segments": segments, "mib": growth.mib, "seconds": time.perf_counter() - started}


def in_own_process(clip: Path, graphs: Path, as_tensors: bool = False) -> dict:
    command = [sys.executable, __file__, "--child", str(clip), str(graphs), *(["--tensors"] if as_tensors else [])]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = json.loads(result.stdout.splitlines()[-1])
    kind = "tensors" if as_tensors else "sources"
    print(
        f"{measured['frames']:5d} frames as {kind}: +{measured['mib']:.0f} MiB, {measured['seconds']:.0f} s", flush=True
    )
    return measured


def main() -> None:
    from demo.small_onnx import save_detector, save_pose

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_detector(folder / "detector.onnx", template=True)
        save_pose(folder / "pose.onnx", template=True)
        clips = {frames: folder / f"{frames}.mp4" for frames in (SHORT, 600, 1200)}
        for frames, path in clips.items():
            make_clip(path, frames)
        half, whole = in_own_process(clips[600], folder), in_own_process(clips[1200], folder)
        short, tensors = in_own_process(clips[SHORT], folder), in_own_process(clips[SHORT], folder, as_tensors=True)
    for claim, ours, peer, peer_name in (
        (
            "prepare_memory",
            whole,
            half,
            "the same preparation of 600 frames (ours: 1,200), 1280x720, segments of 77",
        ),
        (
            "prepare_memory_tensors",
            short,
            tensors,
            f"the same steps with frames and controls as float32 IMAGE tensors, {SHORT} frames of 1280x720",
        ),
    ):
        results.record(
            claim,
            ours["mib"],
            peer["mib"],
            peer_name=peer_name,
            unit="MiB of peak resident memory over the start",
            versions=results.versions("numpy", "cv2", "onnxruntime", "torch"),
            digits=1,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, metavar=("CLIP", "GRAPHS"), help=argparse.SUPPRESS)
    parser.add_argument("--tensors", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        clip, graphs = arguments.child
        print(json.dumps(prepare(Path(clip), Path(graphs), arguments.tensors)))
    else:
        main()
