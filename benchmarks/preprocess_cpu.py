"""Frames a second from a clip to pose, face crops and drawn skeleton: ours against ComfyUI-WanAnimatePreprocess.

The same 1280x720 clip of the drawn dancer, the same two ONNX graphs, the same CPU. The graphs find the dancer from the
pixels at a coarse step and take almost no time, so that the code around the networks is measured. The peer runs its
nodes as a graph calls them: the clip as an IMAGE tensor through the host's video loading, Pose and Face Detection, Draw
ViT Pose. Ours: the clip opened, detected, then faces and skeletons read ahead by segment. The two take turns, medians
count, and their keypoints are compared.

``python benchmarks/preprocess_cpu.py --peer CHECKOUT`` with a clone of kijai/ComfyUI-WanAnimatePreprocess (or the
environment variable PREPROCESS_PEER), a ComfyUI on this machine, and matplotlib. Writes
``results/preprocess_cpu.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402

if TYPE_CHECKING:
    from wan_animate.detect.detector import PoseDetector

WIDTH, HEIGHT, FRAMES, SEGMENT, ROUNDS = 1280, 720, 120, 40, 5


def make_clip(path: Path) -> np.ndarray:
    """Writes the dancer's clip; the true keypoints ``[T, 133, 3]``."""
    from demo.figure import draw_figure, figure_keypoints
    from wan_animate.video.frames import TensorSource
    from wan_animate.video.write import write_video

    truth = np.stack([figure_keypoints(at / 30, WIDTH, HEIGHT) for at in range(FRAMES)])
    frames = np.stack([draw_figure(points, WIDTH, HEIGHT) for points in truth])
    write_video(path, TensorSource(frames, Fraction(30)), crf=14)
    return truth


def our_turn(clip: Path, detector: PoseDetector) -> tuple[float, np.ndarray]:
    from wan_animate.face.boxes import face_boxes
    from wan_animate.face.crop import FaceCropSource
    from wan_animate.pose.draw import DrawnPoseSource
    from wan_animate.video.frames import read_ahead
    from wan_animate.video.source import VideoSource

    started = time.perf_counter()
    frames = VideoSource(clip, fps=0)
    track = detector.detect(frames).track
    boxes, found = face_boxes(track)
    sources = FaceCropSource(frames, boxes, found=found), DrawnPoseSource(track)
    for _ in zip(*(read_ahead(source, SEGMENT, depth=1) for source in sources)):
        pass
    return time.perf_counter() - started, track.keypoints


def peers_turn(clip: Path, peer: ModuleType, model: dict[str, Any]) -> tuple[float, np.ndarray]:
    from comfy_api.latest import InputImpl

    started = time.perf_counter()
    images = InputImpl.VideoFromFile(str(clip)).get_components().images
    pose, *_ = peer.PoseAndFaceDetection().process(model, images, WIDTH, HEIGHT)
    peer.DrawViTPose().process(pose, WIDTH, HEIGHT, -1, -1, True, 0)
    seconds = time.perf_counter() - started
    keypoints = np.zeros((len(images), 133, 3), np.float32)
    for at, meta in enumerate(pose["pose_metas_original"]):
        for name, part in (("face", slice(22, 91)), ("left_hand", slice(91, 112)), ("right_hand", slice(112, 133))):
            keypoints[at, part] = meta[f"keypoints_{name}"] * (WIDTH, HEIGHT, 1)
    return seconds, keypoints


def load_peer(checkout: Path) -> tuple[ModuleType, ModuleType]:
    """Its ``nodes.py`` and ``models/onnx_models.py``, as the host would load them."""
    spec = importlib.util.spec_from_file_location(
        "preprocess_peer", checkout / "__init__.py", submodule_search_locations=[str(checkout)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["preprocess_peer"] = package
    spec.loader.exec_module(package)
    return sys.modules["preprocess_peer.nodes"], sys.modules["preprocess_peer.models.onnx_models"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=os.environ.get("PREPROCESS_PEER"), help="checkout of the peer")
    checkout = parser.parse_args().peer
    if not checkout:
        parser.error("give --peer CHECKOUT")
    from demo import host as host_module
    from demo.small_onnx import save_detector, save_pose
    from wan_animate.detect.detector import PoseDetector

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        host = host_module.require_host()
        (folder / "base" / "models").mkdir(parents=True)
        host_module.load_in_process(host, folder / "base")
        peer, networks = load_peer(Path(checkout).absolute())
        truth = make_clip(folder / "clip.mp4")
        save_detector(folder / "d.onnx", step=8)
        save_pose(folder / "p.onnx", step=2)
        detector = PoseDetector(folder / "d.onnx", folder / "p.onnx", "cpu")
        cpu = "CPUExecutionProvider"
        model = {
            "yolo": networks.Yolo(str(folder / "d.onnx"), cpu),
            "vitpose": networks.ViTPose(str(folder / "p.onnx"), cpu),
        }
        times: dict[str, list[float]] = {"ours": [], "peer": []}
        for _ in range(ROUNDS):
            seconds, mine = our_turn(folder / "clip.mp4", detector)
            times["ours"].append(seconds)
            seconds, theirs = peers_turn(folder / "clip.mp4", peer, model)
            times["peer"].append(seconds)
            print(f"ours {FRAMES / times['ours'][-1]:.1f}, peer {FRAMES / times['peer'][-1]:.1f} frames a second")
    compared = slice(23, 133)
    apart = np.linalg.norm(mine[:, compared, :2] - theirs[:, compared, :2], axis=-1)
    errors = [
        float(np.linalg.norm(one[:, compared, :2] - truth[:, compared, :2], axis=-1).mean()) for one in (mine, theirs)
    ]
    print(f"apart: median {np.median(apart):.2f}, 99% within {np.percentile(apart, 99):.2f} px; "
          f"mean distance from the truth: ours {errors[0]:.2f}, peer {errors[1]:.2f} px")  # fmt: skip
    write_result(times, apart, errors)


def write_result(times: dict[str, list[float]], apart: np.ndarray, errors: list[float]) -> None:
    ours, peer = (FRAMES / float(np.median(times[name])) for name in ("ours", "peer"))
    results.record(
        "preprocess_cpu",
        ours,
        peer,
        peer_name="kijai/ComfyUI-WanAnimatePreprocess, its nodes on the same clip and ONNX graphs",
        unit="frames a second, 1280x720 clip to pose, face crops and skeleton, small known-answer graphs",
        better="higher",
        versions=results.versions("numpy", "cv2", "onnxruntime"),
        digits=1,
        keypoints_apart_px={
            "median": round(float(np.median(apart)), 3),
            "p99": round(float(np.percentile(apart, 99)), 3),
        },
        mean_error_px={"ours": round(errors[0], 3), "peer": round(errors[1], 3)},
    )


if __name__ == "__main__":
    main()
