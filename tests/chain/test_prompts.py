"""Which prompt a segment is made with."""

import tracemalloc

import pytest

from wan_animate.chain.prompts import check_range, prompts_for
from wan_animate.chain.segments import plan_segments
from wan_animate.errors import InputError

PLAN = plan_segments(33, 9, 1)  # new frames 0-8, 9-16, 17-24, 25-32


def chosen(ranges, plan=PLAN):
    return [prompts_for(segment, ranges, plan.frame_count) for segment in plan]


def test_the_prompt_that_covers_most_of_the_new_frames_holds():
    assert chosen([(0, 12), (13, -1)]) == [[0], [0], [1], [1]]
    assert chosen([(0, 11), (12, -1)]) == [[0], [1], [1], [1]]
    assert chosen([None, (17, 24)]) == [[0], [0], [1], [0]]
    assert chosen([None, (17, 19)]) == [[0]] * 4, "three frames of eight are not most of them"
    assert chosen([(9, 16), None, (9, 16), None]) == [[1, 3], [0, 2], [1, 3], [1, 3]]
    assert chosen([None, None]) == [[0, 1]] * 4


def test_played_back_frames_do_not_count():
    plan = plan_segments(11, 9, 1)  # the second segment has two new frames, and six that are played back
    assert chosen([(0, 8), (9, 10)], plan) == [[0], [1]]


def test_a_range_far_past_the_end_takes_no_memory():
    """The node's numbers go to a thousand million: as a set of frames that would be 60 GB."""
    tracemalloc.start()
    try:
        assert chosen([(0, 12), (13, 10**7)]) == [[0], [0], [1], [1]]
        assert chosen([None, (10**7, 2 * 10**7)]) == [[0]] * 4
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_frames_without_a_prompt_are_named():
    with pytest.raises(InputError, match="no prompt is given for frames 25 to 32"):
        chosen([(0, 24)])


@pytest.mark.parametrize("frames", [(5, 4), (-1, 4)])
def test_a_range_without_frames_is_refused(frames):
    with pytest.raises(InputError, match="which are none"):
        check_range(frames)
