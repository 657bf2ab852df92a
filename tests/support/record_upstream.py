"""Record what upstream's own preprocessing gives for fixed inputs.

``python tests/support/record_upstream.py CHECKOUT``, where CHECKOUT is a clone of Wan-Video/Wan2.2 and matplotlib is
installed, writes ``tests/data/upstream_preprocess.npz``, which the tests hold our functions against.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np

SIZES = ((1280, 720), (832, 480), (480, 832), (64, 48), (640, 640))
SHAPES = ((3, 7, 1, 1), (1, 7, 10, 20), (3, 7, 10, 20), (2, 5, 3, 7), (0, 7, 1, 1), (1, 4, 9, 9))
MAPS = (2, 133, 64, 48)
TARGET = Path(__file__).resolve().parents[1] / "data" / "upstream_preprocess.npz"


def heatmaps(noise: float) -> np.ndarray:
    """Peaks all over, some at and beyond the border, with a ripple in place of noise: the same on every machine."""
    count, joints, height, width = MAPS
    index = np.arange(count * joints, dtype=np.float64).reshape(count, joints, 1, 1)
    x = (index * 7.318) % (width + 8) - 4
    y = (index * 5.127) % (height + 8) - 4
    sigma = 1.2 + (index * 0.618) % 1.8
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    peaks = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) * (0.1 + 0.9 * ((index * 0.377) % 1))
    ripple = np.sin(columns * 12.9898 + rows * 78.233 + index * 3.7)
    return (peaks + noise * ripple).astype(np.float32)


def blobs() -> list[np.ndarray]:
    """Masks of several kinds: smooth blobs, a bar, one pixel row."""
    rows, columns = np.mgrid[:90, :150].astype(np.float64)
    wave = np.sin(columns / 9) + np.cos(rows / 7) + np.sin((columns + 2 * rows) / 23)
    masks = [(wave > limit).astype(np.uint8) for limit in (0.2, 1.4, 2.3)]
    bar = np.zeros((90, 150), np.uint8)
    bar[20:70, 100:112] = 1
    return [*masks, bar]


def poses(rng: np.random.Generator) -> list[tuple[np.ndarray, int, int]]:
    """Random keypoints: all over and beyond the frame, and person-sized; on whole pixels too."""
    made = []
    for number in range(10):
        width, height = SIZES[number % len(SIZES)]
        points = rng.uniform(-0.2, 1.2, (133, 3)) if number % 2 else 0.5 + 0.15 * rng.normal(size=(133, 3))
        points = (points * (width, height, 1)).astype(np.float32)
        points[:, 2] = rng.uniform(0, 1, 133) ** 0.3
        if number % 4 == 0:
            points[:, :2] = np.round(points[:, :2])
        made.append((points, width, height))
    return made


def detections(rng: np.random.Generator) -> list[np.ndarray]:
    """YOLOv10-like ``[M, 6]`` and YOLOv8-like ``[84, M]`` outputs."""
    made = []
    for number in range(40):
        if number % 2:
            count = int(rng.integers(2, 40))
            corner = rng.uniform(-20, 600, (count, 2))
            extent = rng.uniform(1, 1 + rng.uniform(5, 500), (count, 2))
            score = rng.uniform(0, 1, count) ** rng.uniform(0.5, 4)
            kind = rng.integers(0, 3, count) + (number % 8 == 1)  # every so often nobody is a person
            made.append(np.column_stack([corner, corner + extent, score, kind]).astype(np.float32))
        else:
            output = np.zeros((84, 100), np.float32)
            output[:2], output[2:4] = rng.uniform(0, 640, (2, 100)), rng.uniform(5, 400, (2, 100))
            output[4:] = rng.uniform(0, 0.3, (80, 100)) * (rng.random((80, 100)) < 0.02)
            output[4] += rng.uniform(0, 1, 100) * (rng.random(100) < 0.1)
            made.append(output)
    return made


def _load(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(checkout: str) -> None:
    folder = Path(checkout) / "wan" / "modules" / "animate" / "preprocess"
    sys.path.insert(0, str(folder))
    pose_utils = _load(folder / "pose2d_utils.py", "pose2d_utils")
    sys.modules["pose2d_utils"] = pose_utils
    drawing, utils = _load(folder / "human_visualization.py", "hv"), _load(folder / "utils.py", "up_utils")
    pose2d = _load(folder / "pose2d.py", "pose2d")
    record: dict[str, np.ndarray] = {}

    for number, (points, width, height) in enumerate(poses(np.random.default_rng(11))):
        meta = pose_utils.load_pose_metas_from_kp2ds_seq([points], width, height)[0]
        canvas = np.zeros((height, width, 3), np.uint8)
        image = drawing.draw_aapose_by_meta_new(canvas, pose_utils.AAPoseMeta.from_humanapi_meta(meta))
        record[f"draw_{number}"] = cv2.imencode(".png", image)[1].ravel()
        record[f"draw_{number}_points"] = points
        box = utils.get_face_bboxes(meta["keypoints_face"][:, :2], scale=1.3, image_shape=(height, width))
        record[f"face_{number}"] = np.array([box[0], box[2], box[1], box[3]])

    boxes = np.array([[101.5, -20.0, 733.0, 699.0], [400.0, 80.0, 1500.0, 420.0]])
    centre, scale = map(np.array, zip(*[pose_utils.bbox_from_detector(box, (256, 192)) for box in boxes], strict=True))
    record["crop_boxes"] = boxes
    for name, noise in (("clean", 0.0), ("ripple", 0.02), ("rough", 0.2)):
        points, height_of_peak = pose_utils.keypoints_from_heatmaps(
            heatmaps(noise), centre, scale * 200, unbiased=True, use_udp=False
        )
        record[f"decode_{name}"] = np.concatenate([points, height_of_peak], axis=2)

    for number, mask in enumerate(blobs()):
        for shape, (iterations, k, w_len, h_len) in enumerate(SHAPES):
            grown = mask.copy()
            if iterations:
                _, grown = utils.get_mask_body_img(
                    np.zeros((*mask.shape, 3), np.uint8), mask, k=k, iterations=iterations
                )
                grown = utils.get_aug_mask(grown, w_len, h_len)
            record[f"mask_{number}_{shape}"] = np.packbits(grown)

    yolo = pose2d.Yolo.__new__(pose2d.Yolo)
    for name, value in {
        "input_width": 640, "input_height": 640, "threshold_multi_persons": 0.1, "threshold_conf": 0.05,
        "threshold_iou": 0.5, "threshold_bbox_shape_ratio": 0.4, "select_type": "max", "strict": True,
        "sorted_func": None,
    }.items():  # fmt: skip
        setattr(yolo, name, value)
    chosen = []
    for number, output in enumerate(detections(np.random.default_rng(12))):
        width, height = SIZES[number % 4]
        people = yolo.process_results(
            yolo.postprocess(output[None].copy(), (height, width)), (height, width), cat_id=[1]
        )
        chosen.append(people[0]["bbox"] if people else [0, 0, width, height, -1])
    record["boxes"] = np.array(chosen, np.float32)

    TARGET.parent.mkdir(exist_ok=True)
    np.savez_compressed(TARGET, **record)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
