"""The window's path: in it the character, always; still where it can be, else slow."""

import time

import numpy as np
import pytest

from wan_animate.stitch.path import SLOW, edge_speed, fitting, needed_height, shot_path, spread

FRAME, ASPECT, FPS = (1920, 1080), 9 / 16, 30


def boxes(count: int, x, y=lambda t: 540, width=lambda t: 260, height=lambda t: 560, noise: float = 3.0) -> np.ndarray:
    """float64 ``[T, 4]`` inside the frame; centre and size by functions of the time in seconds."""
    t, random = np.arange(count) / FPS, np.random.default_rng(0)
    centre = np.stack([x(t) + random.normal(0, noise, count), y(t) + np.zeros(count)], axis=1)
    half = np.stack([width(t) + np.zeros(count), height(t) + np.zeros(count)], axis=1) / 2
    return np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, [*FRAME, *FRAME])


WALKS = {
    "sways": boxes(300, lambda t: 900 + 15 * np.sin(t)),
    "strolls": boxes(300, lambda t: 500 + 55 * t),
    "runs": boxes(150, lambda t: 300 + 250 * t),
    "paces": boxes(400, lambda t: 900 + 400 * np.sin(t)),
    "goes on": boxes(600, lambda t: 700 + 300 * np.clip((t - 10) / 2, 0, 1)),
    "comes": boxes(600, lambda t: 900 + 0 * t, width=lambda t: 90 + 18 * t, height=lambda t: 200 + 35 * t),
    "jumps about": boxes(120, lambda t: 900 + 0 * t, noise=40.0),
    "paces slowly": boxes(900, lambda t: 900 + 350 * np.sin(t / 4)),
    "at the edge": boxes(200, lambda t: 1800 + 100 * np.sin(t / 3)),
}


def edges(windows: np.ndarray) -> np.ndarray:
    half = windows[:, 2:] * np.array([ASPECT, 1.0]) / 2
    return np.concatenate([windows[:, :2] - half, windows[:, :2] + half], axis=1)


@pytest.mark.parametrize("name", WALKS)
def test_the_character_is_in_the_window_and_the_window_in_the_frame(name):
    found = WALKS[name]
    windows = shot_path(found, FRAME, ASPECT, FPS).windows
    around = edges(windows)
    assert np.max(np.concatenate([around[:, :2] - found[:, :2], found[:, 2:] - around[:, 2:]])) < 0.01
    assert around.min() > -0.01 and np.max(around[:, 2:] - FRAME) < 0.01
    needed = needed_height(spread(found, 4), ASPECT)
    assert (windows[:, 2] <= 1.25 * needed.max() + 0.01).all()


def test_it_stands_still_where_that_takes_little_room():
    path = shot_path(WALKS["sways"], FRAME, ASPECT, FPS)
    assert path.speed == 0 and np.ptp(path.windows, axis=0).max() == 0


@pytest.mark.parametrize("name, still", [("strolls", 0.0), ("goes on", 0.85), ("paces slowly", 0.1)])
def test_edges_move_less_than_two_pixels_where_that_is_possible(name, still):
    path = shot_path(WALKS[name], FRAME, ASPECT, FPS, room=1.6)
    assert 0 < path.speed <= SLOW * 1.02 < 2
    moved = np.abs(np.diff(edges(path.windows), axis=0)).max(axis=1)
    assert (moved < 0.05).mean() >= still


def test_a_fast_character_is_followed_no_faster_than_needed():
    run = WALKS["runs"]
    path = shot_path(run, FRAME, ASPECT, FPS)
    walked = np.abs(np.diff((run[:, 0] + run[:, 2]) / 2)).mean()
    assert SLOW < path.speed < 1.1 * walked and path.speed < 9
    roomy = shot_path(run, FRAME, ASPECT, FPS, room=1.9)
    assert roomy.speed < 0.9 * path.speed and roomy.windows[:, 2].max() > path.windows[:, 2].max()


def test_starting_and_stopping_take_a_few_frames():
    path = shot_path(WALKS["goes on"], FRAME, ASPECT, FPS)
    jerk = np.abs(np.diff(path.windows[:, 0], 2)).max()
    assert jerk < 0.35 * path.speed


def test_the_size_is_constant_unless_the_characters_changes():
    for name in ("strolls", "runs", "paces", "jumps about"):
        assert np.ptp(shot_path(WALKS[name], FRAME, ASPECT, FPS).windows[:, 2]) < 1e-6, name
    path = shot_path(WALKS["comes"], FRAME, ASPECT, FPS)
    assert path.windows[-1, 2] > 2.5 * path.windows[0, 2] and (np.diff(path.windows[:, 2]) > -1e-6).all()
    assert path.speed < 2


def test_frames_without_the_character_are_bridged():
    gap = boxes(300, lambda t: 400 + 90 * t)
    gap[100:180] = np.nan
    path = shot_path(gap, FRAME, ASPECT, FPS)
    assert np.isfinite(path.windows).all() and (np.diff(path.windows[90:190, 0]) >= -1e-6).all()
    assert shot_path(np.full((5, 4), np.nan), FRAME, ASPECT, FPS) is None


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_short_shots(count):
    path = shot_path(boxes(count, lambda t: 900 + 2000 * t), FRAME, ASPECT, FPS)
    assert path.windows.shape == (count, 3)


def test_a_character_that_fills_the_frame_may_move_on_a_bent_path():
    """Nothing but the largest window holds it, and no straight lines between knots do."""
    t = np.arange(90) / FPS
    left = 200 + 150 * np.sin(4 * t) + 40 * np.sin(17 * t)
    full = np.stack([left, np.zeros(90), left + 600, np.full(90, 1080.0)], axis=1)
    windows = shot_path(full, FRAME, ASPECT, FPS).windows
    around = edges(windows)
    assert around.min() > -0.01 and (around[:, 2] < 1920.01).all()
    middle = (full[:, 0] + full[:, 2]) / 2
    assert np.abs(windows[:, 0] - middle).max() < 60


def test_a_long_shot_takes_seconds():
    long = boxes(10_000, lambda t: 900 + 300 * np.sin(t / 7) + 100 * np.sin(t * 1.3))
    began = time.process_time()
    path = shot_path(long, FRAME, ASPECT, FPS)
    assert time.process_time() - began < 30
    assert np.max(edges(path.windows)[:, :2] - long[:, :2]) < 0.01


def test_the_same_boxes_give_the_same_path():
    first, second = (shot_path(WALKS["paces"], FRAME, ASPECT, FPS).windows for _ in range(2))
    assert (first == second).all()


def test_spread_and_fitting():
    one = np.array([[10, 10, 20, 20], [np.nan] * 4, [30, 5, 40, 15], [np.nan] * 4, [np.nan] * 4], float)
    out = spread(one, 1)
    assert out[1].tolist() == [10, 5, 40, 20] and np.isnan(out[4]).all() and out[3].tolist() == [30, 5, 40, 15]
    wide = fitting(np.array([[0.0, 0, 1920, 1080]]), FRAME, ASPECT)[0]
    assert wide.tolist() == pytest.approx([960 - 303.75, 0, 960 + 303.75, 1080])
    assert edge_speed(np.array([[0.0, 0, 10]]), 1.0) == 0
