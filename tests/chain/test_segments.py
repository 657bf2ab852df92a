"""The plan: which frames a segment covers, checked against the rules as upstream states them."""

import pytest

from wan_animate.chain.segments import check_segment_settings, plan_segments
from wan_animate.errors import InputError
from wan_animate.video.frames import reflected_index


def upstream_padded_length(real: int, length: int, previous_frames: int) -> int:
    """The rule in words: after the first ``previous_frames`` frames, whole steps of ``length - previous_frames``."""
    step = length - previous_frames
    return previous_frames + -(-(real - previous_frames) // step) * step


@pytest.mark.parametrize("length, previous_frames", [(77, 1), (77, 5), (21, 1), (21, 9), (5, 1)])
def test_segments_cover_every_frame_once(length, previous_frames):
    for count in range(1, 3 * length + 7):
        plan = plan_segments(count, length, previous_frames)
        made = []
        for segment in plan:
            assert segment.length == length
            assert segment.previous_frames == (previous_frames if segment.index else 0)
            first_new = segment.start + segment.previous_frames
            made += range(first_new, first_new + segment.keep)
        assert made == list(range(count))
        if count > previous_frames:
            assert plan.segments[-1].stop == upstream_padded_length(count, length, previous_frames)
        assert len(plan) == 1 or plan.segments[-1].keep > 0
        for before, after in zip(plan.segments, plan.segments[1:]):
            assert after.start == before.stop - previous_frames


def test_latent_frames():
    first, second = plan_segments(100, 77, 5).segments
    assert (first.latent_frames, first.previous_latents) == (20, 0)
    assert (second.latent_frames, second.previous_latents) == (20, 2)


def test_padding_plays_back_and_forth():
    assert [reflected_index(i, 4) for i in range(10)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert [reflected_index(i, 1) for i in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    "length, previous_frames, says",
    [
        (78, 1, ["segment length is 78", "77", "81"]),
        (0, 1, ["segment length is 0"]),
        (77, 4, ["previous frames is 4", "1 or 5"]),
        (77, 0, ["previous frames is 0"]),
        (77, 77, ["previous frames (77)", "fewer than the segment length (77)"]),
        (21, 25, ["previous frames (25)"]),
    ],
)
def test_settings_the_model_cannot_run_with(length, previous_frames, says):
    with pytest.raises(InputError) as error:
        check_segment_settings(length, previous_frames)
    for part in says:
        assert part in str(error.value)


def test_no_frames():
    with pytest.raises(InputError, match="no frames"):
        plan_segments(0)
