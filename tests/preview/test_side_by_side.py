"""Pictures of any size in a row."""

import numpy as np

from wan_animate.preview.side_by_side import side_by_side


def test_pictures_come_to_one_height():
    red, green = np.zeros((480, 960, 3), np.uint8), np.zeros((60, 60, 3), np.uint8)
    red[..., 0], green[..., 1] = 200, 200
    row = side_by_side([("before", red), ("after", green)], height=240)
    assert row.shape == (240 + 26, 480 + 8 + 240, 3) and row.dtype == np.uint8
    assert (row[26:, :480] == (200, 0, 0)).all() and (row[26:, -240:] == (0, 200, 0)).all()
    assert row[:26].max() > 200  # the labels


def test_a_sliver_is_still_seen():
    for shape in ((1000, 1, 3), (1, 1000, 3), (1, 1, 3)):
        row = side_by_side([("x", np.full(shape, 90, np.uint8))], height=100)
        assert row.shape[0] == 126 and 80 <= row.shape[1] <= 400 and (row[26:] == 90).all()
