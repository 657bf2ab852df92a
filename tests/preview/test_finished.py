"""Pictures of plans, finished segments and boundaries."""

from fractions import Fraction

import numpy as np
import pytest

from wan_animate.errors import Cancelled
from wan_animate.plan.cards import Device
from wan_animate.plan.clip_plan import plan_clip
from wan_animate.preview.canvas import LOST
from wan_animate.preview.finished import CAPTION, MOST_BOUNDARIES, boundary_strip, segment_picture
from wan_animate.preview.plan_picture import PADDING, SEGMENTS, TAKEN_OVER, draw_plan
from wan_animate.video.frames import TensorSource

from ..support.figures import dancer_track


def grey(frames: int, size=(40, 64)) -> np.ndarray:
    """Frame k is grey k."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, *size, 3)).copy()


def test_a_segment_shows_its_first_and_last_frame():
    picture = segment_picture(grey(77))
    assert picture.shape[1] == 510
    assert picture[0, 0, 0] == 0 and picture[-1, -1, 0] == 76
    shown = {int(value) for value in picture[5, :, 0]} | {int(value) for value in picture[-5, :, 0]}
    assert {0, 15, 30, 46, 61, 76} <= shown
    floats = segment_picture(grey(77).astype(np.float32) / 255)
    assert np.array_equal(floats, picture)
    assert segment_picture(grey(2)).shape[0] < picture.shape[0], "two frames stand in one row"
    assert segment_picture(grey(1)).std() == 0


def test_the_strip_has_the_frames_on_both_sides():
    clip = TensorSource(grey(200))
    strip = boundary_strip(clip, [77, 153])
    cell = 64
    assert strip[0, 0].tolist() == [76] * 3 and strip[0, cell + 2].tolist() == [77] * 3
    second = 2 * cell + 2 + 3 * 6
    assert strip[0, second].tolist() == [152] * 3 and strip[0, second + cell + 2].tolist() == [153] * 3
    assert strip.shape[0] == 40 + CAPTION
    assert boundary_strip(clip, []) is None


def test_the_strip_can_be_stopped():
    def check():
        asked.append(True)
        if len(asked) == 2:
            raise Cancelled

    asked = []
    with pytest.raises(Cancelled):
        boundary_strip(TensorSource(grey(200)), [50, 100, 150], check=check)


def test_many_boundaries_stay_one_small_picture():
    clip = TensorSource(grey(250))
    strip = boundary_strip(clip, list(range(4, 244, 4)))
    assert strip.shape[1] <= 1280 and strip.shape[0] < 1000
    columns = {tuple(pixel) for pixel in strip.reshape(-1, 3)} & {(at, at, at) for at in range(3, 244, 4)}
    assert len(columns) >= MOST_BOUNDARIES - 4, "spread over the clip"


def has(picture: np.ndarray, color) -> int:
    return int((picture == np.array(color)).all(axis=2).sum())


def test_the_picture_of_a_plan():
    track = dancer_track(100, 832, 480)
    keypoints = track.keypoints.copy()
    keypoints[20:40, :, 2] = 0

    def plan(**changes):
        given = dict(segment_length=33, previous_frames=5, track=track, mask_area=np.full(100, 0.2))
        return plan_clip((832, 480), 100, Fraction(30), 1.0, Device("CPU"), **(given | changes))

    whole = draw_plan(plan())
    assert whole.shape[1] == 1200 and all(has(whole, color) for color in (*SEGMENTS, TAKEN_OVER, PADDING))
    lost = draw_plan(plan(track=track.replaced(keypoints)), words=False)
    assert has(lost, LOST) > 100, "the frames without a person are red"
    assert not has(draw_plan(plan(), words=False), LOST)
    assert draw_plan(plan(mask_area=None)).shape[0] < whole.shape[0]
    one = draw_plan(plan(segment_length=101, previous_frames=1, track=None, mask_area=None), words=False)
    assert not has(one, SEGMENTS[1]) and has(one, SEGMENTS[0])
