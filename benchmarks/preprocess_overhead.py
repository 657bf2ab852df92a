"""CPU time of preparing a driving video without the two networks: ours against upstream's own functions.

Both get the same 1280x720 frames, detector output and heatmaps (of the known-answer graphs, run once beforehand), and
do the rest: the detector's input, its boxes, the crop, the pose network's input, the keypoints, the face box and crop
(512x512), the drawn skeleton. Ours includes finding cuts and telling people apart, which upstream does not do. Frames
take turns between the two. Counted is the process's CPU time, OpenCV on one thread.

``python benchmarks/preprocess_overhead.py --upstream CHECKOUT`` with a clone of Wan-Video/Wan2.2 (or the environment
variable WAN_UPSTREAM) and matplotlib. Writes ``results/preprocess_overhead_cpu.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from demo import importing  # noqa: E402

importing.install()

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks import results  # noqa: E402

if TYPE_CHECKING:
    from wan_animate.detect.inputs import Preprocessor
    from wan_animate.people.tracker import PersonTracker

WIDTH, HEIGHT, FRAMES, BATCH, ROUNDS = 1280, 720, 48, 8, 6
STAGES = ("detector input", "boxes", "cuts and people", "pose input", "heatmaps", "face", "drawing")


class Clock:
    """CPU milliseconds by stage."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)
        self._since = 0.0

    def start(self) -> None:
        self._since = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.process_time()
        self.spent[stage] += (now - self._since) * 1e3
        self._since = time.process_time()


def load_upstream(checkout: Path) -> tuple[ModuleType, ...]:
    """Upstream's modules: pose2d_utils, human_visualization, utils, pose2d."""
    folder = checkout / "wan" / "modules" / "animate" / "preprocess"
    sys.path.insert(0, str(folder))

    def load(file: str, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, folder / file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    pose_utils = load("pose2d_utils.py", "pose2d_utils")
    return pose_utils, load("human_visualization.py", "hv"), load("utils.py", "up_utils"), load("pose2d.py", "pose2d")


def upstreams_turn(
    modules: tuple[ModuleType, ...],
    yolo: Any,
    frame: np.ndarray,
    outputs: np.ndarray,
    heatmaps: np.ndarray,
    clock: Clock,
) -> np.ndarray:
    """One frame as ``Pose2d.__call__`` and ``process_pipepline.py`` treat it; returns keypoints ``[133, 3]``."""
    pose_utils, drawing, utils, pose2d = modules
    clock.start()
    _, shape = yolo.preprocess(frame)
    clock.lap("detector input")
    found = yolo.process_results(yolo.postprocess(outputs[None], shape), shape, cat_id=[1])
    box = found[0]["bbox"]
    clock.lap("boxes")
    _, centre, scale = pose2d.ViTPose.preprocess(frame, box)
    clock.lap("pose input")
    points, peaks = pose_utils.keypoints_from_heatmaps(
        heatmaps[None], centre[None], scale[None] * 200, unbiased=True, use_udp=False
    )
    keypoints = np.concatenate([points, peaks], axis=2)
    meta = pose_utils.load_pose_metas_from_kp2ds_seq(keypoints, width=WIDTH, height=HEIGHT)[0]
    clock.lap("heatmaps")
    x1, x2, y1, y2 = utils.get_face_bboxes(meta["keypoints_face"][:, :2], scale=1.3, image_shape=(HEIGHT, WIDTH))
    cv2.resize(frame[y1:y2, x1:x2], (512, 512))
    clock.lap("face")
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    drawing.draw_aapose_by_meta_new(canvas, pose_utils.AAPoseMeta.from_humanapi_meta(meta))
    clock.lap("drawing")
    return keypoints[0]


@dataclass
class OurClip:
    """What our side keeps of the clip ``images`` between batches."""

    images: np.ndarray
    tracker: PersonTracker
    inputs: tuple[Preprocessor, Preprocessor]  # of the detector and the pose network
    keypoints: list[np.ndarray] = field(default_factory=list)


def our_turn(clip: OurClip, images: np.ndarray, outputs: np.ndarray, heatmaps: np.ndarray, clock: Clock) -> np.ndarray:
    """A batch; returns keypoints ``[N, 133, 3]``."""
    from wan_animate.detect.heatmaps import keypoints_from_heatmaps
    from wan_animate.detect.inputs import crop_people, crop_regions, resize_frames
    from wan_animate.face.boxes import face_boxes
    from wan_animate.face.crop import FaceCropSource
    from wan_animate.people.boxes import detect_people
    from wan_animate.pose.draw import DrawnPoseSource
    from wan_animate.pose.track import PoseTrack
    from wan_animate.video.frames import TensorSource

    clock.start()
    _, small = resize_frames(clip.inputs[0], images)
    clock.lap("detector input")
    scale = WIDTH / 640, HEIGHT / 640
    found = detect_people(outputs, small, scale, WIDTH, HEIGHT)
    clock.lap("boxes")
    boxes = clip.tracker.update(found, small)
    clock.lap("cuts and people")
    regions = crop_regions(boxes[:, :4], 192, 256)
    crop_people(clip.inputs[1], images, regions)
    clock.lap("pose input")
    keypoints = keypoints_from_heatmaps(heatmaps, regions)
    clock.lap("heatmaps")
    track = PoseTrack(keypoints, WIDTH, HEIGHT, Fraction(30), boxes)
    clip.keypoints.append(keypoints)
    if len(clip.keypoints) * BATCH == FRAMES:  # the face's box comes from the whole track
        face, known = face_boxes(PoseTrack(np.concatenate(clip.keypoints), WIDTH, HEIGHT, Fraction(30)))
        faces = FaceCropSource(TensorSource(clip.images), face, found=known)
        for _ in faces.batches(BATCH):
            pass
    clock.lap("face")
    DrawnPoseSource(track).read(0, len(images))
    clock.lap("drawing")
    return keypoints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", default=os.environ.get("WAN_UPSTREAM"), help="checkout of Wan-Video/Wan2.2")
    checkout = parser.parse_args().upstream
    if not checkout:
        parser.error("give --upstream CHECKOUT")
    cv2.setNumThreads(1)
    from demo.figure import draw_figure, figure_keypoints
    from demo.small_onnx import save_detector, save_pose
    from wan_animate.detect.detector import PoseDetector
    from wan_animate.detect.inputs import crop_people, crop_regions, detector_inputs, pose_inputs, resize_frames
    from wan_animate.people.choosing import PersonChoice
    from wan_animate.people.tracker import PersonTracker
    from wan_animate.video.frames import TensorSource

    modules = load_upstream(Path(checkout))
    truth = np.stack([figure_keypoints(at / 30, WIDTH, HEIGHT) for at in range(FRAMES)])
    images = np.stack([draw_figure(points, WIDTH, HEIGHT) for points in truth])
    with tempfile.TemporaryDirectory() as folder:
        save_detector(Path(folder) / "d.onnx")
        save_pose(Path(folder) / "p.onnx")
        detector = PoseDetector(Path(folder) / "d.onnx", Path(folder) / "p.onnx", "cpu")
        outputs = np.concatenate(
            [
                detector.person_network.run(resize_frames(detector_inputs((640, 640)), images[at : at + 8])[0])
                for at in range(0, FRAMES, 8)
            ]
        )
        boxes = np.stack([found.largest for found in detector.find_everybody(images)])
        regions = crop_regions(boxes[:, :4], 192, 256)
        heatmaps = np.concatenate(
            [
                detector.pose_network.run(
                    crop_people(pose_inputs((192, 256)), images[at : at + 8], regions[at : at + 8])
                )
                for at in range(0, FRAMES, 8)
            ]
        )

    yolo = modules[3].Yolo.__new__(modules[3].Yolo)
    for name, value in {
        "input_resolution": (640, 640), "input_width": 640, "input_height": 640, "threshold_multi_persons": 0.1,
        "threshold_conf": 0.05, "threshold_iou": 0.5, "threshold_bbox_shape_ratio": 0.4, "select_type": "max",
        "strict": True, "sorted_func": None,
    }.items():  # fmt: skip
        setattr(yolo, name, value)

    ours, peers, worst = Clock(), Clock(), 0.0
    for turn in range(ROUNDS + 1):
        if turn == 1:  # the first round warmed up
            ours, peers = Clock(), Clock()
        inputs = detector_inputs((640, 640)), pose_inputs((192, 256))
        clip = OurClip(images, PersonTracker(TensorSource(images), PersonChoice()), inputs)
        for start in range(0, FRAMES, BATCH):
            part = slice(start, start + BATCH)
            mine = our_turn(clip, images[part], outputs[part], heatmaps[part], ours)
            for at in range(start, start + BATCH):
                theirs = upstreams_turn(modules, yolo, images[at], outputs[at].copy(), heatmaps[at].copy(), peers)
                worst = max(worst, float(np.abs(mine[at - start, :, :2] - theirs[:, :2]).max()))
    count = ROUNDS * FRAMES
    print(f"{'ms a frame':18s}{'ours':>8s}{'upstream':>10s}")
    for stage in STAGES:
        print(f"{stage:18s}{ours.spent[stage] / count:8.2f}{peers.spent[stage] / count:10.2f}")
    write_result(sum(ours.spent.values()) / count, sum(peers.spent.values()) / count, worst)


def write_result(ours: float, peer: float, worst: float) -> None:
    results.record(
        "preprocess_overhead_cpu",
        ours,
        peer,
        peer_name="upstream's own functions on the same frames, detections and heatmaps (Wan-Video/Wan2.2)",
        unit="processor ms a frame beside the networks, 1280x720",
        versions=results.versions("numpy", "cv2"),
        digits=2,
        largest_difference_px=round(worst, 4),
    )


if __name__ == "__main__":
    main()
