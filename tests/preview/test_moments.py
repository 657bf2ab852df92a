"""Some frames of a clip in one picture."""

import numpy as np
import pytest
import torch

from wan_animate.preview.finished import segment_ends
from wan_animate.preview.moments import GAP, moments_picture
from wan_animate.video.frames import TensorSource


def clip(count, width=96, height=64):
    """Frame k has the grey value 10 k + 60."""
    levels = (torch.arange(count).float() * 10 + 60) / 255
    return TensorSource(levels[:, None, None, None].expand(count, height, width, 3), 30)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 13])
def test_the_first_the_last_and_what_is_between(count):
    picture = moments_picture(clip(count), width=960)
    cell = (960 - 2 * GAP) // 3
    shown = min(count, 6)
    columns = min(shown, 3)
    assert picture.shape[1] == columns * cell + (columns - 1) * GAP
    values = [
        int(picture[row * (picture.shape[0] // 2 if shown > 3 else 0) + 60, column * (cell + GAP) + cell // 2, 0])
        for row in range(2 if shown > 3 else 1)
        for column in range(columns)
    ][:shown]
    wanted = [10 * at + 60 for at in sorted({round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)})]
    assert values == pytest.approx(wanted, abs=1)


def test_masks_alone_and_over_frames():
    masks = torch.zeros(4, 64, 96)
    masks[:, 16:48, 32:64] = 1
    alone = moments_picture(TensorSource(masks, 30))
    assert set(np.unique(alone[30:, :300])) >= {0, 255}
    over = moments_picture(TensorSource(masks, 30), clip(4))
    cell = (960 - 2 * GAP) // 3
    middle, corner = over[100, cell // 2], over[150, 20]
    assert np.ptp(corner.astype(int)) == 0 and np.ptp(middle.astype(int)) > 20, "tinted where the mask is"


def test_both_ends_of_a_segment():
    first, last = torch.zeros(64, 96, 3).numpy(), torch.ones(64, 96, 3).numpy()
    picture = segment_ends(first, last, height=32)
    assert picture.shape == (32, 96, 3) and picture[:, :48].max() == 0 and picture[:, 48:].min() == 255
