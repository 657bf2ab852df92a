"""Crops, heatmaps and boxes: upstream's numbers, and a mapping that goes there and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from wan_animate.detect.heatmaps import decode_heatmaps
from wan_animate.detect.inputs import crop_person, crop_regions
from wan_animate.people import boxes

from ..support.record_upstream import SIZES, detections, heatmaps

UPSTREAM = Path(__file__).parents[1] / "data" / "upstream_preprocess.npz"


@pytest.mark.parametrize(("name", "noise"), [("clean", 0.0), ("ripple", 0.02), ("rough", 0.2)])
def test_decodes_to_upstreams_positions(name, noise):
    record = np.load(UPSTREAM)
    found = decode_heatmaps(heatmaps(noise), crop_regions(record["crop_boxes"], 192, 256))
    expected = record[f"decode_{name}"]
    assert np.abs(found - expected).max() <= 0.01


@pytest.mark.parametrize("name", ["clean", "ripple", "rough"])
def test_the_long_way_round_is_upstreams_too(monkeypatch, name):
    """Taken for steps so long that the last bit decides about them; here for all."""
    record = np.load(UPSTREAM)
    maps = heatmaps({"clean": 0.0, "ripple": 0.02, "rough": 0.2}[name])
    regions = crop_regions(record["crop_boxes"], 192, 256)
    short = decode_heatmaps(maps, regions)
    monkeypatch.setattr("wan_animate.detect.heatmaps.MAX_STEP", -1.0)
    long = decode_heatmaps(maps, regions)
    assert np.abs(long - record[f"decode_{name}"]).max() <= 0.01
    assert not np.array_equal(long, short)


def test_a_tensor_is_decoded_to_the_same_bits():
    """Peaks in corners and on edges, several equally high, maps of noise, without a peak, and of zeros among them."""
    regions = crop_regions(np.load(UPSTREAM)["crop_boxes"], 192, 256)
    maps = np.concatenate([heatmaps(0.02), heatmaps(0.2)])
    regions = np.concatenate([regions, regions])
    maps[0, :8] = 0
    for at, (y, x) in enumerate([(0, 0), (0, 47), (63, 0), (63, 47), (2, 2), (61, 45), (7, 30), (33, 40)]):
        maps[0, at, y, x] = 1
    maps[1, 0], maps[1, 1] = 0, -0.5
    maps[1, 2, [20, 20, 40], [10, 30, 5]] = 2
    expected = decode_heatmaps(maps, regions)
    assert np.array_equal(decode_heatmaps(torch.from_numpy(maps), regions), expected)
    assert (expected[1, :2, 2] <= 0).all() and len(np.unique(expected[..., :2], axis=0)) > 1


def test_a_step_far_away():
    """A plateau whose highest pixel lies away from its middle: the step leads far off, and stays a number."""
    rows, columns = np.mgrid[:64, :48].astype(np.float64)
    maps = np.stack([1 - 1e-6 * ((columns - 30 - at) ** 2 + (rows - 35) ** 2) for at in (0, 0.3, 0.45)]).astype(
        np.float32
    )
    maps[:, 30, 20] = 1.0001  # the highest pixel lies away from the middle of the plateau
    found = decode_heatmaps(maps[None], np.array([[0.0, 0.0, 48.0, 64.0]]))[0]
    assert np.isfinite(found).all() and (np.abs(found[:, :2] - (20, 30)).max(axis=1) > 3).any()


def test_flat_and_negative_maps_say_nothing_found():
    maps = np.zeros((1, 2, 64, 48), np.float32)
    maps[0, 1] = -0.3
    found = decode_heatmaps(maps, np.array([[0.0, 0.0, 48.0, 64.0]]))
    assert np.array_equal(found[0, :, :2], [[-1, -1], [-1, -1]]) and (found[0, :, 2] <= 0).all()


@pytest.mark.parametrize(
    "box", [(40, 30, 200, 330), (-60, 100, 90, 240), (300, 10, 700, 90), (100, 100, 118, 122)], ids=str
)
def test_crop_is_the_inverse_of_the_decoding(box):
    """A spot in the frame, cut out, found in the crop, and mapped back as a heatmap peak is: the same place."""
    rows, columns = np.mgrid[:400, :640].astype(np.float64)
    region = crop_regions(np.array([box], np.float64), 192, 256)[0]
    sigma = max(3 * region[2] / 192, 1.5)
    x, y = np.clip((box[0] + box[2]) / 2 + 2.3, 20, 620), np.clip((box[1] + box[3]) / 2 - 3.6, 20, 380)
    frame = np.rint(255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))).astype(np.uint8)
    crop = crop_person(cv2.merge([frame] * 3), region, 192, 256)[..., 0].astype(np.float64)
    rows, columns = np.mgrid[:256, :192]
    u, v = (columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()
    back = region[0] + u / 4 * region[2] / 48, region[1] + v / 4 * region[3] / 64
    assert np.hypot(back[0] - x, back[1] - y) < 0.05 * max(region[2] / 192, 1)


def test_black_beyond_the_frame():
    frame = np.full((50, 50, 3), 200, np.uint8)
    crop = crop_person(frame, np.array([-50.0, 0.0, 100.0, 100.0]), 100, 100)
    assert not crop[:, :49].any() and not crop[51:].any() and (crop[:49, 51:] == 200).all()


def test_chooses_upstreams_person():
    expected = np.load(UPSTREAM)["boxes"]
    assert (expected[:, 4] < 0).any() and (expected[:, 4] > 0).sum() > 20
    for number, output in enumerate(detections(np.random.default_rng(12))):
        width, height = SIZES[number % 4]
        box = boxes.upstream_box(boxes.decode_yolo(output, width / 640, height / 640), width, height)
        if (expected[number, 2:4] - expected[number, :2] < 10).any():  # too small to use: the whole frame
            assert box.tolist() == [0, 0, width, height, -1]
        else:
            assert np.allclose(box, expected[number], atol=1e-4)
