"""Prompts of several frames, as the points editor writes them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wan_animate.errors import InputError
from wan_animate.mask.character import segment_character
from wan_animate.mask.prompts import Prompt, read_prompts
from wan_animate.mask.track import MaskTrack, pack

from ..support.figures import DancerSource, dancer_keypoints

SIZE = (320, 240)
TEXT = json.dumps(
    [
        {"frame": 5, "positive": [{"x": 10, "y": 20}], "negative": [{"x": 300, "y": 200}], "size": [320, 240]},
        {"frame": 2, "box": [10, 20, 110, 220]},
        {"frame": 5, "positive": [[30, 40]]},
        {"frame": 9},
    ]
)


def test_every_frame_has_its_points():
    second, fifth = read_prompts(TEXT, SIZE)
    assert (second.frame, second.box, len(second.points)) == (2, (10, 20, 110, 220), 0)
    assert fifth.frame == 5 and fifth.points.tolist() == [[10, 20], [300, 200], [30, 40]]
    assert fifth.labels.tolist() == [1, 0, 1] and fifth.box is None
    assert read_prompts("", SIZE) == read_prompts(None, SIZE) == read_prompts(" [] ", SIZE) == []


def test_points_follow_the_clip_to_another_size():
    text = '[{"frame": 0, "positive": [{"x": 160, "y": 60}], "box": [0, 0, 320, 120], "size": [320, 240]}]'
    (prompt,) = read_prompts(text, (640, 240))
    assert prompt.points.tolist() == [[320, 60]] and prompt.box == (0, 0, 640, 120)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "prompts must be a JSON list"),
        ("not json", "prompts must be a JSON list"),
        ('[{"positive": []}]', "prompts must be a JSON list"),
        ('[{"frame": -1, "positive": [[1, 1]]}]', "frame -1"),
        ('[{"frame": true}]', "frame True"),
        ('[{"frame": 0, "size": [0, 4], "positive": [[1, 1]]}]', "prompts must be a JSON list"),
        ('[{"frame": 0, "positive": [[320, 1]]}]', "outside the 320x240 frame"),
        ('[{"frame": 0, "box": [5, 5, 2, 9]}]', "right and bottom must lie beyond"),
        ('[{"frame": 0, "positive": [{"x": 1}]}]', "JSON list such as"),
    ],
)
def test_another_format_is_refused_in_one_sentence(text, said):
    with pytest.raises(InputError, match="segment character: ") as error:
        read_prompts(text, SIZE)
    assert said in str(error.value)


class Recorder:
    """Stands where the network does, to see what it is asked."""

    name = "recorder"

    def __init__(self, count: int):
        self.count, self.asked = count, []

    def segment(self, frames, prompts, cuts, progress) -> MaskTrack:
        self.asked = list(prompts)
        full = np.zeros((frames.height, frames.width), np.uint8)
        full[60:200, 100:220] = 1
        return MaskTrack((pack(full),) * self.count, (self.count, frames.height, frames.width), frames.fps)


def test_all_frames_reach_the_segmenter():
    frames = DancerSource(dancer_keypoints(np.arange(12) / 30, *SIZE), *SIZE)
    recorder = Recorder(12)
    linked = Prompt(5, np.array([[7, 7]], np.float32), np.array([1]))
    segment_character(recorder, frames, own=[linked, *read_prompts(TEXT, SIZE)])
    assert [prompt.frame for prompt in recorder.asked] == [2, 5]
    assert recorder.asked[1].points.tolist() == [[7, 7], [10, 20], [300, 200], [30, 40]]
    beyond = read_prompts('[{"frame": 12, "positive": [[1, 1]]}]', SIZE)
    with pytest.raises(InputError, match="point_frame is 12, but the clip has frames 0 to 11"):
        segment_character(recorder, frames, own=beyond)
    with pytest.raises(InputError, match="nothing says where it is on frame 3"):
        segment_character(recorder, frames, own=read_prompts('[{"frame": 3, "negative": [[1, 1]]}]', SIZE))
