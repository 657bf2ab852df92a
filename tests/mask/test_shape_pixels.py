"""Sizes of a mask's shape in pixels of the video file: the same edge at every size the video is loaded at."""

import numpy as np
import pytest

from wan_animate.color.match import match_color
from wan_animate.errors import InputError
from wan_animate.mask.background import BackgroundSource
from wan_animate.mask.shape import ShapedMaskSource, scale_to
from wan_animate.stitch.crop import CroppedSource
from wan_animate.stitch.window import CropWindow
from wan_animate.video.derived import PartSource, RepeatedSource, ResizedSource, SampledSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.clips import write_clip
from ..support.record_upstream import blobs


def rectangle(width: int, height: int) -> TensorSource:
    """A mask over the middle third of a picture."""
    mask = np.zeros((1, height, width), np.uint8)
    mask[:, height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
    return TensorSource(mask)


def grown_by(source: TensorSource, **options) -> int:
    """By how many pixels a shape is wider on each side."""
    before, after = (
        (part.read(0, 1)[0] >= 128).any(axis=0).sum() for part in (source, ShapedMaskSource(source, **options))
    )
    assert (after - before) % 2 == 0
    return (after - before) // 2


@pytest.mark.parametrize("width, height", [(1920, 1080), (1280, 720), (832, 464), (480, 272), (96, 48)])
def test_twelve_pixels_of_the_file_at_every_size(width, height):
    scale = width / 1920
    grown = grown_by(rectangle(width, height), iterations=4, k=7, w_len=100, h_len=100, scale=scale)
    assert grown == round(12 * width / 1920)
    assert grown_by(rectangle(width, height), iterations=4, k=7, w_len=100, h_len=100) == 12, "of the mask"


@pytest.mark.parametrize("width", [1920, 832, 480])
def test_the_soft_edge_is_as_wide_at_every_size(width):
    source = rectangle(width, width // 16 * 9)
    soft = ShapedMaskSource(source, iterations=0, feather=48, scale=width / 1920).read(0, 1)[0]
    row = soft[soft.shape[0] // 2]
    edge = ((row[: width // 2] > 0) & (row[: width // 2] < 255)).sum()
    assert abs(edge - 48 * width / 1920) <= 2


@pytest.mark.parametrize("options", [{}, {"iterations": 1, "k": 15}, {"iterations": 0}, {"w_len": 10, "h_len": 20}])
def test_a_video_loaded_at_its_own_size_has_one_kind_of_pixels(options):
    source = TensorSource(np.stack(blobs()) * np.uint8(255))
    one = ShapedMaskSource(source, feather=3, **options).read(0, len(source))
    nearly_one = ShapedMaskSource(source, feather=3, **options, scale=1 + 1e-12).read(0, len(source))
    assert np.array_equal(one, nearly_one)


def test_shapes_of_earlier_graphs_are_known_by_the_same_name():
    source = TensorSource(np.zeros((1, 8, 8), np.uint8))
    assert ShapedMaskSource(source).fingerprint() == f"shaped:iterations=3,k=7,w_len=1,h_len=1:{source.fingerprint()}"
    half = ShapedMaskSource(source, feather=8, scale=0.5).fingerprint()
    assert half == f"shaped:iterations=1,k=9,w_len=1,h_len=1,steady=0,feather=4.0:{source.fingerprint()}"
    with pytest.raises(InputError, match="the masks have 0 pixels for each of the video"):
        ShapedMaskSource(source, scale=0)


def test_frames_know_how_large_the_files_pixels_are(tmp_path):
    path = write_clip(tmp_path / "a.mp4", count=4, width=320, height=180)
    assert VideoSource(path).native_scale == 1
    small = VideoSource(path, size=(160, 90))
    assert small.native_scale == 0.5 and SampledSource(small, 15).native_scale == 0.5
    assert ResizedSource(small, 80, 45).native_scale == 0.25
    assert VideoSource(path, size=(160, 160), fit="pad").native_scale == 0.5, "bars are no part of the picture"
    assert VideoSource(path, size=(160, 96)).native_scale == pytest.approx(96 / 180, abs=0.01), "cut at the sides"
    plain = TensorSource(np.zeros((1, 90, 160, 3), np.uint8))
    assert plain.native_scale is None and ResizedSource(plain, 80, 45).native_scale == 0.5
    assert RepeatedSource(ResizedSource(plain, 80, 45), 3).native_scale == 0.5
    masks = TensorSource(np.zeros((1, 90, 160), np.uint8))
    assert scale_to(masks, small) == 0.5 and scale_to(masks, VideoSource(path)) == 0.5 and scale_to(masks, plain) == 1


def test_frames_in_a_window_know_it_too(tmp_path):
    """240 pixels of the file sampled at 720: growing by pixels of the file grows three times as many of the mask's."""
    path = write_clip(tmp_path / "a.mp4", count=4, width=640, height=480)
    video = VideoSource(path)
    window = CropWindow(np.tile([100.0, 80.0, 320.0, 240.0], (4, 1)), (640, 480), (960, 720))
    frames = CroppedSource(video, window)
    masks = TensorSource(np.zeros((4, 720, 960), np.uint8))
    assert frames.native_scale == 3 and scale_to(masks, frames) == 3
    assert ResizedSource(frames, 480, 368).native_scale == pytest.approx(1.5, rel=0.03)
    half = VideoSource(path, size=(320, 240))
    of_half = CroppedSource(half, CropWindow(window.places / 2, (320, 240), (960, 720)))
    assert of_half.native_scale == 3 and scale_to(masks, of_half) == 3
    plain = TensorSource(np.zeros((4, 480, 640, 3), np.uint8))
    assert scale_to(masks, CroppedSource(plain, window)) == 3


def test_frames_with_other_colours_know_it_too(tmp_path):
    small = VideoSource(write_clip(tmp_path / "a.mp4", count=4, width=320, height=180), size=(160, 90))
    masks = TensorSource(np.zeros((4, 90, 160), np.uint8))
    matched = match_color(small, small)
    assert scale_to(masks, matched) == scale_to(masks, PartSource(small, 1, 3)) == 0.5
    assert scale_to(masks, BackgroundSource(small, masks)) == 0.5
