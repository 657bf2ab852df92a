"""The mask in a contact sheet: over the frames, so that nothing black beside the character looks like a bar."""

import numpy as np
import pytest

from wan_animate.preview.sheet import MaskShown
from wan_animate.video.frames import TensorSource

WIDTH, HEIGHT, COUNT = 64, 48, 5


def sources(kind: str):
    frames = np.full((COUNT, HEIGHT, WIDTH, 3), 100, np.uint8)
    masks = np.zeros((COUNT, HEIGHT // 2, WIDTH // 2), np.uint8)
    masks[:, :, 10:20] = 255
    if kind == "pictures":
        masks = np.repeat(masks[..., None], 3, axis=3)
    if kind == "floats":
        masks = masks.astype(np.float32) / 255
    return TensorSource(frames), TensorSource(masks)


@pytest.mark.parametrize("kind", ["masks", "floats", "pictures"])
def test_the_mask_is_a_tint_of_the_frame(kind):
    shown = MaskShown(*sources(kind)).read(0, COUNT)
    assert (shown[:, :, :20] == 100).all() and (shown[:, :, 40:] == 100).all()
    assert (shown[:, 3:-3, 23:37] == (70, 160, 90)).all() and shown.min() > 50


@pytest.mark.parametrize("kind", ["masks", "floats", "pictures"])
def test_the_edge_alone_is_drawn_over_the_result(kind):
    frames, masks = sources(kind)
    shown = MaskShown(frames, masks, outline=True).read(1, 2)[0]
    assert (shown[5:-5, 20] == (60, 200, 90)).all() and (shown[5:-5, 39] == (60, 200, 90)).all()
    assert (shown[5:-5, 23:37] == 100).all() and (shown[:, :19] == 100).all() and (shown[:, 41:] == 100).all()
    assert (frames.read(1, 2) == 100).all()


def test_a_mask_that_is_shorter():
    frames, masks = sources("masks")
    short = TensorSource(masks.read(0, 2))
    assert (MaskShown(frames, short).read(2, COUNT) == 100).all()
