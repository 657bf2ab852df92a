"""No black pixel of the background is known in the latent mask."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wan_animate.chain.conditioning import build_conditioning
from wan_animate.chain.control_sources import Controls
from wan_animate.chain.latents import CachedVAE
from wan_animate.chain.segments import plan_segments
from wan_animate.mask.background import BackgroundSource
from wan_animate.mask.cells import whole_cells
from wan_animate.mask.shape import ShapedMaskSource
from wan_animate.mask.track import MaskTrack, MaskTrackSource
from wan_animate.video.frames import TensorSource

from ..support.chain import PlainVAE

WIDTH, HEIGHT, LENGTH = 176, 112, 9


def moving_person(frames: int) -> np.ndarray:
    masks = np.zeros((frames, HEIGHT, WIDTH), np.uint8)
    for at, mask in enumerate(masks):
        cv2.ellipse(mask, (61 + 5 * at, 53 + 2 * at), (17, 31), 20, 0, 360, 255, -1)
    return masks


def unknown(mask, background) -> np.ndarray:
    """bool ``[L, H, W]``: pixels of unknown cells, by latent frame."""
    height, width = background.height, background.width
    segment = plan_segments(len(background), len(background), 1).segments[0]
    reference = torch.zeros(1, 16, 1, height // 8, width // 8)
    conditioning = build_conditioning(
        segment, Controls(background, None, background, mask), CachedVAE(PlainVAE()), reference
    )
    channels = conditioning.unknown_mask[0, :, 1:].transpose(0, 1).reshape(-1, height // 8, width // 8)[3:]
    return channels.numpy().repeat(8, 1).repeat(8, 2) > 0.5


def known_black(mask, frames) -> np.ndarray:
    """Black pixels in known cells, by frame."""
    background = BackgroundSource(frames, mask)
    black = (background.read(0, len(frames)) == 0).all(axis=3)
    return (black & ~unknown(mask, background)).reshape(len(frames), -1).sum(axis=1)


@pytest.mark.parametrize(
    "shape",
    [
        None,  # a segmenter's mask straight into both inputs
        {},
        {"cells": True},
        {"cells": True, "w_len": 10, "h_len": 20, "feather": 6},
        {"iterations": 0},
        {"iterations": 2, "k": 5, "w_len": 4, "h_len": 6, "stabilize": 2},
    ],
    ids=repr,
)
def test_no_black_pixel_is_called_known(shape):
    frames = TensorSource(np.full((LENGTH, HEIGHT, WIDTH, 3), 200, np.uint8))
    mask = TensorSource(moving_person(LENGTH))
    mask = mask if shape is None else ShapedMaskSource(mask, **shape)
    assert known_black(mask, frames).tolist() == [0] * LENGTH


def test_a_mask_in_whole_cells_is_the_same_however_it_is_scaled():
    """Upstream scales with nearest, ComfyUI with nearest-exact."""
    plain = ShapedMaskSource(TensorSource(moving_person(LENGTH)), w_len=6, h_len=9)
    masks = ShapedMaskSource(TensorSource(moving_person(LENGTH)), w_len=6, h_len=9, cells=True).read(0, LENGTH)
    given = torch.from_numpy(masks)[:, None].float()
    small = F.max_pool2d(given, 8)
    for mode in ("nearest", "nearest-exact"):
        assert torch.equal(F.interpolate(given, size=(HEIGHT // 8, WIDTH // 8), mode=mode), small)
    before = plain.read(0, LENGTH)
    assert (masks >= before).all() and ((masks > 0).sum() < 1.35 * (before > 0).sum())
    grown = cv2.dilate(before[3], np.ones((15, 15), np.uint8))
    assert (masks[3] <= grown).all()
    same = ShapedMaskSource(TensorSource(moving_person(LENGTH)), w_len=6, h_len=9, cells=True)
    assert plain.fingerprint() != same.fingerprint()


def test_cells_that_the_edge_cuts():
    mask = np.zeros((13, 21), np.uint8)
    mask[12, 20] = mask[0, 7] = 1
    expected = np.zeros_like(mask)
    expected[:8, :8] = expected[8:, 16:] = 1
    assert np.array_equal(whole_cells(mask), expected) and mask.sum() == 2


def test_the_example_clip_has_no_black_pixel_called_known(examples):
    """With the replace workflow's settings; upstream has about 3,000 a frame."""
    masks = MaskTrackSource(MaskTrack.load(examples / "video_mask.npz"), width=832, height=464)
    shaped = ShapedMaskSource(masks, stabilize=2, cells=True)
    frames = TensorSource(np.full((21, 464, 832, 3), 9, np.uint8))
    few = TensorSource(shaped.read(0, 21))
    assert known_black(few, frames).sum() == 0
    upstream = ShapedMaskSource(masks, stabilize=2).read(0, 21) >= 128
    asked = upstream[:, ::8, ::8].repeat(8, 1).repeat(8, 2)
    assert (upstream & ~asked).sum() > 21 * 1000
