"""The driver and the result in one picture."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from wan_animate.errors import InputError
from wan_animate.export.compare import ComparedSource, compared
from wan_animate.export.save import ClipFormat, save_clip
from wan_animate.video.derived import PartSource
from wan_animate.video.frames import TensorSource
from wan_animate.video.source import VideoSource

from ..support.clips import numbered_frame, numbers


def grey(count, level, width=64, height=48, fps=30):
    return TensorSource(np.full((count, height, width, 3), level, np.uint8), fps)


def test_side_by_side_has_the_driver_left_at_the_results_height():
    source = ComparedSource(grey(4, 200), grey(4, 50, 200, 100), "side by side")
    frames = source.read(0, 4)
    assert (source.width, source.height) == (64 + 96, 48) and frames.shape == (4, 48, 160, 3)
    assert (frames[:, :, :96] == 50).all() and (frames[:, :, 96:] == 200).all()


def test_a_wipe_goes_over_and_back_in_four_seconds():
    source = ComparedSource(grey(120, 200, 200), grey(120, 50, 200), "wipe")
    lines = [source.line(number) for number in range(120)]
    assert lines[0] == 0 and lines[60] == 200 and abs(lines[30] - 100) <= 1 and abs(lines[90] - 100) <= 1
    assert all(after >= before for before, after in zip(lines[:60], lines[1:61]))
    frame = source.read(30, 31)[0, 20]
    line = lines[30]
    assert (
        (frame[: line - 1] == 50).all() and (frame[line + 1 :] == 200).all() and (frame[line - 1 : line] == 255).all()
    )


def test_the_drivers_frame_is_that_of_the_same_moment():
    driver = TensorSource(np.stack([numbered_frame(i, 160, 96) for i in range(30)]), 30)
    result = TensorSource(np.stack([numbered_frame(i, 160, 96) for i in range(16)]), 16)
    both = ComparedSource(result, driver, "side by side").read(0, 16)
    assert numbers(both[:, :, 160:]) == list(range(16))
    assert numbers(np.ascontiguousarray(both[:, :, :160])) == [round(Fraction(i, 16) * 30) for i in range(16)]
    result.part_of = (0, 16)
    part = ComparedSource(PartSource(result, 8, 16), driver, "side by side").read(0, 8)
    assert numbers(np.ascontiguousarray(part[:, :, :160])) == [round(Fraction(i, 16) * 30) for i in range(8, 16)]


def test_a_shorter_driver_stays_at_its_last_frame():
    both = ComparedSource(
        grey(9, 200), TensorSource(np.stack([np.full((48, 64, 3), i, np.uint8) for i in range(3)])), "wipe"
    )
    assert [both.driver_frame(number) for number in range(9)] == [0, 1, 2, 2, 2, 2, 2, 2, 2]


def test_it_is_saved_as_a_file(tmp_path):
    both = compared(grey(10, 200), grey(10, 50), "side by side")
    save_clip(tmp_path / "v.mp4", both, ClipFormat())
    back = VideoSource(tmp_path / "v.mp4", fps=0).read(0, 10)
    assert (
        back.shape[:3] == (10, 48, 128)
        and abs(back[5, 24, 10].mean() - 50) < 3
        and abs(back[5, 24, 110].mean() - 200) < 3
    )


def test_what_cannot_be_compared():
    one = grey(2, 0)
    assert compared(one, None, "off") is one and compared(one, one, "off") is one
    for sentence, call in [
        ("there is no driver", lambda: compared(one, None, "wipe")),
        ("'above'.* side by side, wipe", lambda: ComparedSource(one, one, "above")),
        ("this is a mask", lambda: ComparedSource(one, TensorSource(torch.zeros(2, 48, 64)), "wipe")),
    ]:
        with pytest.raises(InputError, match=sentence):
            call()
