"""Shape, sampled size and place of the window over a clip."""

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.stitch.cost import same_sharpness, step_work, tokens
from wan_animate.stitch.plan import LARGEST, WindowSize, plan_window
from wan_animate.stitch.report import draw_window, told_places, window_report
from wan_animate.stitch.window import CropWindow

FRAME = (1920, 1080)


def standing(count: int = 60, left: float = 900, top: float = 300, width: float = 200, height: float = 500):
    return np.tile([left, top, left + width, top + height], (count, 1)).astype(float)


def inside(window: CropWindow, boxes: np.ndarray) -> bool:
    low, high = window.places[:, :2], window.places[:, :2] + window.places[:, 2:]
    seen = ~np.isnan(boxes).any(axis=1)
    return bool((low[seen] <= boxes[seen, :2] + 0.05).all() and (high[seen] >= boxes[seen, 2:] - 0.05).all())


def test_a_budget_is_filled_in_the_characters_shape():
    boxes = standing()
    window = plan_window(boxes, FRAME, size=WindowSize("budget", 832 * 480))
    width, height = window.size
    assert width % 16 == height % 16 == 0 and 0.93 * 832 * 480 < width * height <= 832 * 480
    assert 9 / 16 * 0.97 < width / height < 0.7, "a standing person's window is upright"
    assert inside(window, boxes) and window.speed == 0 and window.scale > 1
    wide = plan_window(standing(width=700, height=350), FRAME)
    assert wide.size[0] > 1.5 * wide.size[1]
    assert window.share < 0.15 and wide.share < 0.3


def test_as_the_window_is_resamples_nothing():
    boxes = standing()
    window = plan_window(boxes, FRAME, size=WindowSize("window"))
    assert (window.places[:, 2:] == window.size).all() and (window.places == np.rint(window.places)).all()
    assert window.scale == 1 and inside(window, boxes)
    half = plan_window(boxes, FRAME, size=WindowSize("factor", factor=0.5))
    assert half.scale == pytest.approx(0.5) and half.size[0] * half.size[1] < 0.3 * window.size[0] * window.size[1]


def test_the_margin_is_around_the_character_but_not_outside_the_frame():
    boxes = standing(left=1600, width=250)
    window = plan_window(boxes, FRAME, margin=0.2)
    left, top, width, height = window.places[0]
    assert left <= 1600 - 0.2 * 500 and top <= 300 - 100 and top + height >= 900 and left + width == 1920


def test_edges_of_the_frame_are_in_the_window_or_clearly_not():
    boxes = standing(top=0.4, height=1079.7, width=400)
    window = plan_window(boxes, FRAME, margin=0.0)
    assert window.places[0, 1] == 0 and window.places[0, 3] == 1080


def test_most_of_the_frame_is_the_whole_frame():
    boxes = standing(left=50, top=20, width=1800, height=1040)
    window = plan_window(boxes, FRAME)
    assert window.places.tolist() == [[0, 0, 1920, 1080]] * len(boxes) and window.size == (832, 464)
    assert plan_window(boxes, FRAME, size=WindowSize("window")).size == (1920, 1072)


def test_every_shot_has_its_own_place_and_all_one_shape():
    boxes = np.concatenate([standing(40), standing(30, left=200, top=100, width=500, height=900), standing(20, 1500)])
    window = plan_window(boxes, FRAME, cuts=(40, 70))
    assert inside(window, boxes) and window.speed == 0 and len(np.unique(window.places, axis=0)) == 3
    shape = window.places[:, 2] / window.places[:, 3]
    assert np.ptp(shape) < 0.001 and shape[0] == pytest.approx(window.size[0] / window.size[1], abs=0.001)
    assert window.standing == 1


def test_a_shot_without_the_character_keeps_the_size():
    boxes = np.concatenate([standing(20), np.full((15, 4), np.nan), standing(20)])
    window = plan_window(boxes, FRAME, cuts=(20, 35))
    assert (window.places[25, 2:] == window.places[0, 2:]).all() and inside(window, boxes)


def test_nobody_is_said():
    with pytest.raises(InputError, match="in none of the frames.*choose another person"):
        plan_window(np.full((5, 4), np.nan), FRAME)
    with pytest.raises(InputError, match="in none of the frames"):
        plan_window(standing(left=3000), FRAME)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: WindowSize("other"), "size is 'other', but it must be one of budget, window, factor"),
        (lambda: WindowSize("budget", 100), "budget is 100 pixels: give at least 4096"),
        (lambda: WindowSize("factor", factor=9), "factor is 9, but it must lie between 0.05 and 8"),
        (lambda: plan_window(standing(), FRAME, margin=3), "margin .3. must be 0 to 2"),
        (lambda: plan_window(standing(), FRAME, room=0.5), "room .0.5. 1 to 4"),
        (lambda: CropWindow(np.zeros((0, 4)), FRAME, (16, 16)), "places must be .frames, 4."),
        (lambda: CropWindow(np.array([[1900.0, 0, 100, 50]]), FRAME, (16, 16)), "leaves the 1920x1080 frames"),
        (lambda: CropWindow(np.array([[0.0, 0, 100, 50]]), FRAME, (30, 16)), "both sides must be divisible by 16"),
    ],
)
def test_bad_numbers_are_one_sentence(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    "frame, size, box, says",
    [
        (FRAME, WindowSize("factor", factor=8), [600, 200, 900, 900], "factor 8 samples the window at [0-9]+x[0-9]+, "),
        ((3840, 2160), WindowSize("factor", factor=4), [600, 200, 1500, 1700], "factor 4 samples the window at "),
        ((16000, 4000), WindowSize("window"), [2000, 200, 9000, 3800], "a pixel for each of the video's samples the "),
    ],
)
def test_a_window_larger_than_can_be_sampled_is_said(frame, size, box, says):
    with pytest.raises(InputError, match=f"{says}.*at most 4096 a side.*choose a smaller factor or a pixel budget"):
        plan_window(np.tile(np.float64(box), (30, 1)), frame, size=size)


@pytest.mark.parametrize(
    "frame, size",
    [
        ((5120, 2880), WindowSize("window")),
        ((7680, 4320), WindowSize("window")),
        ((2160, 3840), WindowSize("factor", factor=2)),
        (FRAME, WindowSize("factor", factor=8)),
        (FRAME, WindowSize("budget", 8192 * 8192)),
        ((9000, 1000), WindowSize("budget", 8192 * 8192)),
    ],
)
def test_the_whole_frame_keeps_its_shape_at_the_largest_size(frame, size):
    box = [0.05 * frame[0], 0.02 * frame[1], 0.96 * frame[0], 0.99 * frame[1]]
    window = plan_window(np.tile(box, (10, 1)), frame, size=size)
    assert window.places.tolist() == [[0, 0, *frame]] * 10
    assert 4000 < max(window.size) <= LARGEST
    assert window.size[0] / window.size[1] == pytest.approx(frame[0] / frame[1], rel=0.03)


@pytest.mark.parametrize("area", [4096 * 4096, 8192 * 8192])
def test_a_large_budget_has_no_side_above_the_largest(area):
    for boxes in (standing(), standing(width=700, height=350)):
        window = plan_window(boxes, FRAME, size=WindowSize("budget", area))
        assert 3000 < max(window.size) <= LARGEST and inside(window, boxes) and window.share < 0.4


def test_fingerprints_differ_where_windows_do():
    window = plan_window(standing(), FRAME)
    other = plan_window(standing(left=901), FRAME)
    assert window.fingerprint() == plan_window(standing(), FRAME).fingerprint() != other.fingerprint()


def test_cost():
    assert tokens((832, 480), 77) == 52 * 30 * 21 and tokens((832, 480), 5) == 52 * 30 * 3
    # attention makes half of the tokens less than half of the work
    assert step_work((832, 240)) < 0.5 * step_work((832, 480)) < 0.25 * step_work((1664, 960))
    assert same_sharpness((416, 240), 0.25, (1920, 1080)) == (848, 480)


def test_report_and_picture():
    boxes = standing()
    boxes[:, [0, 2]] += np.linspace(0, 900, 60)[:, None]
    window = plan_window(boxes, FRAME)
    text = window_report(window)
    assert f"sampled at {window.size[0]}x{window.size[1]}" in text and "% of their tokens" in text
    assert "for less, the window would have to be larger (room)" in text
    still = plan_window(standing(), FRAME)
    assert "It stands still." in window_report(still)
    frame = np.full((1080, 1920, 3), 200, np.uint8)
    picture = draw_window(frame, still, 30, standing()[30])
    assert picture.shape == (540, 960, 3)
    left, top, width, height = (still.places[30] / 2).round().astype(int)
    assert picture[top + height // 2, left + 20].tolist() == [200] * 3 and picture[20, 20].tolist() == [110] * 3


def test_the_browser_is_told_where_the_window_moves():
    boxes = np.concatenate([standing(30), standing(30, left=200)])
    boxes[:15, [0, 2]] += np.arange(15)[:, None] * 6.0
    window = plan_window(boxes, FRAME, cuts=(30,), room=1.0)
    told = np.array(told_places(window))
    assert told[0, 0] == 0 and 30 in told[:, 0] and len(told) < 45, "a shot's beginning, and where it moves"
    last = told[np.searchsorted(told[:, 0], np.arange(60), side="right") - 1, 1:]
    assert np.abs(last - window.places).max() <= 0.26
