"""Cuts found exactly, and nothing else taken for one."""

import cv2
import numpy as np
import pytest

from demo.figure import draw_figure, figure_keypoints
from demo.robot import draw_character
from wan_animate.people.shots import CutFinder, thumbnail
from wan_animate.video.source import VideoSource

WIDTH, HEIGHT = 320, 180


def cuts(frames) -> tuple[int, ...]:
    finder = CutFinder()
    for frame in frames:
        finder.add(thumbnail(frame))
    return finder.finish()


def dancer(count: int, rate: float = 30, **place) -> list[np.ndarray]:
    return [draw_figure(figure_keypoints(at / rate, WIDTH, HEIGHT, **place), WIDTH, HEIGHT) for at in range(count)]


def zoomed(frames, x: float, y: float, part: float) -> list[np.ndarray]:
    top, left = int(y * HEIGHT), int(x * WIDTH)
    return [
        cv2.resize(frame[top : top + int(part * HEIGHT), left : left + int(part * WIDTH)], (WIDTH, HEIGHT))
        for frame in frames
    ]


@pytest.fixture(scope="module")
def scenes():
    robot = [draw_character(WIDTH, HEIGHT)] * 25
    return {
        "dancer": dancer(25),
        "robot": robot,
        "closer": zoomed(dancer(25), 0.3, 0.2, 0.45),
        "robot closer": zoomed(robot, 0.3, 0.1, 0.4),
        "window": zoomed(dancer(25), 0.0, 0.05, 0.4),
    }


def test_every_cut_between_scenes(scenes):
    for first in scenes:
        for second in scenes:
            if first != second:
                assert cuts(scenes[first] + scenes[second]) == (25,), (first, second)
    assert cuts(sum(scenes.values(), [])) == (25, 50, 75, 100)


def test_short_shots(scenes):
    assert cuts(scenes["dancer"][:12] + scenes["robot"][:8] + scenes["window"][:2]) == (12, 20)


def test_the_real_clip_has_none_and_gets_those_it_is_given(examples, scenes):
    with_cuts = VideoSource(examples / "video.mp4", fps=0, size=(WIDTH, HEIGHT))
    frames = list(np.concatenate([with_cuts.read(at, min(at + 20, 106)) for at in range(0, 106, 20)]))
    with_cuts.close()
    assert cuts(frames) == ()
    assert cuts(frames[::4]) == ()  # four times as fast
    assert cuts(frames[:30] + scenes["dancer"] + zoomed(frames[30:60], 0.3, 0.05, 0.45) + frames[60:]) == (30, 55, 85)
    assert cuts(frames[:30] + [frame[:, ::-1] for frame in frames[30:60]] + frames[60:]) == (30, 60)


def _flashed(frames, at, light=170):
    return [np.clip(frame + light * (i in at), 0, 255).astype(np.uint8) for i, frame in enumerate(np.int32(frames))]


def _panned(speed):
    wide = np.concatenate([draw_character(640, 360), dancer_wide(), draw_character(640, 360)[:, ::-1]], axis=1)
    left = [int(x) for x in np.arange(0, wide.shape[1] - 640, speed)]
    return [cv2.resize(wide[:, x : x + 640], (WIDTH, HEIGHT)) for x in left]


def dancer_wide():
    return draw_figure(figure_keypoints(0, 640, 360), 640, 360)


def _whipped():
    still = _panned(40)
    fast = [cv2.blur(frame, (45, 1)) for frame in _panned(110)]
    return [still[0]] * 20 + fast + [still[-1]] * 20


def _crossed():
    frames = [frame.copy() for frame in dancer(40)]
    for at, frame in enumerate(frames[15:30]):
        frame[:, max(at * 60 - 200, 0) : max(at * 60, 0)] = 40  # something large before the lens
    return frames


UNCUT = {
    "fast dance": lambda: dancer(30, rate=5),
    "slow pan": lambda: _panned(20),
    "fast pan": lambda: _panned(90),
    "whip pan": _whipped,
    "flash": lambda: _flashed(dancer(40), (12, 30)),
    "long flash": lambda: _flashed(dancer(40), (12, 13, 14, 30, 31)),
    "white frames": lambda: _flashed(dancer(40), (12, 13), 255),
    "black frames": lambda: _flashed(dancer(40), (12, 13, 14), -255),
    "lights out": lambda: dancer(20) + [(frame * 0.4).astype(np.uint8) for frame in dancer(40)[20:]],
    "across the lens": _crossed,
    "zoom": lambda: [zoomed(dancer(1), at / 120, at / 120, 1 - at / 60)[0] for at in range(40)],
    "dissolve": lambda: [
        cv2.addWeighted(dancer_wide(), 1 - at / 15, draw_character(640, 360), at / 15, 0) for at in range(16)
    ],
    "noise": lambda: [
        np.clip(frame + np.random.default_rng(i).normal(0, 25, frame.shape), 0, 255).astype(np.uint8)
        for i, frame in enumerate(dancer(30))
    ],
    "one frame": lambda: dancer(1),
}


@pytest.mark.parametrize("clip", UNCUT)
def test_no_cut(clip):
    assert cuts(UNCUT[clip]()) == ()
